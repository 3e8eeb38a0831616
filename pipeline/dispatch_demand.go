package pipeline

import "fmt"

// Demand gives each run of events to the consumer with the most outstanding
// demand; of equals, to the one that came first.
type Demand[T any] struct {
	seats      []demandSeat // most demand first
	total      int
	deliveries []Delivery[T]
}

type demandSeat struct {
	id     ID
	demand int
	batch  int
}

// NewDemand returns the dispatcher that a producer has if it is given none.
func NewDemand[T any]() *Demand[T] { return &Demand[T]{} }

func (d *Demand[T]) Subscribe(id ID, seat Seat[T]) error {
	if d.find(id) >= 0 {
		return fmt.Errorf("subscription %d is subscribed already", id)
	}
	d.seats = append(d.seats, demandSeat{id: id, batch: seat.Batch})
	return nil
}

func (d *Demand[T]) Cancel(id ID) {
	if i := d.find(id); i >= 0 {
		d.total -= d.seats[i].demand
		d.seats = append(d.seats[:i], d.seats[i+1:]...)
	}
}

func (d *Demand[T]) Ask(id ID, n int) {
	if i := d.find(id); i >= 0 {
		d.change(i, n)
	}
}

func (d *Demand[T]) Want() int { return d.total }

func (d *Demand[T]) Dispatch(e Emission[T]) Dealing[T] {
	clear(d.deliveries)
	d.deliveries = d.deliveries[:0]
	at := 0
	for at < len(e.Events) && d.total > 0 {
		s := d.seats[0]
		n := min(s.demand, len(e.Events)-at)
		if s.batch > 0 {
			n = min(n, s.batch)
		}
		d.deliveries = append(d.deliveries, Delivery[T]{s.id, e.part(at, at+n)})
		d.change(0, -n)
		at += n
	}
	return Dealing[T]{Deliveries: d.deliveries, Rest: e.Events[at:]}
}

// change moves a seat to its new place: behind those with as much demand.
func (d *Demand[T]) change(i, by int) {
	s := d.seats[i]
	s.demand += by
	d.total += by
	d.seats = append(d.seats[:i], d.seats[i+1:]...)
	at := len(d.seats)
	for at > 0 && d.seats[at-1].demand < s.demand {
		at--
	}
	d.seats = append(d.seats, demandSeat{})
	copy(d.seats[at+1:], d.seats[at:])
	d.seats[at] = s
}

func (d *Demand[T]) find(id ID) int {
	for i := range d.seats {
		if d.seats[i].id == id {
			return i
		}
	}
	return -1
}
