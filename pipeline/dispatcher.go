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
	// Subscribe adds a consumer, with no demand yet.
	Subscribe(id ID, subscriber Subscriber[T]) error
	// Cancel removes it, and forgets its demand.
	Cancel(id ID)
	// Ask adds to a consumer's demand. Unknown ids are ignored: they have left.
	Ask(id ID, n int)
	// Want is how many further events have a place.
	Want() int
	// Dispatch places events, in order, for as long as there is demand. It is also called
	// with none, for what the dispatcher itself holds. It must not keep the slices of
	// the Dispatched that it returned before: they may be reused.
	Dispatch(e Events[T]) Dispatched[T]
}

// Subscriber is what a dispatcher knows of a subscription.
type Subscriber[T any] struct {
	Partition int           // for partitions: which
	Selector  func(*T) bool // for broadcasts: which events; nil is all
	Batch     int           // most events in one delivery; 0 is no limit
}

// Events are what a producer emitted in one go, in order.
type Events[T any] struct {
	Items  []T
	At     time.Time
	parent *derived // set if a stage above is to know of their end
}

// part is the same with fewer events.
func (e Events[T]) part(lo, hi int) Events[T] {
	e.Items = e.Items[lo:hi:hi]
	return e
}

// Delivery is some of the events that were emitted together, for one consumer.
type Delivery[T any] struct {
	To ID
	Events[T]
}

// Dispatched is what became of the events that were given to Dispatch.
type Dispatched[T any] struct {
	Deliveries []Delivery[T]
	// Rejected events reach nobody: discarded by key, or their key function panicked.
	Rejected []Rejected[T]
	// Rest are the last of the events, for which there was no demand.
	Rest []T
	// Copies is how many more deliveries of events there were than events: a broadcast's.
	Copies int
}

// Rejected is an event that reaches nobody, and why: [ErrDiscarded] or a [*PanicError].
type Rejected[T any] struct {
	Events[T]
	Err error
}

// queuer is a dispatcher that holds events of its own.
type queuer[T any] interface {
	Queued() int
	// Oldest calls visit with the first event of each queue.
	Oldest(visit func(*T))
	// Evict removes what waits for consumers that do not exist, and keeps no more for them.
	Evict() []Events[T]
	// Mark returns a function that tells whether all that is queued now has been delivered.
	Mark() (passed func() bool)
}
