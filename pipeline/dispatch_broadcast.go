package pipeline

import "fmt"

// Broadcast gives every event to every consumer, or to those whose selector takes
// it, as fast as the one with the least demand asks. A consumer that has asked for
// nothing yet holds the flow.
type Broadcast[T any] struct {
	seats      []broadcastSeat[T]
	deliveries []Delivery[T]
}

type broadcastSeat[T any] struct {
	id       ID
	demand   int
	selector func(*T) bool
}

// NewBroadcast returns a dispatcher for consumers that each want everything.
func NewBroadcast[T any]() *Broadcast[T] { return &Broadcast[T]{} }

func (d *Broadcast[T]) Subscribe(id ID, seat Seat[T]) error {
	for _, s := range d.seats {
		if s.id == id {
			return fmt.Errorf("subscription %d is subscribed already", id)
		}
	}
	d.seats = append(d.seats, broadcastSeat[T]{id: id, selector: seat.Selector})
	return nil
}

func (d *Broadcast[T]) Cancel(id ID) {
	for i, s := range d.seats {
		if s.id == id {
			d.seats = append(d.seats[:i], d.seats[i+1:]...)
			return
		}
	}
}

func (d *Broadcast[T]) Ask(id ID, n int) {
	for i := range d.seats {
		if d.seats[i].id == id {
			d.seats[i].demand += n
		}
	}
}

func (d *Broadcast[T]) Want() int {
	if len(d.seats) == 0 {
		return 0
	}
	least := d.seats[0].demand
	for _, s := range d.seats[1:] {
		least = min(least, s.demand)
	}
	return least
}

func (d *Broadcast[T]) Dispatch(e Emission[T]) Dealing[T] {
	clear(d.deliveries)
	d.deliveries = d.deliveries[:0]
	n := min(d.Want(), len(e.Events))
	dealing := Dealing[T]{Rest: e.Events[n:]}
	if n == 0 {
		return dealing
	}
	for i := range d.seats {
		s := &d.seats[i]
		chosen := e.part(0, n)
		if s.selector != nil {
			chosen.Events = choose(chosen, s.selector, &dealing)
		}
		// What a selector rejects leaves the consumer's demand as it was: asked again.
		if s.demand -= len(chosen.Events); len(chosen.Events) > 0 {
			d.deliveries = append(d.deliveries, Delivery[T]{s.id, chosen})
		}
		dealing.Copies += len(chosen.Events)
	}
	dealing.Copies -= n
	dealing.Deliveries = d.deliveries
	return dealing
}

// choose returns the events that a selector takes: the slice itself if it takes
// all. An event on which the selector panics is refused, for that consumer.
func choose[T any](e Emission[T], selector func(*T) bool, dealing *Dealing[T]) []T {
	var chosen []T
	all := true
	for i := range e.Events {
		take, err := protect(selector, &e.Events[i])
		if err != nil {
			dealing.Refused = append(dealing.Refused, Refusal[T]{e.part(i, i+1), err})
			dealing.Copies++
		}
		if take && !all {
			chosen = append(chosen, e.Events[i])
		}
		if !take && all {
			all = false
			chosen = append(make([]T, 0, len(e.Events)-1), e.Events[:i]...)
		}
	}
	if all {
		return e.Events
	}
	return chosen
}

// protect calls a user's function of one event, which may panic.
func protect[T, R any](f func(*T) R, event *T) (result R, err error) {
	defer recovered(&err)
	return f(event), nil
}
