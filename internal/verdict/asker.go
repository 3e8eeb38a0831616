package verdict

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Limits bound what is asked.
type Limits struct {
	// MaxInFlight is how many questions are asked at a time. At least 1.
	MaxInFlight int
	// MinWaiting is how many questions may wait at least: 16 for each that is asked at a
	// time may. More than one client can have under way leaves room for others.
	MinWaiting int
	// Timeout is how long a question may wait for its turn, and how long an answer may
	// take then.
	Timeout time.Duration
	// Cache is how long what was allowed is remembered. Zero: it is not.
	Cache time.Duration
}

// waitingForEach is how many questions may wait for each that is being asked.
const waitingForEach = 16

// ErrBusy says that too many questions wait, or that one's turn has not come in time.
var ErrBusy = errors.New("too many questions wait for an answer")

// Verdict is an answer.
type Verdict[T any] struct {
	Value   T
	Allowed bool
	Until   time.Time // when it ends; zero: it does not by itself
	Bytes   int       // what remembering Value takes
}

// Key tells questions apart. The zero Key is of one that is like no other: its answer is
// neither shared nor remembered.
type Key [32]byte

// Question is what an Asker needs to know of one.
type Question struct {
	Key Key
	// Group is what [Asker.Forget] is told, such as the user that it is about.
	Group string
	// Holds tells, when the answer would be used again, whether what it was given for
	// still counts. Nil: it does. It is kept for as long as the answer is, so it should
	// refer to nothing of who has asked.
	Holds func() bool
	// Bytes is what Holds keeps in memory.
	Bytes int
	// Anew asks though an answer is remembered.
	Anew bool
}

// Asker asks. Its methods may be called concurrently.
type Asker[T any] struct {
	// Immutable after New.
	limits Limits

	places  chan struct{} // each question under way has sent one, and receives it when it ends; holds MaxInFlight
	waiting atomic.Int64

	mu sync.Mutex
	// Guarded by mu.
	memory  memory[T]
	flights map[Key]*flight[T]
}

// flight is a question that is being asked, and for whose answer others wait.
type flight[T any] struct {
	group string
	done  chan struct{} // closed by who asks

	forgotten bool // its answer is not to be remembered; guarded by Asker.mu

	// Written before done is closed.
	verdict   Verdict[T]
	err       error
	abandoned bool // who asked has gone: somebody else has to
}

// New returns an Asker that has asked nothing yet.
func New[T any](limits Limits) *Asker[T] {
	return &Asker[T]{
		limits:  limits,
		places:  make(chan struct{}, max(1, limits.MaxInFlight)),
		memory:  newMemory[T](),
		flights: map[Key]*flight[T]{},
	}
}

// MaxWaiting is how many questions may wait for their turn.
func (a *Asker[T]) MaxWaiting() int { return max(a.limits.MinWaiting, waitingForEach*cap(a.places)) }

// Load is how many questions are being asked, and how many wait.
func (a *Asker[T]) Load() (asked, waiting int) { return len(a.places), int(a.waiting.Load()) }

// Ask returns the verdict on a question: one that is remembered, that somebody else is
// asking for, or what ask says. The error is [ErrBusy], what ctx ended with, or that of ask,
// whose context ends after Limits.Timeout. Remembered tells that nobody was asked.
func (a *Asker[T]) Ask(ctx context.Context, q Question, ask func(context.Context) (Verdict[T], error)) (v Verdict[T], remembered bool, err error) {
	if q.Key == (Key{}) {
		v, err = a.inTurn(ctx, ask)
		return v, false, err
	}
	for {
		known, shared, leads := a.find(q)
		switch {
		case known != nil && known.counts():
			return known.verdict, true, nil
		case known != nil:
			a.drop(known)
			continue
		case leads:
			v, err = a.lead(ctx, q, shared, ask)
			return v, false, err
		}
		select {
		case <-shared.done:
			if !shared.abandoned {
				return shared.verdict, false, shared.err
			}
		case <-ctx.Done():
			return v, false, ctx.Err()
		}
	}
}

// Forget drops what is remembered of a group.
func (a *Asker[T]) Forget(group string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.memory.forget(group)
	for key, f := range a.flights {
		if f.group == group {
			f.forgotten = true
			delete(a.flights, key) // who comes now asks anew
		}
	}
}

// find is what is remembered, or the flight that asks: leads tells that it is the caller's.
func (a *Asker[T]) find(q Question) (known *remembered[T], shared *flight[T], leads bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !q.Anew {
		if known = a.memory.find(q.Key, time.Now()); known != nil {
			return known, nil, false
		}
	}
	if shared = a.flights[q.Key]; shared != nil {
		return nil, shared, false
	}
	shared = &flight[T]{group: q.Group, done: make(chan struct{})}
	a.flights[q.Key] = shared
	return nil, shared, true
}

// drop forgets what counts no more.
func (a *Asker[T]) drop(known *remembered[T]) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.memory.drop(known)
}

// lead asks for all who share a flight.
func (a *Asker[T]) lead(ctx context.Context, q Question, f *flight[T], ask func(context.Context) (Verdict[T], error)) (v Verdict[T], err error) {
	f.abandoned = true // unless it ends as it should
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if !f.forgotten {
			delete(a.flights, q.Key)
		}
		switch {
		case f.abandoned || f.forgotten:
		case err == nil && v.Allowed:
			a.memory.keep(q, v, a.limits.Cache, time.Now())
		case err == nil:
			a.memory.drop(a.memory.at(q.Key))
		}
		close(f.done)
	}()
	v, err = a.inTurn(ctx, ask)
	f.verdict, f.err, f.abandoned = v, err, err != nil && ctx.Err() != nil
	return v, err
}

// inTurn asks once there is room for it.
func (a *Asker[T]) inTurn(ctx context.Context, ask func(context.Context) (Verdict[T], error)) (v Verdict[T], err error) {
	if err := a.enter(ctx); err != nil {
		return v, err
	}
	defer func() { <-a.places }()
	ctx, cancel := context.WithTimeout(ctx, a.limits.Timeout)
	defer cancel()
	return ask(ctx)
}

// enter takes a place, or waits for one: in the order of arrival, as a chan that is full
// serves its senders.
func (a *Asker[T]) enter(ctx context.Context) error {
	select {
	case a.places <- struct{}{}:
		return nil
	default:
	}
	defer a.waiting.Add(-1)
	if a.waiting.Add(1) > int64(a.MaxWaiting()) {
		return ErrBusy
	}
	late := time.NewTimer(a.limits.Timeout)
	defer late.Stop()
	select {
	case a.places <- struct{}{}:
		return nil
	case <-late.C:
		return ErrBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}
