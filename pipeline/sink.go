package pipeline

import (
	"context"
	"sync"

	"github.com/reugn/go-streams"
)

// Sink ends a line: f is called with each batch's events, and they have ended when it
// returns. Lines that share a Sink call f at the same time, each for its own.
func Sink[T any](name string, f func(ctx context.Context, events []T) error, options ...Option) End {
	return sink[T]{name, f, options}
}

type sink[T any] struct {
	name    string
	f       func(context.Context, []T) error
	options []Option
}

func (s sink[T]) shape() shape { return shape{name: s.name, in: elementOf[T]()} }

func (s sink[T]) sink(r *run) streams.Sink {
	h := newHandler(r.topology, r.ctx, s.name, func(ctx context.Context, events []T) ([]struct{}, error) {
		return nil, s.f(ctx, events)
	}, s.options)
	return newSinkNode(r, func(in <-chan any) {
		batches(r, s.name, in, nil, func(b *Batch[T], _ func(any)) {
			h.meter.begin(len(b.Events), b.sent)
			_, failed := h.handle(b)
			h.meter.end(len(b.Events)-len(failed), len(failed))
			b.acknowledge(failed)
			h.meter.record()
		})
	})
}

// Supervise ends a line with a worker for each event, all at once: as many as the
// subscription's MaxDemand. Their order is nobody's.
func Supervise[T any](name string, f func(ctx context.Context, event T) error, options ...Option) End {
	return supervisor[T]{name, f, options}
}

type supervisor[T any] struct {
	name    string
	f       func(context.Context, T) error
	options []Option
}

func (s supervisor[T]) shape() shape { return shape{name: s.name, in: elementOf[T]()} }

func (s supervisor[T]) sink(r *run) streams.Sink {
	return newSinkNode(r, func(in <-chan any) {
		var workers sync.WaitGroup
		defer workers.Wait()
		for element := range in {
			b := received[T](r.topology, s.name, element)
			if b == nil {
				continue
			}
			for len(b.Events) > 1 {
				var one *Batch[T]
				one, b = b.cut(1)
				workers.Go(func() { s.work(r, one) })
			}
			workers.Go(func() { s.work(r, b) })
		}
	})
}

// work is the life of one worker. Demand bounds how many there are.
func (s supervisor[T]) work(r *run, one *Batch[T]) {
	h := newHandler(r.topology, r.ctx, s.name, func(ctx context.Context, events []T) ([]struct{}, error) {
		return nil, s.f(ctx, events[0])
	}, s.options)
	r.topology.outlive(s.name, func() {
		if one.ended.Load() {
			return
		}
		h.meter.begin(1, one.sent)
		_, failed := h.handle(one)
		h.meter.end(1-len(failed), len(failed))
		one.acknowledge(failed)
		h.meter.record()
	})
}

// sinkNode is the streams.Sink of our own ends: a goroutine that starts with the
// line and ends when its input closes.
type sinkNode struct {
	in   chan any // sent and closed by the flow before; unbuffered: waiting is the backpressure
	done chan struct{}
}

var _ streams.Sink = (*sinkNode)(nil)

func newSinkNode(r *run, work func(in <-chan any)) *sinkNode {
	n := &sinkNode{in: make(chan any), done: make(chan struct{})}
	r.start(func() {
		defer close(n.done)
		work(n.in)
	})
	return n
}

// In implements streams.Inlet.
func (n *sinkNode) In() chan<- any { return n.in }

// AwaitCompletion implements streams.Sink.
func (n *sinkNode) AwaitCompletion() { <-n.done }
