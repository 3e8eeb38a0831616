package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/internal/lograte"
	"github.com/sluicehq/sluice/store"
)

// DefaultTerm is what a zero Config.Term means.
const DefaultTerm = 15 * time.Second

const (
	renewals    = 3                      // in a term
	pollPause   = 500 * time.Millisecond // while another has the name: how late it is seen to have been given back
	retryPause  = time.Second            // after the store was away
	callTimeout = 5 * time.Second        // of one statement
	lastTimeout = 2 * time.Second        // of that which gives the name back, and which a drain waits for
)

// Config says which name, and where.
type Config struct {
	Leases store.Leases
	Name   string

	// Term is for how long a name is kept from others that its holder does not renew,
	// and how long others wait. Zero means DefaultTerm.
	Term time.Duration

	// Standby has Acquire wait for as long as another process has the name, which is as it
	// should be for a role that one of many nodes has: the log is not told, and one statement
	// each third of a term looks whether it is free.
	Standby bool

	Waiting func(why error) // is told why the name is not had yet, for as long as it lasts; nil: nobody asks
	Logger  *slog.Logger    // nil means slog.Default
}

// Lease is a name that this process has.
type Lease struct {
	// Immutable after Acquire.
	config Config
	lease  store.Lease
	end    func() // of its holder

	renewed atomic.Pointer[time.Time] // when the last renewal began that has gone well; with a monotonic reading
}

// TakenError says that another process has the name.
type TakenError struct {
	Name  string
	By    string // who, in words: its process and host
	Since time.Time
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("another process has the name %s: %s, since %s", e.Name, e.By, e.Since.UTC().Format(time.RFC3339))
}

// Outline is the error without the names that are in it.
func (e *TakenError) Outline() string {
	return "waiting for another process, which has this node's name"
}

// LostError says that another process has taken the name meanwhile.
type LostError struct {
	TakenError
	Unrenewed time.Duration // for how long it had not been renewed when that was found out
}

func (e *LostError) Error() string {
	return fmt.Sprintf("%v; this one had not renewed it for %v", &e.TakenError, e.Unrenewed.Round(time.Second))
}

func taken(held *store.HeldError) TakenError {
	by := describe(held.Holder)
	if held.Holder == "" {
		by = "one that has given it back"
	}
	return TakenError{held.Name, by, held.Since}
}

// Acquire takes a name for this process. While another has it, Acquire waits for it to
// be given back, or its term to pass, and after a term of its own returns a
// [*TakenError], unless it is to stand by; while the store is away, it waits. It returns
// ctx's error when ctx ends first.
func Acquire(ctx context.Context, config Config) (*Lease, error) {
	if config.Term <= 0 {
		config.Term = DefaultTerm
	}
	if config.Waiting == nil {
		config.Waiting = func(error) {}
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	w := waiter{Config: config, throttle: lograte.New(time.Minute)}
	holder, end := newHolder()
	w.claim = store.Claim{Name: config.Name, Holder: holder, Term: config.Term}
	for {
		began := time.Now()
		lease, err := w.acquire(ctx)
		if err == nil {
			l := &Lease{config: config, lease: lease, end: end}
			l.renewed.Store(&began)
			return l, nil
		}
		pause, err := w.failed(err, time.Now())
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		if err == nil && pause > 0 {
			err = sleep(ctx, pause)
		}
		if err != nil {
			end()
			return nil, err
		}
	}
}

// waiter is who waits for a name.
type waiter struct {
	Config
	claim    store.Claim
	throttle *lograte.Throttle // of what is told while the store is away

	// By this machine's clock; zero while nobody is seen to have the name.
	first     time.Time // when somebody was
	unchanged time.Time // since when it has not been renewed
	seen      *store.HeldError
}

func (w *waiter) acquire(ctx context.Context) (store.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return w.Leases.Acquire(ctx, w.claim)
}

// failed says how long to wait before the next attempt, or why there is to be none.
func (w *waiter) failed(err error, now time.Time) (pause time.Duration, _ error) {
	held := new(store.HeldError)
	switch {
	case errors.As(err, &held):
		return w.held(held, now)
	case !passes(err):
		return 0, err
	}
	w.first, w.seen, w.claim.Over = time.Time{}, nil, nil // who has it could not renew it either
	w.Waiting(err)
	if _, ok := w.throttle.Allow(""); ok {
		w.Logger.Warn("store not reachable; trying again until it is", "error", err, "wait", retryPause)
	}
	return retryPause, nil
}

func (w *waiter) held(held *store.HeldError, now time.Time) (pause time.Duration, _ error) {
	taken := taken(held)
	if !held.Same(w.seen) {
		w.unchanged = now
	}
	told := !w.first.IsZero()
	if w.first.IsZero() {
		w.first = now
	}
	w.seen, w.claim.Over = held, nil
	left, still := w.Term-now.Sub(w.first), w.Term-now.Sub(w.unchanged)
	switch {
	case ended(held.Holder):
		w.Logger.Info("who had this name has ended without giving it back", "name", held.Name, "holder", taken.By, "since", held.Since)
		w.claim.Over = held
		return 0, nil
	case still <= 0:
		w.claim.Over = held
		return 0, nil
	case left <= 0 && !w.Standby:
		return 0, &taken
	}
	w.Waiting(&taken)
	if w.Standby {
		return max(min(still, held.Left, w.Term/renewals), time.Millisecond), nil
	}
	if !told {
		w.Logger.Warn("another process has this name; waiting for it to end", "name", held.Name, "holder", taken.By, "since", held.Since, "wait", w.Term)
	}
	return max(min(left, still, held.Left, pollPause), time.Millisecond), nil
}

// passes reports what is not for good: an outage, or a statement that took too long.
func passes(err error) bool {
	unavailable := new(store.UnavailableError)
	return errors.As(err, &unavailable) || errors.Is(err, context.DeadlineExceeded)
}

// Keep renews the lease until ctx ends, and returns nil then. It returns a
// [*LostError] once somebody else has the name.
func (l *Lease) Keep(ctx context.Context) error {
	every := l.config.Term / renewals
	told := false
	for pause := every; ; {
		if sleep(ctx, pause) != nil {
			return nil
		}
		began := time.Now()
		err := l.renew(ctx)
		held := new(store.HeldError)
		switch {
		case err == nil:
			if told {
				l.config.Logger.Info("the lease of this name is renewed again", "name", l.lease.Name)
			}
			l.renewed.Store(&began)
			told, pause = false, every
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &held):
			return &LostError{taken(held), l.unrenewed()}
		default:
			if !told && l.Check() != nil {
				l.config.Logger.Warn("the lease of this name cannot be renewed, another process may take it", "name", l.lease.Name, "error", err)
				told = true
			}
			pause = min(retryPause, every)
		}
	}
}

func (l *Lease) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return l.config.Leases.Renew(ctx, l.lease)
}

// Check returns an error when another process may have the name, as far as this one
// can know without asking the store.
func (l *Lease) Check() error {
	if since := l.unrenewed(); since >= l.config.Term {
		return fmt.Errorf("the lease of the name %s has not been renewed for %v: another process may have it", l.lease.Name, since.Round(time.Second))
	}
	return nil
}

// unrenewed is how long ago the last renewal was, by the clock that says longer: one
// may have been set, the other does not count while the machine is asleep.
func (l *Lease) unrenewed() time.Duration {
	now, renewed := time.Now(), *l.renewed.Load()
	return max(now.Sub(renewed), now.Round(0).Sub(renewed.Round(0)))
}

// Release gives the name back, unless it is lost. Call it after Keep. If the store is
// away, the next process waits for the term to pass.
func (l *Lease) Release() {
	defer l.end()
	ctx, cancel := context.WithTimeout(context.Background(), lastTimeout)
	defer cancel()
	if err := l.config.Leases.Release(ctx, l.lease); err != nil {
		l.config.Logger.Warn("this name could not be given back, the next process with it may have to wait", "name", l.lease.Name, "wait", l.config.Term, "error", err)
	}
}

func sleep(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
