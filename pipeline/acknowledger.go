package pipeline

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// AcknowledgerConfig makes an Acknowledger. Every field may be left out.
type AcknowledgerConfig[T any] struct {
	// Ended is told once of every event that a line ended with, from whichever line that
	// is: it must bear being called by several at once, and not block for long.
	Ended func(Ack[T])
	// Counted is told what Ended is, in numbers. Who needs no more gives this one alone: the
	// events that end in one step came in several slices, and gathering them costs a copy.
	Counted func(done, failed int)
	// Position of an event in its source. It must grow in the order of emission. What it
	// panics on holds up the position until it has ended.
	Position func(*T) int64
	// Commit is given the position safe to commit, when it has grown: every Every, and last when all is
	// drained. After an error it is called again with what is safe by then.
	Commit func(ctx context.Context, position int64) error
	// Every is how often to commit. Shorter repeats less after a crash. Zero is 1 s.
	Every time.Duration
}

// Ack is the end of events of one source in one step, successes and failures together.
type Ack[T any] struct {
	Source string // the producer's name
	Done   []T    // to read: others may share it
	Failed []Failed[T]
}

// Failed is an event that a line gave up.
type Failed[T any] struct {
	Event T
	Err   error
}

// Acknowledger learns of the end of each event of one producer, and knows the position
// below which every event has ended, whatever order lines finish in. An event that was given
// up because the pipeline stopped ([ErrStopped], [ErrLost], [ErrNoConsumer]) has not been
// handled: the position stays below it for good, so that it comes again after a restart.
type Acknowledger[T any] struct {
	// Immutable after NewAcknowledger, producer after NewProducer.
	config   AcknowledgerConfig[T]
	topology *Topology
	producer *Producer[T]

	undone atomic.Int64 // lowest position that was given up, math.MaxInt64 while none was

	// Guarded by mu.
	mu      sync.Mutex
	any     bool // anything was emitted
	highest int64
	waiting bool // something waits in the producer,
	lowest  int64
	safe    int64 // only grows
	known   bool

	// Owned by the goroutine that commits.
	committed int64
	once      bool
}

// NewAcknowledger adds an acknowledger to a topology; give it to one producer.
func NewAcknowledger[T any](topology *Topology, config AcknowledgerConfig[T]) *Acknowledger[T] {
	if config.Every <= 0 {
		config.Every = time.Second
	}
	if config.Commit != nil && config.Position == nil {
		topology.misuse(configError("AcknowledgerConfig.Position", "is nil, and Commit needs it"))
	}
	a := &Acknowledger[T]{config: config, topology: topology}
	a.undone.Store(math.MaxInt64)
	if config.Commit != nil {
		topology.addCommitter(a)
	}
	return a
}

// Safe returns the highest position such that every event at or below it has ended.
// It is false until anything is known.
func (a *Acknowledger[T]) Safe() (position int64, ok bool) {
	if a.producer == nil {
		return 0, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.any {
		return 0, false
	}
	// What moves from the producer to a line while we look is counted with the
	// producer still: that tells us afterwards, and waits for mu.
	position = a.highest
	if a.waiting {
		if a.lowest == math.MinInt64 {
			return a.safe, a.known
		}
		position = min(position, a.lowest-1)
	}
	for _, s := range a.producer.subscriptions() {
		if at, ok, err := s.lowest(a); err != nil {
			return a.safe, a.known // as long as that one is under way
		} else if ok {
			position = min(position, at-1)
		}
	}
	switch undone := a.undone.Load(); { // read last: it is set before an event leaves its line
	case undone == math.MinInt64:
		return a.safe, a.known
	case undone <= position:
		position = undone - 1
	}
	if !a.known || position > a.safe {
		a.safe, a.known = position, true
	}
	return a.safe, true
}

// lowest is the position of the first event that was delivered and has not ended.
func (s *subscription[T]) lowest(a *Acknowledger[T]) (position int64, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.head == nil {
		return 0, false, nil
	}
	position, err = a.at(&s.head.events[s.head.low])
	return position, true, err
}

// at is an event's position. What Position panics on has none: nothing beyond it is safe until
// it has ended.
func (a *Acknowledger[T]) at(event *T) (position int64, err error) {
	if a.topology.exited.Load() {
		err = a.atApart(event, &position)
		return position, err
	}
	defer recovered(&err)
	return a.config.Position(event), nil
}

func (a *Acknowledger[T]) atApart(event *T, position *int64) error {
	var found int64
	err := apart(func() error { found = a.config.Position(event); return nil })
	*position = found
	return err
}

// positions are those of events, as far as they can be told.
func (a *Acknowledger[T]) positions(events []T, into []int64) []int64 {
	for i := range events {
		if at, err := a.at(&events[i]); err == nil {
			into = append(into, at)
		}
	}
	return into
}

// abandon keeps the position below events that are given up, if that is why. It is called
// before they leave where they are.
func (a *Acknowledger[T]) abandon(events []T, err error) {
	if len(events) == 0 || a.config.Position == nil || !abandoned(err) {
		return
	}
	for i := range events {
		if at, err := a.at(&events[i]); err == nil {
			a.stay(at)
			return // the others come behind
		}
	}
	a.stay(math.MinInt64)
}

// stay keeps the position below another one for good. The least of all means as it is.
func (a *Acknowledger[T]) stay(below int64) {
	for {
		undone := a.undone.Load()
		if below >= undone || a.undone.CompareAndSwap(undone, below) {
			return
		}
	}
}

func (a *Acknowledger[T]) attach(p *Producer[T]) error {
	if a.producer != nil {
		return fmt.Errorf("producer %q: its acknowledger is that of %q", p.name, a.producer.name)
	}
	a.producer = p
	return nil
}

// emitted is told by the producer's loop, after each step, what it has emitted and not
// yet delivered. A lowest of math.MinInt64 is not known.
func (a *Acknowledger[T]) emitted(highest, lowest int64, waiting bool) {
	a.mu.Lock()
	a.any, a.highest, a.lowest, a.waiting = true, highest, lowest, waiting
	a.mu.Unlock()
}

// run commits now and then. The last commit, after the drain, is the topology's.
func (a *Acknowledger[T]) run(until, ctx context.Context) {
	for sleep(until, a.config.Every) {
		a.commit(ctx)
	}
}

func (a *Acknowledger[T]) commit(ctx context.Context) {
	err := apart(func() error { a.commitSafe(ctx); return nil })
	if err != nil { // Commit ended the goroutine
		a.topology.failed(Failure{Stage: a.producer.name, Attempts: 1, Err: fmt.Errorf("commit: %w", err)})
	}
}

func (a *Acknowledger[T]) commitSafe(ctx context.Context) {
	position, ok := a.Safe()
	if !ok || a.once && position <= a.committed {
		return
	}
	if err := a.call(ctx, position); err != nil {
		a.topology.failed(Failure{
			Stage: a.producer.name, Positions: []int64{position}, Attempts: 1,
			Err: fmt.Errorf("commit position %d: %w", position, err),
		})
		return
	}
	a.committed, a.once = position, true
}

func (a *Acknowledger[T]) call(ctx context.Context, position int64) (err error) {
	defer recovered(&err)
	return a.config.Commit(ctx, position)
}

// note adds the end of events to what acks will tell.
func (a *Acknowledger[T]) note(acks *ackBatch, source string, events []T, err error) {
	if a.config.Ended == nil && a.config.Counted == nil || len(events) == 0 {
		return
	}
	note := a.noteOf(acks)
	if err != nil {
		note.failed += len(events)
	} else {
		note.done += len(events)
	}
	if a.config.Ended == nil {
		return
	}
	note.Source = source
	switch {
	case err != nil:
		for i := range events {
			note.Failed = append(note.Failed, Failed[T]{events[i], err})
		}
	case note.Done == nil:
		note.Done = events[:len(events):len(events)]
	default:
		note.Done = append(note.Done, events...)
	}
}

// ack is an Ack being put together.
type ack[T any] struct {
	Ack[T]
	done, failed int
	to           *Acknowledger[T]
}

func (a *ack[T]) tell() {
	t, stage := a.to.topology, a.to.producer.name
	if f := a.to.config.Ended; f != nil {
		t.hook(stage, "Ended", func() { f(a.Ack) })
	}
	if f := a.to.config.Counted; f != nil {
		t.hookHere(stage, "Counted", func() { f(a.done, a.failed) })
	}
}

func (a *Acknowledger[T]) noteOf(acks *ackBatch) *ack[T] {
	for _, other := range acks.list {
		if ours, ok := other.(*ack[T]); ok && ours.to == a {
			return ours
		}
	}
	ours := &ack[T]{to: a}
	acks.list = append(acks.list, ours)
	return ours
}
