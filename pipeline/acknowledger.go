package pipeline

import (
	"context"
	"fmt"
	"sync"
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
	// Position of an event in its source. It must grow in the order of emission.
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
// below which every event has ended, whatever order lines finish in.
type Acknowledger[T any] struct {
	// Immutable after NewAcknowledger, producer after NewProducer.
	config   AcknowledgerConfig[T]
	topology *Topology
	producer *Producer[T]

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
		position = min(position, a.lowest-1)
	}
	for _, s := range a.producer.subscriptions() {
		if at, ok := s.lowest(a.config.Position); ok {
			position = min(position, at-1)
		}
	}
	if !a.known || position > a.safe {
		a.safe, a.known = position, true
	}
	return a.safe, true
}

// lowest is the position of the first event that was delivered and has not ended.
func (s *subscription[T]) lowest(position func(*T) int64) (int64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.head == nil {
		return 0, false
	}
	return position(&s.head.events[s.head.low]), true
}

func (a *Acknowledger[T]) attach(p *Producer[T]) error {
	if a.producer != nil {
		return fmt.Errorf("producer %q: its acknowledger is that of %q", p.name, a.producer.name)
	}
	a.producer = p
	return nil
}

// emitted is told by the producer's loop, after each step, what it has emitted and not
// yet delivered.
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

// note adds the end of events to what t will tell.
func (a *Acknowledger[T]) note(t *tally, source string, events []T, err error) {
	if a.config.Ended == nil && a.config.Counted == nil || len(events) == 0 {
		return
	}
	note := a.noteOf(t)
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
	if f := a.to.config.Counted; f != nil {
		f(a.done, a.failed)
	}
	if f := a.to.config.Ended; f != nil {
		f(a.Ack)
	}
}

func (a *Acknowledger[T]) noteOf(t *tally) *ack[T] {
	for _, other := range t.acks {
		if ours, ok := other.(*ack[T]); ok && ours.to == a {
			return ours
		}
	}
	ours := &ack[T]{to: a}
	t.acks = append(t.acks, ours)
	return ours
}
