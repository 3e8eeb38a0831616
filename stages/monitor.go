package stages

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sluicehq/sluice/store"
)

const (
	// pulseInterval is how often the log is asked for its head.
	pulseInterval = time.Second
	// stallAfter is how long the line may have work and not move before this
	// node is no longer ready.
	stallAfter = 5 * time.Second
	// maxPulseAge is how old the pulse may be that readiness is judged by. A look at
	// the log ends within stallAfter.
	maxPulseAge = 2 * stallAfter
)

// ErrNewEpoch is returned by [Monitor.Watch] when the log has begun a new epoch:
// the database was failed over to a standby, or restored, and may give offsets
// out again that clients have seen with other events. All that a service knows
// of the log is void then. Make a new one, with the same [Config], and run that:
// clients come back, and are told whether they can resume.
var ErrNewEpoch = errors.New("the log has begun a new epoch")

// Monitor looks at the log: is it there, is it the same, and does this node follow
// its head? What it sees it says to the node's readiness, and has all that depends on
// the log's state follow it.
type Monitor struct {
	// Immutable after NewMonitor.
	readiness *Readiness
	erasures  *Erasures      // nil where nothing is kept of the log
	payload   *PayloadBound  // nil where nobody asks
	needs     []func() error // what else has to hold; immutable after Need

	suspected chan struct{} // sent to by Suspect, received from by Watch; holds one

	looking sync.Mutex
	looked  time.Time // when the last look began; guarded by looking

	mu sync.Mutex
	// Guarded by mu.
	log    store.Extent // as last seen
	routed int64        // this node's position when it last moved
	moved  time.Time
}

// NewMonitor returns a monitor that has not seen the log. Erasures and payload may be
// nil.
func NewMonitor(readiness *Readiness, erasures *Erasures, payload *PayloadBound) *Monitor {
	return &Monitor{readiness: readiness, erasures: erasures, payload: payload, suspected: make(chan struct{}, 1)}
}

// Need has a node not be ready while check returns an error that is its own, whatever the
// log says. Call it before Watch.
func (m *Monitor) Need(check func() error) { m.needs = append(m.needs, check) }

// Watch takes the log's pulse until ctx ends: is it there, is it the same, and
// does routed follow its head? It returns ErrNewEpoch if it is another.
func (m *Monitor) Watch(ctx context.Context, log store.Log, routed func() int64) error {
	ticker := time.NewTicker(pulseInterval)
	defer ticker.Stop()
	for {
		if err := m.beat(ctx, log, routed); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-m.suspected:
		}
	}
}

// Suspect has the pulse taken now: something has come from another epoch.
func (m *Monitor) Suspect() {
	select {
	case m.suspected <- struct{}{}:
	default: // it is due already
	}
}

// beat asks the log for its head, and judges by it.
func (m *Monitor) beat(ctx context.Context, log store.Log, routed func() int64) error {
	limited, cancel := context.WithTimeout(ctx, stallAfter)
	defer cancel()
	head, err := log.Head(limited)
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		if err := m.check(head); err != nil {
			return err
		}
		err = log.Sequencing(limited)
		if m.erasures != nil {
			if failure := m.erasures.Forget(limited, log, head); err == nil {
				err = failure
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		m.see(head, routed(), time.Now())
	}
	m.readiness.Fail(err)
	m.readiness.tell(time.Now())
	return nil
}

// Look reads the log's extent and epochs. Those who want to know at the same
// time share one read. If the log is another, it returns ErrNewEpoch, and so does
// Watch at once.
func (m *Monitor) Look(ctx context.Context, log store.Log) (store.Extent, error) {
	asked := time.Now()
	m.looking.Lock()
	defer m.looking.Unlock()
	if !m.looked.Before(asked) {
		return m.Extent(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, stallAfter)
	defer cancel()
	began := time.Now()
	extent, err := log.Extent(ctx)
	if err != nil {
		return store.Extent{}, err
	}
	if err := m.check(extent.Head); err != nil {
		m.Suspect()
		return store.Extent{}, err
	}
	m.Open(extent)
	m.looked = began
	return extent, nil
}

// check compares what has just been read of the log with what is known of it.
func (m *Monitor) check(now store.Head) error {
	if known := m.Extent().Epoch; now.Epoch != known {
		return fmt.Errorf("%w: %s, after %s", ErrNewEpoch, now.Epoch, known)
	}
	return nil
}

// Open notes the log's extent and epochs, as they have just been read.
func (m *Monitor) Open(log store.Extent) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log = log
	m.payload.adopt(log.MaxPayload)
	m.readiness.begin()
}

// see judges the line by the log's head and the position that has been routed.
func (m *Monitor) see(log store.Head, routed int64, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if routed != m.routed || routed >= log.Offset || m.moved.IsZero() {
		m.routed, m.moved = routed, now
	}
	m.log.Head = log
	m.payload.adopt(log.MaxPayload)
	var own error
	if idle := now.Sub(m.moved); idle >= stallAfter {
		own = &lineError{routed, log.Offset, idle}
	}
	for _, check := range m.needs {
		own = cmp.Or(own, check())
	}
	m.readiness.judge(own)
}

// Extent is the log's extent and its epochs, as last seen.
func (m *Monitor) Extent() store.Extent {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.log
}
