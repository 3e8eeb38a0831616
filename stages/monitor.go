package stages

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
)

// ErrNewEpoch is returned by [Monitor.Watch] when the log has begun a new epoch:
// the database was failed over to a standby, or restored, and may give offsets
// out again that clients have seen with other events. All that a service knows
// of the log is void then. Make a new one, with the same [Config], and run that:
// clients come back, and are told whether they can resume.
var ErrNewEpoch = errors.New("the log has begun a new epoch")

var (
	ErrStarting = errors.New("the store has not been opened yet")
	ErrDraining = errors.New("the service is shutting down")
)

// lineError says that the line has work and does not move.
type lineError struct {
	routed, head int64
	idle         time.Duration
}

func (e *lineError) Error() string {
	return fmt.Sprintf("the line has not moved from offset %d for %v, and the log's head is %d", e.routed, e.idle.Round(time.Second), e.head)
}

// Monitor knows whether this node does its work, and if not, why.
type Monitor struct {
	// Immutable after NewMonitor.
	erasures *Erasures     // nil where nothing is kept of the log
	payload  *PayloadBound // follows the log; nil where nobody asks
	logger   *slog.Logger

	suspected chan struct{} // sent to by Suspect, received from by Watch; holds one

	looking sync.Mutex
	looked  time.Time // when the last look began; guarded by looking

	mu sync.Mutex
	// Guarded by mu.
	own     error        // why this node does not do its work; nil when it does
	shared  error        // why none of the nodes can; nil when all is well
	begun   bool         // the log has been opened: what fails from now on, fails for all
	told    time.Time    // when it was last told why the node is not ready; zero when it is
	telling string       // what was told
	log     store.Extent // as last seen
	routed  int64        // this node's position when it last moved
	moved   time.Time
}

// tellInterval is how often the reason is told, for as long as it lasts.
const tellInterval = time.Minute

// NewMonitor returns a monitor that has not seen the log. It has erasures and payload
// follow it; both may be nil.
func NewMonitor(erasures *Erasures, payload *PayloadBound, logger *slog.Logger) *Monitor {
	return &Monitor{erasures: erasures, payload: payload, logger: logger, own: ErrStarting, suspected: make(chan struct{}, 1)}
}

// Reason is why the node is not ready, nil when it is.
func (m *Monitor) Reason() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.own != nil {
		return m.own
	}
	return m.shared
}

// OwnReason is a reason that other nodes need not share.
func (m *Monitor) OwnReason() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.own
}

// Drain says that the node is about to stop: that is the last to be said.
func (m *Monitor) Drain() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.own = ErrDraining
}

// Fail says why the store cannot be used: by this node, which has not begun to
// use it, or by any.
func (m *Monitor) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.own == ErrDraining:
	case m.begun:
		m.shared = err
	default:
		m.own = err
	}
}

// tell tells why the node is not ready: when it has another reason, and once in a
// while for as long as it lasts.
func (m *Monitor) tell(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	reason := m.own
	if reason == nil {
		reason = m.shared
	}
	switch {
	case reason == ErrDraining:
	case reason == nil:
		if !m.told.IsZero() {
			m.logger.Info("ready again")
		}
		m.told, m.telling = time.Time{}, ""
	case now.Sub(m.told) >= tellInterval || m.telling != kind(reason):
		m.logger.Error("not ready", "error", reason)
		m.told, m.telling = now, kind(reason)
	}
}

// kind is what does not change in a reason from one second to the next.
func kind(reason error) string { return fmt.Sprintf("%T", reason) }

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

func (m *Monitor) beat(ctx context.Context, log store.Log, routed func() int64) error {
	limited, cancel := context.WithTimeout(ctx, stallAfter)
	defer cancel()
	head, err := log.Head(limited)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		m.Fail(err)
	case head.Epoch != m.Extent().Epoch:
		return fmt.Errorf("%w: %s, after %s", ErrNewEpoch, head.Epoch, m.Extent().Epoch)
	default:
		err := log.Sequencing(limited)
		if m.erasures != nil {
			if failure := m.erasures.Forget(limited, log, head); err == nil {
				err = failure
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		m.see(head, routed(), time.Now())
		m.Fail(err)
	}
	m.tell(time.Now())
	return nil
}

// Look reads the log's extent and epochs. Those who want to know at the same
// time share one read.
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
	now, err := log.Extent(ctx)
	if err != nil {
		return store.Extent{}, err
	}
	if known := m.Extent(); now.Epoch != known.Epoch {
		m.Suspect()
		return store.Extent{}, fmt.Errorf("%w: %s, after %s", ErrNewEpoch, now.Epoch, known.Epoch)
	}
	m.Open(now)
	m.looked = began
	return now, nil
}

// Open notes the log's extent and epochs, as they have just been read.
func (m *Monitor) Open(log store.Extent) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log, m.begun = log, true
	m.payload.adopt(log.MaxPayload)
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
	switch idle := now.Sub(m.moved); {
	case m.own == ErrDraining:
	case idle >= stallAfter:
		m.own = &lineError{routed, log.Offset, idle}
	default:
		m.own = nil
	}
	m.begun = true
}

// Extent is the log's extent and its epochs, as last seen.
func (m *Monitor) Extent() store.Extent {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.log
}

// Outline is a reason without the names that are in it.
func Outline(reason error) string {
	var stalled *store.StalledError
	var line *lineError
	switch {
	case errors.As(reason, &stalled):
		return (&store.StalledError{For: stalled.For}).Error()
	case errors.As(reason, &line), errors.Is(reason, ErrStarting), errors.Is(reason, ErrDraining):
		return reason.Error()
	}
	return "the store cannot be read or written"
}
