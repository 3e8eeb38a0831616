package pipeline

import "fmt"

// Demand gives each run of events to the consumer with the most outstanding
// demand; of equals, to the one that came first.
type Demand[T any] struct {
	subscribers []demandSubscriber // most demand first
	total       int
	deliveries  []Delivery[T]
}

type demandSubscriber struct {
	id     ID
	demand int
	batch  int
}

// NewDemand returns the dispatcher that a producer has if it is given none.
func NewDemand[T any]() *Demand[T] { return &Demand[T]{} }

func (d *Demand[T]) Subscribe(id ID, subscriber Subscriber[T]) error {
	if d.find(id) >= 0 {
		return fmt.Errorf("subscription %d is subscribed already", id)
	}
	d.subscribers = append(d.subscribers, demandSubscriber{id: id, batch: subscriber.Batch})
	return nil
}

func (d *Demand[T]) Cancel(id ID) {
	if i := d.find(id); i >= 0 {
		d.total -= d.subscribers[i].demand
		d.subscribers = append(d.subscribers[:i], d.subscribers[i+1:]...)
	}
}

func (d *Demand[T]) Ask(id ID, n int) {
	if i := d.find(id); i >= 0 {
		d.change(i, n)
	}
}

func (d *Demand[T]) Want() int { return d.total }

func (d *Demand[T]) Dispatch(e Events[T]) Dispatched[T] {
	clear(d.deliveries)
	d.deliveries = d.deliveries[:0]
	at := 0
	for at < len(e.Items) && d.total > 0 {
		s := d.subscribers[0]
		n := min(s.demand, len(e.Items)-at)
		if s.batch > 0 {
			n = min(n, s.batch)
		}
		d.deliveries = append(d.deliveries, Delivery[T]{s.id, e.part(at, at+n)})
		d.change(0, -n)
		at += n
	}
	return Dispatched[T]{Deliveries: d.deliveries, Rest: e.Items[at:]}
}

// change moves a subscriber to its new place: behind those with as much demand.
func (d *Demand[T]) change(i, by int) {
	s := d.subscribers[i]
	s.demand += by
	d.total += by
	d.subscribers = append(d.subscribers[:i], d.subscribers[i+1:]...)
	at := len(d.subscribers)
	for at > 0 && d.subscribers[at-1].demand < s.demand {
		at--
	}
	d.subscribers = append(d.subscribers, demandSubscriber{})
	copy(d.subscribers[at+1:], d.subscribers[at:])
	d.subscribers[at] = s
}

func (d *Demand[T]) find(id ID) int {
	for i := range d.subscribers {
		if d.subscribers[i].id == id {
			return i
		}
	}
	return -1
}
