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

// Why a node is not ready, when that is nobody's fault.
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

// pulseError says that this node has not looked at the log, whatever it found before:
// its process was stopped.
type pulseError struct{ age time.Duration }

func (e *pulseError) Error() string {
	return fmt.Sprintf("this node has not looked at the log for %v", e.age.Round(time.Second))
}

// tellInterval is how often the reason is told, for as long as it lasts.
const tellInterval = time.Minute

// Readiness is whether this node does its work, and if not, why. Its methods may be
// called concurrently.
type Readiness struct {
	// Immutable after NewReadiness.
	logger   *slog.Logger
	draining context.Context // ends with Drain
	drain    context.CancelFunc

	mu sync.Mutex
	// Guarded by mu.
	own     error     // why this node does not do its work; nil when it does
	shared  error     // why none of the nodes can; nil when all is well
	begun   bool      // the log has been opened: what fails from now on, fails for all
	beaten  time.Time // when the pulse was last taken; zero before that
	told    time.Time // when it was last told why the node is not ready; zero when it is
	telling string    // what was told
}

// NewReadiness returns that of a node that is about to start, which tells logger when
// the node is not ready any more, or again.
func NewReadiness(logger *slog.Logger) *Readiness {
	r := &Readiness{logger: logger, own: ErrStarting}
	r.draining, r.drain = context.WithCancel(context.Background())
	return r
}

// Reason is why the node is not ready, nil when it is.
func (r *Readiness) Reason() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reasonLocked()
}

// reasonLocked is Reason, with mu held.
func (r *Readiness) reasonLocked() error {
	if err := r.ownReason(); err != nil {
		return err
	}
	return r.shared
}

// OwnReason is a reason that other nodes need not share.
func (r *Readiness) OwnReason() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ownReason()
}

// ownReason is OwnReason, with mu held.
func (r *Readiness) ownReason() error {
	if r.own != nil || r.beaten.IsZero() {
		return r.own
	}
	if age := time.Since(r.beaten); age > maxPulseAge {
		return &pulseError{age}
	}
	return nil
}

// Drain says that the node is about to stop: that is the last to be said.
func (r *Readiness) Drain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.own = ErrDraining
	r.drain()
}

// Draining ends once Drain has been called: it bounds what may wait for long.
func (r *Readiness) Draining() context.Context { return r.draining }

// Fail says why the store cannot be used: by this node, which has not begun to
// use it, or by any. Once it has begun, nil says that the store can be used.
func (r *Readiness) Fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.own == ErrDraining:
	case r.begun:
		r.shared = err
	default:
		r.own = err
	}
}

// begin says that the log has been opened.
func (r *Readiness) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun = true
}

// judge says what keeps this node from its work, nil if nothing does.
func (r *Readiness) judge(own error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.own != ErrDraining {
		r.own = own
	}
}

// tell ends a beat. It tells why the node is not ready: when it has another reason, and once in a
// while for as long as it lasts.
func (r *Readiness) tell(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.beaten = now
	switch reason := r.reasonLocked(); {
	case reason == ErrDraining:
	case reason == nil:
		if !r.told.IsZero() {
			r.logger.Info("ready again")
		}
		r.told, r.telling = time.Time{}, ""
	case now.Sub(r.told) >= tellInterval || r.telling != kind(reason):
		r.logger.Error("not ready", "error", reason)
		r.told, r.telling = now, kind(reason)
	}
}

// kind is what does not change in a reason from one second to the next.
func kind(reason error) string { return fmt.Sprintf("%T", reason) }

// Outline is a reason without the names that are in it, as a reason with a method
// Outline says it itself.
func Outline(reason error) string {
	var outlined interface {
		error
		Outline() string
	}
	var stalled *store.StalledError
	var line *lineError
	var pulse *pulseError
	switch {
	case errors.As(reason, &outlined):
		return outlined.Outline()
	case errors.As(reason, &stalled):
		return (&store.StalledError{For: stalled.For}).Error()
	case errors.As(reason, &line), errors.As(reason, &pulse), errors.Is(reason, ErrStarting), errors.Is(reason, ErrDraining):
		return reason.Error()
	}
	return "the store cannot be read or written"
}
