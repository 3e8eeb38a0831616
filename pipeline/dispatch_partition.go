package pipeline

import (
	"fmt"
	"math"
)

// Discard is the partition of events that nobody wants.
const Discard = -1

// DefaultQueue bounds a partition's queue unless WithQueue says otherwise.
const DefaultQueue = 1000

// Partition gives each event to the one consumer of its partition, in order. Events
// whose consumer has no demand wait in the partition's queue. What is queued counts
// against what the others want, so that no more is emitted than was asked for in all; and
// Want is never more than the fullest queue could take, so a full one holds demand back.
type Partition[T any] struct {
	key   func(*T) int
	bound int
	lanes []lane[T]
	final bool // partitions without a consumer will get none

	// Scratch of Dispatch, kept between calls.
	where      []int32
	deliveries []Delivery[T]
}

type lane[T any] struct {
	id         ID
	subscribed bool
	demand     int // 0 while anything is queued
	queue      []Events[T]
	queued     int
	in         int64 // events ever queued
	out        int64 // events ever taken from the queue
	count      int   // scratch: events of Dispatch at hand
	start      int   // scratch: where they go
}

// PartitionBy returns a dispatcher over lanes partitions; key gives the partition of
// an event, and [Discard], or any number out of range, to discard it. It panics if lanes
// is less than one or key is nil.
func PartitionBy[T any](lanes int, key func(*T) int) *Partition[T] {
	if lanes < 1 || key == nil {
		panic(fmt.Sprintf("pipeline: PartitionBy needs a key and at least one lane, not %d", lanes))
	}
	return &Partition[T]{key: key, bound: DefaultQueue, lanes: make([]lane[T], lanes)}
}

// WithQueue sets how many events may wait for the consumer of one partition. More
// lets the others run further ahead of a slow one, up to their own demand. Zero: no one
// runs ahead.
func (d *Partition[T]) WithQueue(bound int) *Partition[T] {
	d.bound = max(0, bound)
	return d
}

func (d *Partition[T]) Subscribe(id ID, subscriber Subscriber[T]) error {
	if subscriber.Partition < 0 || subscriber.Partition >= len(d.lanes) {
		return fmt.Errorf("partition %d: out of range 0..%d", subscriber.Partition, len(d.lanes)-1)
	}
	l := &d.lanes[subscriber.Partition]
	if l.subscribed {
		return fmt.Errorf("partition %d: has a consumer already", subscriber.Partition)
	}
	l.id, l.subscribed, l.demand = id, true, 0
	return nil
}

func (d *Partition[T]) Cancel(id ID) {
	if l := d.find(id); l != nil {
		l.subscribed, l.demand = false, 0 // the queue stays, for the next consumer
	}
}

func (d *Partition[T]) Ask(id ID, n int) {
	if l := d.find(id); l != nil {
		l.demand += n
	}
}

func (d *Partition[T]) Want() int {
	want, room := 0, math.MaxInt
	for i := range d.lanes {
		l := &d.lanes[i]
		if d.final && !l.subscribed {
			continue
		}
		want += l.demand - l.queued
		room = min(room, l.demand-l.queued+d.bound)
	}
	return max(0, min(want, room))
}

func (d *Partition[T]) Dispatch(e Events[T]) Dispatched[T] {
	clear(d.deliveries)
	d.deliveries = d.deliveries[:0]
	for i := range d.lanes {
		d.release(&d.lanes[i])
	}
	dispatched := Dispatched[T]{Rest: e.Items}
	if len(e.Items) > 0 {
		d.place(e, &dispatched)
	}
	dispatched.Deliveries = d.deliveries
	return dispatched
}

// release delivers from a lane's queue what its consumer asked for.
func (d *Partition[T]) release(l *lane[T]) {
	for l.demand > 0 && len(l.queue) > 0 {
		head := l.queue[0]
		n := min(l.demand, len(head.Items))
		d.deliveries = append(d.deliveries, Delivery[T]{l.id, head.part(0, n)})
		l.demand -= n
		l.queued -= n
		l.out += int64(n)
		if n < len(head.Items) {
			l.queue[0] = head.part(n, len(head.Items))
			return
		}
		l.queue[0] = Events[T]{}
		if l.queue = l.queue[1:]; len(l.queue) == 0 {
			l.queue = nil
		}
	}
}

// place scatters as many of the first events as fit, all into one new slice.
func (d *Partition[T]) place(e Events[T], dispatched *Dispatched[T]) {
	n := d.measure(e, dispatched)
	dispatched.Rest = e.Items[n:]
	total, only := 0, -1
	for i := range d.lanes {
		l := &d.lanes[i]
		l.start = total
		if total += l.count; l.count == n {
			only = i
		}
	}
	if only >= 0 && n > 0 {
		d.deliver(&d.lanes[only], e.part(0, n))
		return
	}
	scattered := make([]T, total)
	for i, where := range d.where {
		if where >= 0 {
			l := &d.lanes[where]
			scattered[l.start] = e.Items[i]
			l.start++
		}
	}
	for i := range d.lanes {
		if l := &d.lanes[i]; l.count > 0 {
			part := e
			part.Items = scattered[l.start-l.count : l.start : l.start]
			d.deliver(l, part)
		}
	}
}

// measure finds each event's lane and counts, up to the first event without a place.
func (d *Partition[T]) measure(e Events[T], dispatched *Dispatched[T]) int {
	d.where = d.where[:0]
	for i := range d.lanes {
		d.lanes[i].count = 0
	}
	for len(d.where) < len(e.Items) {
		if err := d.scan(e, dispatched); err != nil {
			i := len(d.where)
			dispatched.Rejected = append(dispatched.Rejected, Rejected[T]{e.part(i, i+1), err})
			d.where = append(d.where, Discard)
			continue
		}
		break
	}
	return len(d.where)
}

// scan is measure until a key function panics.
func (d *Partition[T]) scan(e Events[T], dispatched *Dispatched[T]) (err error) {
	defer recovered(&err)
	for i := len(d.where); i < len(e.Items); i++ {
		key := d.key(&e.Items[i])
		if key < 0 || key >= len(d.lanes) {
			dispatched.Rejected = append(dispatched.Rejected, Rejected[T]{e.part(i, i+1), ErrDiscarded})
			d.where = append(d.where, Discard)
			continue
		}
		l := &d.lanes[key]
		if d.final && !l.subscribed {
			dispatched.Rejected = append(dispatched.Rejected, Rejected[T]{e.part(i, i+1), ErrNoConsumer})
			d.where = append(d.where, Discard)
			continue
		}
		if l.count >= l.demand+d.bound-l.queued {
			return nil
		}
		l.count++
		d.where = append(d.where, int32(key))
	}
	return nil
}

func (d *Partition[T]) deliver(l *lane[T], e Events[T]) {
	now := min(l.demand, len(e.Items))
	if now > 0 {
		d.deliveries = append(d.deliveries, Delivery[T]{l.id, e.part(0, now)})
		l.demand -= now
	}
	if now < len(e.Items) {
		l.queue = append(l.queue, e.part(now, len(e.Items)))
		l.queued += len(e.Items) - now
		l.in += int64(len(e.Items) - now)
	}
}

// Queued is how many events wait in the queues.
func (d *Partition[T]) Queued() int {
	n := 0
	for i := range d.lanes {
		n += d.lanes[i].queued
	}
	return n
}

// Oldest calls visit with the first event of each queue.
func (d *Partition[T]) Oldest(visit func(*T)) {
	for i := range d.lanes {
		if q := d.lanes[i].queue; len(q) > 0 {
			visit(&q[0].Items[0])
		}
	}
}

// Evict removes what is queued for partitions without a consumer. From then on what
// is for them is rejected, and they hold no one back.
func (d *Partition[T]) Evict() []Events[T] {
	d.final = true
	var evicted []Events[T]
	for i := range d.lanes {
		if l := &d.lanes[i]; !l.subscribed {
			evicted = append(evicted, l.queue...)
			l.out += int64(l.queued)
			l.queue, l.queued = nil, 0
		}
	}
	return evicted
}

// Mark returns a function that tells whether all that is queued now has been delivered.
func (d *Partition[T]) Mark() func() bool {
	marks := make([]int64, len(d.lanes))
	for i := range d.lanes {
		marks[i] = d.lanes[i].in
	}
	return func() bool {
		for i := range d.lanes {
			if d.lanes[i].out < marks[i] {
				return false
			}
		}
		return true
	}
}

func (d *Partition[T]) find(id ID) *lane[T] {
	for i := range d.lanes {
		if d.lanes[i].subscribed && d.lanes[i].id == id {
			return &d.lanes[i]
		}
	}
	return nil
}
