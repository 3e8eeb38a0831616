package pipeline

import "time"

// ID names a subscription to its producer's dispatcher.
type ID int

// Dispatcher decides who gets which event. It is a plain value, used by one
// goroutine: no lock, no clock, no channel.
//
// Demand is a level, not a message: Want says how many further events the
// dispatcher could place now. The producer fetches what is wanted and offers it
// until the dispatcher leaves a rest. So demand cannot be lost on a retry, and
// what a leaving consumer asked for is not asked twice.
type Dispatcher[T any] interface {
	// Subscribe seats a consumer, with no demand yet.
	Subscribe(id ID, subscriber Seat[T]) error
	// Cancel unseats it, and forgets its demand.
	Cancel(id ID)
	// Ask adds to a consumer's demand. Unknown ids are ignored: they have left.
	Ask(id ID, n int)
	// Want is how many further events have a place.
	Want() int
	// Dispatch places events, in order, for as long as there is demand. It is also called
	// with none, for what the dispatcher itself holds. It must not keep the slices of
	// the Dealing that it returned before: they may be reused.
	Dispatch(e Emission[T]) Dealing[T]
}

// Seat is what a dispatcher knows of a subscription.
type Seat[T any] struct {
	Partition int           // for partitions: which
	Selector  func(*T) bool // for broadcasts: which events; nil is all
	Batch     int           // most events in one delivery; 0 is no limit
}

// Emission is what a producer emitted in one go.
type Emission[T any] struct {
	Events []T
	At     time.Time
	parent *derived // set if a stage above is to know of their end
}

// part is the same emission with fewer events.
func (e Emission[T]) part(lo, hi int) Emission[T] {
	e.Events = e.Events[lo:hi:hi]
	return e
}

// Delivery is a part of one emission for one consumer.
type Delivery[T any] struct {
	To ID
	Emission[T]
}

// Dealing is what became of the events of an emission.
type Dealing[T any] struct {
	Deliveries []Delivery[T]
	// Refused events reach nobody: discarded by key, or their key function panicked.
	Refused []Refusal[T]
	// Rest are the last events of the emission, for which there was no demand.
	Rest []T
	// Copies is how many more deliveries of events there were than events: a broadcast's.
	Copies int
}

// Refusal is an event that reaches nobody, and why: [ErrDiscarded] or a [*PanicError].
type Refusal[T any] struct {
	Emission[T]
	Err error
}

// queuer is a dispatcher that holds events of its own.
type queuer[T any] interface {
	Queued() int
	// Oldest calls visit with the first event of each queue.
	Oldest(visit func(*T))
	// Evict removes what waits for consumers that do not exist, and keeps no more for them.
	Evict() []Emission[T]
	// Mark returns a function that tells whether all that is queued now has been dealt.
	Mark() (passed func() bool)
}
