package sluice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
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

// ErrNewEpoch is returned by [Service.Run] when the log has begun a new epoch:
// the database was failed over to a standby, or restored, and may give offsets
// out again that clients have seen with other events. All that a service knows
// of the log is void then. Make a new one, with the same [Config], and run that:
// clients come back, and are told whether they can resume.
var ErrNewEpoch = errors.New("the log has begun a new epoch")

var (
	errStarting = errors.New("the store has not been opened yet")
	errDraining = errors.New("the service is shutting down")
)

// lineError says that the line has work and does not move.
type lineError struct {
	routed, head int64
	idle         time.Duration
}

func (e *lineError) Error() string {
	return fmt.Sprintf("the line has not moved from offset %d for %v, and the log's head is %d", e.routed, e.idle.Round(time.Second), e.head)
}

// health knows whether this node does its work, and if not, why.
type health struct {
	// Immutable after New. Lets go of what has been erased from the log; nil where
	// nothing is kept of it.
	forget func(ctx context.Context, log store.Log, head store.Head) error

	suspected chan struct{} // sent to by suspect, received from by watch; holds one

	looking sync.Mutex
	looked  time.Time // when the last look began; guarded by looking

	logger  *slog.Logger  // written before Run
	payload *payloadBound // follows the log; nil where nobody asks

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

func newHealth() *health {
	return &health{own: errStarting, suspected: make(chan struct{}, 1), logger: slog.New(slog.DiscardHandler)}
}

// reason is why the node is not ready, nil when it is.
func (h *health) reason() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.own != nil {
		return h.own
	}
	return h.shared
}

// ownReason is a reason that other nodes need not share.
func (h *health) ownReason() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.own
}

// drain says that the node is about to stop: that is the last to be said.
func (h *health) drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.own = errDraining
}

// fail says why the store cannot be used: by this node, which has not begun to
// use it, or by any.
func (h *health) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.own == errDraining:
	case h.begun:
		h.shared = err
	default:
		h.own = err
	}
}

// tell tells why the node is not ready: when it has another reason, and once in a
// while for as long as it lasts.
func (h *health) tell(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	reason := h.own
	if reason == nil {
		reason = h.shared
	}
	switch {
	case reason == errDraining:
	case reason == nil:
		if !h.told.IsZero() {
			h.logger.Info("ready again")
		}
		h.told, h.telling = time.Time{}, ""
	case now.Sub(h.told) >= tellInterval || h.telling != kind(reason):
		h.logger.Error("not ready", "error", reason)
		h.told, h.telling = now, kind(reason)
	}
}

// kind is what does not change in a reason from one second to the next.
func kind(reason error) string { return fmt.Sprintf("%T", reason) }

// watch takes the log's pulse until ctx ends: is it there, is it the same, and
// does routed follow its head? It returns ErrNewEpoch if it is another.
func (h *health) watch(ctx context.Context, log store.Log, routed func() int64) error {
	ticker := time.NewTicker(pulseInterval)
	defer ticker.Stop()
	for {
		if err := h.beat(ctx, log, routed); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-h.suspected:
		}
	}
}

// suspect has the pulse taken now: something has come from another epoch.
func (h *health) suspect() {
	select {
	case h.suspected <- struct{}{}:
	default: // it is due already
	}
}

func (h *health) beat(ctx context.Context, log store.Log, routed func() int64) error {
	limited, cancel := context.WithTimeout(ctx, stallAfter)
	defer cancel()
	head, err := log.Head(limited)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		h.fail(err)
	case head.Epoch != h.extent().Epoch:
		return fmt.Errorf("%w: %s, after %s", ErrNewEpoch, head.Epoch, h.extent().Epoch)
	default:
		err := log.Sequencing(limited)
		if h.forget != nil {
			if failure := h.forget(limited, log, head); err == nil {
				err = failure
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		h.see(head, routed(), time.Now())
		h.fail(err)
	}
	h.tell(time.Now())
	return nil
}

// look reads the log's extent and epochs. Those who want to know at the same
// time share one read.
func (h *health) look(ctx context.Context, log store.Log) (store.Extent, error) {
	asked := time.Now()
	h.looking.Lock()
	defer h.looking.Unlock()
	if !h.looked.Before(asked) {
		return h.extent(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, stallAfter)
	defer cancel()
	began := time.Now()
	now, err := log.Extent(ctx)
	if err != nil {
		return store.Extent{}, err
	}
	if known := h.extent(); now.Epoch != known.Epoch {
		h.suspect()
		return store.Extent{}, fmt.Errorf("%w: %s, after %s", ErrNewEpoch, now.Epoch, known.Epoch)
	}
	h.open(now)
	h.looked = began
	return now, nil
}

// open notes the log's extent and epochs, as they have just been read.
func (h *health) open(log store.Extent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log, h.begun = log, true
	h.payload.adopt(log.MaxPayload)
}

// see judges the line by the log's head and the position that has been routed.
func (h *health) see(log store.Head, routed int64, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if routed != h.routed || routed >= log.Offset || h.moved.IsZero() {
		h.routed, h.moved = routed, now
	}
	h.log.Head = log
	h.payload.adopt(log.MaxPayload)
	switch idle := now.Sub(h.moved); {
	case h.own == errDraining:
	case idle >= stallAfter:
		h.own = &lineError{routed, log.Offset, idle}
	default:
		h.own = nil
	}
	h.begun = true
}

// extent is the log's extent and its epochs, as last seen.
func (h *health) extent() store.Extent {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log
}

func (s *Service) getHealth(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]string{"status": "alive"})
}
