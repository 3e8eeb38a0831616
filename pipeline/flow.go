package pipeline

import (
	"sync"

	"github.com/reugn/go-streams"
)

// flowNode is the streams.Flow of our own stages: a goroutine that starts when the flow
// is connected, reads where the flow before sends, and ends when that closes.
type flowNode struct {
	run   *run
	in    chan any   // sent and closed by the flow before; unbuffered: waiting is the backpressure
	inlet <-chan any // in, or the subscription's own
	work  func(in <-chan any, out chan<- any)
	once  sync.Once
	out   chan any // only made if Out is called; then sent and closed by the goroutine
}

var _ streams.Flow = (*flowNode)(nil)

func newFlowNode(r *run, work func(in <-chan any, out chan<- any)) *flowNode {
	f := &flowNode{run: r, in: make(chan any), work: work}
	f.inlet = f.in
	return f
}

// newBatchFlow is a flowNode that takes its input by the batch: see [batches].
func newBatchFlow[T any](r *run, stage string, step func(b *Batch[T], pass func(any))) *flowNode {
	return newFlowNode(r, func(in <-chan any, out chan<- any) { batches(r, stage, in, out, step) })
}

// In implements streams.Inlet.
func (f *flowNode) In() chan<- any { return f.in }

// Out implements streams.Outlet.
func (f *flowNode) Out() <-chan any {
	f.once.Do(func() {
		f.out = make(chan any)
		f.run.start(func() { f.stream(f.out) })
	})
	return f.out
}

// Via implements streams.Flow.
func (f *flowNode) Via(next streams.Flow) streams.Flow {
	f.run.start(func() { f.stream(next.In()) })
	return next
}

// To implements streams.Flow.
func (f *flowNode) To(sink streams.Sink) {
	f.run.start(func() { f.stream(sink.In()) })
	sink.AwaitCompletion()
}

func (f *flowNode) stream(out chan<- any) {
	defer close(out)
	f.work(f.inlet, out)
}

// transmit is what go-streams does between two flows.
func transmit(from <-chan any, to chan<- any) {
	defer close(to)
	for element := range from {
		to <- element
	}
}
