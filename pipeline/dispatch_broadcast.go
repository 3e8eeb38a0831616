package pipeline

import "fmt"

// Broadcast gives every event to every consumer, or to those whose selector takes
// it, as fast as the one with the least demand asks. A consumer that has asked for
// nothing yet holds the flow.
type Broadcast[T any] struct {
	subscribers []broadcastSubscriber[T]
	deliveries  []Delivery[T]
}

type broadcastSubscriber[T any] struct {
	id       ID
	demand   int
	selector func(*T) bool
}

// NewBroadcast returns a dispatcher for consumers that each want everything.
func NewBroadcast[T any]() *Broadcast[T] { return &Broadcast[T]{} }

func (d *Broadcast[T]) Subscribe(id ID, subscriber Subscriber[T]) error {
	for _, s := range d.subscribers {
		if s.id == id {
			return fmt.Errorf("subscription %d is subscribed already", id)
		}
	}
	d.subscribers = append(d.subscribers, broadcastSubscriber[T]{id: id, selector: subscriber.Selector})
	return nil
}

func (d *Broadcast[T]) Cancel(id ID) {
	for i, s := range d.subscribers {
		if s.id == id {
			d.subscribers = append(d.subscribers[:i], d.subscribers[i+1:]...)
			return
		}
	}
}

func (d *Broadcast[T]) Ask(id ID, n int) {
	for i := range d.subscribers {
		if d.subscribers[i].id == id {
			d.subscribers[i].demand += n
		}
	}
}

func (d *Broadcast[T]) Want() int {
	if len(d.subscribers) == 0 {
		return 0
	}
	least := d.subscribers[0].demand
	for _, s := range d.subscribers[1:] {
		least = min(least, s.demand)
	}
	return least
}

func (d *Broadcast[T]) Dispatch(e Events[T]) Dispatched[T] {
	clear(d.deliveries)
	d.deliveries = d.deliveries[:0]
	n := min(d.Want(), len(e.Items))
	dispatched := Dispatched[T]{Rest: e.Items[n:]}
	if n == 0 {
		return dispatched
	}
	for i := range d.subscribers {
		s := &d.subscribers[i]
		chosen := e.part(0, n)
		if s.selector != nil {
			chosen.Items = choose(chosen, s.selector, &dispatched)
		}
		// What a selector rejects leaves the consumer's demand as it was: asked again.
		if s.demand -= len(chosen.Items); len(chosen.Items) > 0 {
			d.deliveries = append(d.deliveries, Delivery[T]{s.id, chosen})
		}
		dispatched.Copies += len(chosen.Items)
	}
	dispatched.Copies -= n
	dispatched.Deliveries = d.deliveries
	return dispatched
}

// choose returns the events that a selector takes: the slice itself if it takes
// all. An event on which the selector panics is rejected, for that consumer.
func choose[T any](e Events[T], selector func(*T) bool, dispatched *Dispatched[T]) []T {
	var chosen []T
	all := true
	for i := range e.Items {
		take, err := protect(selector, &e.Items[i])
		if err != nil {
			dispatched.Rejected = append(dispatched.Rejected, Rejected[T]{e.part(i, i+1), err})
			dispatched.Copies++
		}
		if take && !all {
			chosen = append(chosen, e.Items[i])
		}
		if !take && all {
			all = false
			chosen = append(make([]T, 0, len(e.Items)-1), e.Items[:i]...)
		}
	}
	if all {
		return e.Items
	}
	return chosen
}

// protect calls a user's function of one event, which may panic.
func protect[T, R any](f func(*T) R, event *T) (result R, err error) {
	defer recovered(&err)
	return f(event), nil
}
