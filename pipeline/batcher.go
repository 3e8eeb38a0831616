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
	j := &joiner[T]{batcher: s, run: r, meter: newMeter(r.topology.recorder(s.name())), hungry: r.listen(s.Timeout)}
	return newConduit(r, j.work)
}

// listen returns where a batcher with a timeout hears that it waits in vain.
func (r *run) listen(timeout time.Duration) <-chan struct{} {
	if timeout <= 0 {
		return nil
	}
	hungry := make(chan struct{}, 1)
	r.hungry = append(r.hungry, hungry)
	return hungry
}

// joiner is a Batcher at work, owned by its goroutine.
type joiner[T any] struct {
	batcher Batcher[T]
	run     *run
	meter   *meter
	hungry  <-chan struct{}

	open  *Batch[T] // being joined
	owned bool      // its Events are our own to append to
	rest  *Batch[T] // what did not fit into open; nothing is received meanwhile
	due   bool      // open goes as soon as the next stage takes it
	going int       // events in open, when it is offered
	timer *time.Timer
}

func (j *joiner[T]) work(in <-chan any, out chan<- any) {
	j.timer = time.NewTimer(0)
	j.timer.Stop()
	defer j.timer.Stop()
	j.run.topology.outlive(j.batcher.name(), func() { j.loop(in, out) })
}

func (j *joiner[T]) loop(in <-chan any, out chan<- any) {
	for in != nil || j.open != nil {
		if j.gather(in) {
			in = nil
			j.due = true
		}
		j.judge()
		inlet, outlet := in, out
		if j.rest != nil || j.full() {
			inlet = nil
		}
		if !j.due || j.open == nil {
			outlet = nil
		}
		if inlet == nil && outlet == nil {
			continue // the input has closed, and nothing is left
		}
		if outlet != nil && j.meter != nil {
			j.open.sent = time.Now()
		}
		var next any
		if outlet != nil {
			next, j.going = j.open, len(j.open.Events)
		}
		select {
		case element, ok := <-inlet:
			if !ok {
				in, j.due = nil, true
				continue
			}
			j.add(element)
		case outlet <- next:
			j.sent()
		case <-j.timer.C:
			j.due = true
		case <-j.hungry:
			j.due = j.due || j.open != nil && j.run.source.starved()
		}
	}
}

// gather takes what is there without waiting, and tells whether the input has closed.
func (j *joiner[T]) gather(in <-chan any) (closed bool) {
	for in != nil && j.rest == nil && !j.full() {
		select {
		case element, ok := <-in:
			if !ok {
				return true
			}
			j.add(element)
		default:
			return false
		}
	}
	return false
}

// judge decides whether the open batch goes.
func (j *joiner[T]) judge() {
	if j.open == nil || j.due {
		return
	}
	j.due = j.full() || j.rest != nil || j.batcher.Timeout <= 0 || j.run.source.starved()
}

func (j *joiner[T]) full() bool {
	return j.open != nil && len(j.open.Events) >= j.batcher.Size
}

func (j *joiner[T]) add(element any) {
	b := received[T](j.run.topology, j.batcher.name(), element)
	if b == nil {
		return
	}
	j.meter.begin(len(b.Events), b.sent)
	j.meter.end(0, 0)
	j.put(b)
	j.meter.record()
}

// put joins b to the open batch, or opens one with it: what does not fit is the rest.
func (j *joiner[T]) put(b *Batch[T]) {
	room := j.batcher.Size
	if j.open != nil {
		room -= len(j.open.Events)
	}
	if len(b.Events) > room {
		b, j.rest = b.cut(room)
	}
	if j.open == nil {
		j.open, j.owned = b, false
		if j.batcher.Timeout > 0 {
			j.timer.Reset(j.batcher.Timeout)
		}
		return
	}
	j.open, j.owned = join(j.open, b, j.owned, j.batcher.Size), true
}

// join appends b to open; unless open's events are owned, to a copy of them.
func join[T any](open, b *Batch[T], owned bool, size int) *Batch[T] {
	if !owned {
		total := len(open.Events) + len(b.Events)
		events := make([]T, 0, min(size, 2*total))
		mine := withShares(append(events, open.Events...), open.At, append([]share(nil), open.shares...))
		open = mine
	}
	open.Events = append(open.Events, b.Events...)
	open.shares = append(open.shares, b.shares...)
	open.count = len(open.Events)
	if b.At.Before(open.At) {
		open.At = b.At
	}
	return open
}

// sent makes room after the open batch has gone.
func (j *joiner[T]) sent() {
	j.meter.sent(j.going)
	rest := j.rest
	j.open, j.rest, j.due = nil, nil, false
	j.timer.Stop()
	if rest != nil {
		j.put(rest)
	}
	j.meter.record()
}
