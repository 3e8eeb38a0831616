package pipeline_test

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/reugn/go-streams"
	"github.com/reugn/go-streams/flow"

	"github.com/sluicehq/sluice/pipeline"
)

// go-streams' own flows stand anywhere; their elements are batches.
func ExampleFlowOf() {
	type batch = *pipeline.Batch[int]
	through(6, pipeline.Config{}, func(line *pipeline.Line) {
		line.
			Via(pipeline.FlowOf(func() streams.Flow {
				return flow.NewThrottler(100, time.Millisecond, 1, flow.Backpressure)
			})).
			Via(pipeline.FlowOf(func() streams.Flow {
				return flow.NewMap(func(b batch) *pipeline.Batch[string] {
					texts := make([]string, len(b.Events))
					for i, n := range b.Events {
						texts[i] = fmt.Sprintf("<%d>", n)
					}
					return pipeline.Replace(b, texts) // passes the tracking along
				}, 1)
			})).
			Via(pipeline.FlowOf(func() streams.Flow { return flow.NewPassThrough() })).
			Into(pipeline.Sink("show", show[string]))
	})
	// Output:
	// [<1> <2> <3> <4>]
	// [<5> <6>]
}

// What go-streams' Filter drops has to be finished, or its demand never returns.
func ExampleKeeping() {
	through(8, pipeline.Config{}, func(line *pipeline.Line) {
		line.
			Via(pipeline.FlowOf(func() streams.Flow {
				return flow.NewFilter(pipeline.Keeping(func(b *pipeline.Batch[int]) bool {
					return b.Events[0] > 4
				}), 1)
			})).
			Into(pipeline.Sink("show", show[int]))
	})
	// Output: [5 6 7 8]
}

// everyOther is a flow of one's own: it passes every other batch on.
type everyOther struct{ in, out chan any }

func newEveryOther() streams.Flow {
	f := &everyOther{make(chan any), make(chan any)}
	go func() {
		defer close(f.out)
		for pass := true; ; pass = !pass {
			element, open := <-f.in
			switch {
			case !open:
				return
			case pass:
				f.out <- element
			default:
				element.(*pipeline.Batch[int]).Finish()
			}
		}
	}()
	return f
}

func (f *everyOther) In() chan<- any  { return f.in }
func (f *everyOther) Out() <-chan any { return f.out }
func (f *everyOther) Via(next streams.Flow) streams.Flow {
	go f.To(sinkOf{next})
	return next
}

func (f *everyOther) To(sink streams.Sink) {
	for element := range f.out {
		sink.In() <- element
	}
	close(sink.In())
	sink.AwaitCompletion()
}

type sinkOf struct{ streams.Inlet }

func (sinkOf) AwaitCompletion() {}

func ExampleBatch_Finish() {
	through(16, pipeline.Config{}, func(line *pipeline.Line) {
		line.Via(pipeline.FlowOf(newEveryOther)).Into(pipeline.Sink("show", show[int]))
	})
	// Output:
	// [1 2 3 4]
	// [9 10 11 12]
}

// printer is a streams.Sink of one's own.
type printer struct {
	in   chan any
	done chan struct{}
}

func newPrinter() streams.Sink {
	p := &printer{make(chan any), make(chan struct{})}
	go func() {
		defer close(p.done)
		for element := range p.in {
			b := element.(*pipeline.Batch[int])
			fmt.Println(b.Events)
			b.Finish()
		}
	}()
	return p
}

func (p *printer) In() chan<- any   { return p.in }
func (p *printer) AwaitCompletion() { <-p.done }

func ExampleSinkOf() {
	through(3, pipeline.Config{}, func(line *pipeline.Line) {
		line.Into(pipeline.SinkOf(newPrinter))
	})
	// Output: [1 2 3]
}

// Any graph of streams may end a line: here, one that merges what it has split.
func ExampleTail() {
	var events atomic.Int64
	through(50, pipeline.Config{}, func(line *pipeline.Line) {
		line.Into(pipeline.Tail(func(source streams.Source) {
			split := flow.Split(source, func(b *pipeline.Batch[int]) bool { return b.Events[0]%2 == 1 })
			for element := range flow.Merge(split[0], split[1]).Out() {
				b := element.(*pipeline.Batch[int])
				events.Add(int64(len(b.Events)))
				b.Finish()
			}
		}))
	})
	fmt.Println(events.Load())
	// Output: 50
}
