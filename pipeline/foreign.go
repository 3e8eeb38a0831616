package pipeline

import (
	"reflect"

	"github.com/reugn/go-streams"
)

// FlowOf puts a streams.Flow that is not ours into a line: make builds it, each time
// that the line is subscribed. Its elements are *Batch[T]. It must pass each on, or Finish
// or Fail it, or [Replace] it.
func FlowOf(build func() streams.Flow) Stage { return foreignFlow(build) }

// SinkOf ends a line with a streams.Sink that is not ours. It must Finish or Fail each
// batch before AwaitCompletion returns.
func SinkOf(build func() streams.Sink) End { return foreignSink(build) }

// Tail ends a line with any graph of streams: connect is given what the line gives, and must
// block until all of it has been read and each batch finished or failed.
func Tail(connect func(streams.Source)) End { return tail(connect) }

type foreignFlow func() streams.Flow

func (f foreignFlow) shape() shape           { return shape{name: "flow"} }
func (f foreignFlow) flow(*run) streams.Flow { return f() }

type foreignSink func() streams.Sink

func (f foreignSink) shape() shape           { return shape{name: "sink"} }
func (f foreignSink) sink(*run) streams.Sink { return f() }

type tail func(streams.Source)

func (f tail) shape() shape { return shape{name: "tail", in: reflect.Type(nil)} }

func (f tail) sink(r *run) streams.Sink {
	return newBasin(r, func(in <-chan any) {
		f(newConduit(r, func(_ <-chan any, out chan<- any) {
			for element := range in {
				out <- element
			}
		}))
	})
}
