package pipeline

import (
	"sync"

	"github.com/reugn/go-streams"
)

// conduit is the streams.Flow of our own stages: a goroutine that starts when the flow
// is connected, reads where the flow before sends, and ends when that closes.
type conduit struct {
	run   *run
	in    chan any   // sent and closed by the flow before; unbuffered: waiting is the backpressure
	inlet <-chan any // in, or the subscription's own
	work  func(in <-chan any, out chan<- any)
	once  sync.Once
	out   chan any // only made if Out is called; then sent and closed by the goroutine
}

var _ streams.Flow = (*conduit)(nil)

func newConduit(r *run, work func(in <-chan any, out chan<- any)) *conduit {
	c := &conduit{run: r, in: make(chan any), work: work}
	c.inlet = c.in
	return c
}

// newStage is a conduit that takes its input by the batch: see [batches].
func newStage[T any](r *run, stage string, step func(b *Batch[T], pass func(any))) *conduit {
	return newConduit(r, func(in <-chan any, out chan<- any) { batches(r, stage, in, out, step) })
}

// In implements streams.Inlet.
func (c *conduit) In() chan<- any { return c.in }

// Out implements streams.Outlet.
func (c *conduit) Out() <-chan any {
	c.once.Do(func() {
		c.out = make(chan any)
		c.run.start(func() { c.stream(c.out) })
	})
	return c.out
}

// Via implements streams.Flow.
func (c *conduit) Via(next streams.Flow) streams.Flow {
	c.run.start(func() { c.stream(next.In()) })
	return next
}

// To implements streams.Flow.
func (c *conduit) To(sink streams.Sink) {
	c.run.start(func() { c.stream(sink.In()) })
	sink.AwaitCompletion()
}

func (c *conduit) stream(out chan<- any) {
	defer close(out)
	c.work(c.inlet, out)
}

// transmit is what go-streams does between two flows.
func transmit(from <-chan any, to chan<- any) {
	defer close(to)
	for element := range from {
		to <- element
	}
}
