package pipeline

import (
	"time"

	"github.com/reugn/go-streams"
)

// DefaultBatch is a batcher's Size unless it says otherwise.
const DefaultBatch = 500

// Batcher joins batches that arrive together, and cuts those that are too large. A batch goes on when it is
// full, when Timeout has passed since its first event came, when the line has been given
// all that it asked for, and at a drain. While the stage behind is busy it keeps growing.
type Batcher[T any] struct {
	// Name of the stage. Empty is "batch".
	Name string
	// Size is the most events in a batch. Zero is DefaultBatch.
	Size int
	// Timeout is how long a batch waits for more. Longer makes fuller batches and pays in
	// latency. Zero: it goes as soon as nothing more is there.
	Timeout time.Duration
}

func (s Batcher[T]) shape() shape { return shape{s.name(), elementOf[T](), elementOf[T]()} }

func (s Batcher[T]) name() string {
	if s.Name == "" {
		return "batch"
	}
	return s.Name
}

func (s Batcher[T]) flow(r *run) streams.Flow {
	if s.Size <= 0 {
		s.Size = DefaultBatch
	}
	w := &batching[T]{batcher: s, run: r, meter: newMeter(r.topology.recorder(s.name())), starvedC: r.listen(s.Timeout)}
	return newFlowNode(r, w.work)
}

// listen returns where a batcher with a timeout hears that it waits in vain.
func (r *run) listen(timeout time.Duration) <-chan struct{} {
	if timeout <= 0 {
		return nil
	}
	starvedC := make(chan struct{}, 1)
	r.starvedC = append(r.starvedC, starvedC)
	return starvedC
}

// batching is a Batcher at work, owned by its goroutine.
type batching[T any] struct {
	batcher  Batcher[T]
	run      *run
	meter    *meter
	starvedC <-chan struct{}

	open  *Batch[T] // being joined
	owned bool      // its Events are our own to append to
	rest  *Batch[T] // what did not fit into open; nothing is received meanwhile
	due   bool      // open goes as soon as the next stage takes it
	going int       // events in open, when it is offered
	timer *time.Timer
}

func (w *batching[T]) work(in <-chan any, out chan<- any) {
	w.timer = time.NewTimer(0)
	w.timer.Stop()
	defer w.timer.Stop()
	w.run.topology.outlive(w.batcher.name(), func() { w.loop(in, out) })
}

func (w *batching[T]) loop(in <-chan any, out chan<- any) {
	for in != nil || w.open != nil {
		if w.gather(in) {
			in = nil
			w.due = true
		}
		w.judge()
		inlet, outlet := in, out
		if w.rest != nil || w.full() {
			inlet = nil
		}
		if !w.due || w.open == nil {
			outlet = nil
		}
		if inlet == nil && outlet == nil {
			continue // the input has closed, and nothing is left
		}
		if outlet != nil && w.meter != nil {
			w.open.sent = time.Now()
		}
		var next any
		if outlet != nil {
			next, w.going = w.open, len(w.open.Events)
		}
		select {
		case element, ok := <-inlet:
			if !ok {
				in, w.due = nil, true
				continue
			}
			w.add(element)
		case outlet <- next:
			w.sent()
		case <-w.timer.C:
			w.due = true
		case <-w.starvedC:
			w.due = w.due || w.open != nil && w.run.source.starved()
		}
	}
}

// gather takes what is there without waiting, and tells whether the input has closed.
func (w *batching[T]) gather(in <-chan any) (closed bool) {
	for in != nil && w.rest == nil && !w.full() {
		select {
		case element, ok := <-in:
			if !ok {
				return true
			}
			w.add(element)
		default:
			return false
		}
	}
	return false
}

// judge decides whether the open batch goes.
func (w *batching[T]) judge() {
	if w.open == nil || w.due {
		return
	}
	w.due = w.full() || w.rest != nil || w.batcher.Timeout <= 0 || w.run.source.starved()
}

func (w *batching[T]) full() bool {
	return w.open != nil && len(w.open.Events) >= w.batcher.Size
}

func (w *batching[T]) add(element any) {
	b := received[T](w.run.topology, w.batcher.name(), element)
	if b == nil {
		return
	}
	w.meter.begin(len(b.Events), b.sent)
	w.meter.end(0, 0)
	w.put(b)
	w.meter.record()
}

// put joins b to the open batch, or opens one with it: what does not fit is the rest.
func (w *batching[T]) put(b *Batch[T]) {
	room := w.batcher.Size
	if w.open != nil {
		room -= len(w.open.Events)
	}
	if len(b.Events) > room {
		b, w.rest = b.cut(room)
	}
	if w.open == nil {
		w.open, w.owned = b, false
		if w.batcher.Timeout > 0 {
			w.timer.Reset(w.batcher.Timeout)
		}
		return
	}
	w.open, w.owned = join(w.open, b, w.owned, w.batcher.Size), true
}

// join appends b to open; unless open's events are owned, to a copy of them.
func join[T any](open, b *Batch[T], owned bool, size int) *Batch[T] {
	if !owned {
		total := len(open.Events) + len(b.Events)
		events := make([]T, 0, min(size, 2*total))
		mine := withRanges(append(events, open.Events...), open.At, append([]trackedRange(nil), open.ranges...))
		open = mine
	}
	open.Events = append(open.Events, b.Events...)
	open.ranges = append(open.ranges, b.ranges...)
	open.count = len(open.Events)
	if b.At.Before(open.At) {
		open.At = b.At
	}
	return open
}

// sent makes room after the open batch has gone.
func (w *batching[T]) sent() {
	w.meter.sent(w.going)
	rest := w.rest
	w.open, w.rest, w.due = nil, nil, false
	w.timer.Stop()
	if rest != nil {
		w.put(rest)
	}
	w.meter.record()
}
