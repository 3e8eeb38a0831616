package pipeline

import (
	"sync"
	"time"

	"github.com/reugn/go-streams"
)

// DefaultMaxDemand is a subscription's MaxDemand unless it says otherwise.
const DefaultMaxDemand = 1000

// SubscribeOptions are the terms between a producer and one line.
type SubscribeOptions[T any] struct {
	// MaxDemand is how many events the line may have asked for and not ended. More
	// keeps a line busy over longer round trips; less bounds memory and latency. Zero
	// is DefaultMaxDemand.
	MaxDemand int
	// MinDemand is how far that falls before the line asks for what it has ended. Lower
	// asks less often, for more at once. Zero is half of MaxDemand; less than zero is none.
	MinDemand int
	// Manual leaves the asking to Line.Ask. MaxDemand still bounds what is outstanding.
	Manual bool
	// Partition is the line's place with a [Partition] dispatcher.
	Partition int
	// Selector chooses the line's events with a [Broadcast] dispatcher. Nil is all.
	Selector func(*T) bool
	// Cancel says what becomes of the consumer when the subscription ends.
	Cancel CancelMode
}

// CancelMode ties a consumer to its producer: what the end of a subscription means to it.
type CancelMode int

const (
	// Permanent consumers end with their subscription, however it ends.
	Permanent CancelMode = iota
	// Transient consumers end with it unless it ended normally.
	Transient
	// Temporary consumers go on, and can be subscribed again.
	Temporary
)

// ends tells whether a consumer ends with a subscription that ended for reason.
func (l CancelMode) ends(reason error) bool {
	return l == Permanent || l == Transient && reason != nil
}

func (o SubscribeOptions[T]) resolve() (SubscribeOptions[T], error) {
	if o.MaxDemand == 0 {
		o.MaxDemand = DefaultMaxDemand
	}
	switch {
	case o.MinDemand < 0:
		o.MinDemand = 0
	case o.MinDemand == 0:
		o.MinDemand = o.MaxDemand / 2
	}
	if o.MaxDemand < 1 {
		return o, configError("SubscribeOptions.MaxDemand", "%d is less than 1", o.MaxDemand)
	}
	if o.MinDemand >= o.MaxDemand {
		return o, configError("SubscribeOptions.MinDemand", "%d is not less than MaxDemand %d", o.MinDemand, o.MaxDemand)
	}
	return o, nil
}

// subscription is one line's demand and deliveries, and the streams.Source that
// the line's first flow reads.
type subscription[T any] struct {
	// Immutable after newSubscription.
	id       ID
	producer *Producer[T]
	options  SubscribeOptions[T]
	run      *run

	// out carries *Batch[T]. Sent and closed by the producer's loop (or closed by subscribe,
	// if there is none any more), received by the line. It has room for MaxDemand: no more
	// batches than events are under way, so a send never blocks.
	out chan any

	// Guarded by mu.
	mu         sync.Mutex
	open       int // asked for, not delivered
	flying     int // delivered, not ended
	owed       int // to be asked for: ended, or asked beyond MaxDemand by hand
	closed     bool
	reason     error        // why it was closed
	head, tail *inflight[T] // deliveries not ended, in order
}

var _ streams.Source = (*subscription[int])(nil)

// Out implements streams.Outlet.
func (s *subscription[T]) Out() <-chan any { return s.out }

// Via implements streams.Source.
func (s *subscription[T]) Via(next streams.Flow) streams.Flow {
	if ours, ok := next.(*flowNode); ok {
		ours.inlet = s.out // read at the source: no goroutine, no hop
		return next
	}
	s.run.start(func() { transmit(s.out, next.In()) })
	return next
}

// To ends a line that has no flows.
func (s *subscription[T]) To(sink streams.Sink) {
	transmit(s.out, sink.In())
	sink.AwaitCompletion()
}

// batch is the most events in one delivery.
func (s *subscription[T]) batch() int {
	if s.options.Manual {
		return s.options.MaxDemand
	}
	return s.options.MaxDemand - s.options.MinDemand
}

// begin makes the first ask.
func (s *subscription[T]) begin() {
	if !s.options.Manual {
		s.owe(s.options.MaxDemand)
	}
}

// ask is the line's asking by hand.
func (s *subscription[T]) ask(n int) {
	if s.options.Manual && n > 0 {
		s.owe(n)
	}
}

func (s *subscription[T]) owe(n int) {
	s.mu.Lock()
	s.owed += n
	n = s.grant()
	s.mu.Unlock()
	s.send(n)
}

// grant turns what is owed into demand, as far as the terms allow.
func (s *subscription[T]) grant() int {
	outstanding := s.open + s.flying
	n := min(s.owed, s.options.MaxDemand-outstanding)
	if s.closed || n <= 0 || !s.options.Manual && outstanding > s.options.MinDemand {
		return 0
	}
	s.open += n
	s.owed -= n
	return n
}

func (s *subscription[T]) send(n int) {
	if n > 0 {
		s.producer.inbox.post(request[T]{ask: s.id, n: n})
	}
}

// deliver hands events to the line; only the producer's loop calls it.
func (s *subscription[T]) deliver(e Events[T]) {
	d := &inflight[T]{sub: s, events: e.Items, parent: e.parent, left: len(e.Items)}
	b := newBatch(e.Items, e.At, d)
	if s.run.watched {
		b.sent = time.Now()
	}
	s.mu.Lock()
	s.open -= len(e.Items)
	s.flying += len(e.Items)
	s.append(d)
	exhausted := s.open == 0
	s.mu.Unlock()
	s.out <- b
	if exhausted {
		s.run.starve()
	}
}

// close ends deliveries; what was delivered is still worked off.
func (s *subscription[T]) close(reason error) {
	s.mu.Lock()
	closed := s.closed
	s.closed, s.open = true, 0
	if !closed {
		s.reason = reason
	}
	s.mu.Unlock()
	if !closed {
		close(s.out)
	}
}

func (s *subscription[T]) cancel() {
	s.producer.inbox.post(request[T]{do: func() { s.producer.unsubscribe(s, nil) }})
}

// starved tells whether nothing more can come before something under way has ended.
func (s *subscription[T]) starved() bool {
	s.mu.Lock()
	exhausted := s.open == 0 && !s.closed // a closed line ends, which flushes everything
	s.mu.Unlock()
	return exhausted || s.producer.inputs != nil && s.producer.inputs.starved()
}

// why is the reason that it was closed for.
func (s *subscription[T]) why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reason
}

// left tells, once the line has ended, whether its last event has.
func (s *subscription[T]) left() bool {
	s.mu.Lock()
	over := s.head == nil
	s.mu.Unlock()
	if over {
		s.producer.forget(s)
	}
	return over
}

// leave is called when no event of the line can be under way any more. Deliveries
// that did not end were dropped by a flow that told nobody.
func (s *subscription[T]) leave() {
	for !s.left() {
		s.mu.Lock()
		d := s.head
		s.mu.Unlock()
		d.lose()
	}
}
