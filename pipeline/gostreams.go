package pipeline

import (
	"errors"
	"reflect"

	"github.com/reugn/go-streams"
)

// FlowOf puts a streams.Flow that is not ours into a line: make builds it, each time
// that the line is subscribed. Its elements are *Batch[T]. It must pass each on, or Finish
// or Fail it, or [Replace] it.
func FlowOf(build func() streams.Flow) Stage { return externalFlow(build) }

// SinkOf ends a line with a streams.Sink that is not ours. It must Finish or Fail each
// batch before AwaitCompletion returns.
func SinkOf(build func() streams.Sink) End { return externalSink(build) }

// Tail ends a line with any graph of streams: connect is given what the line gives, and must
// block until all of it has been read and each batch finished or failed.
func Tail(connect func(streams.Source)) End { return tail(connect) }

type externalFlow func() streams.Flow

func (f externalFlow) shape() shape { return shape{name: "flow"} }
func (f externalFlow) flow(r *run) streams.Flow {
	flow, err := built(f)
	r.fail("flow", err)
	return flow
}

type externalSink func() streams.Sink

func (f externalSink) shape() shape { return shape{name: "sink"} }
func (f externalSink) sink(r *run) streams.Sink {
	sink, err := built(f)
	r.fail("sink", err)
	return sink
}

// built calls a factory.
func built[F comparable](build func() F) (made F, err error) {
	err = apart(func() error { made = build(); return nil })
	if err == nil && made == *new(F) {
		err = errors.New("built nothing")
	}
	return made, err
}

type tail func(streams.Source)

func (f tail) shape() shape { return shape{name: "tail", in: reflect.Type(nil)} }

func (f tail) sink(r *run) streams.Sink {
	return newSinkNode(r, func(in <-chan any) {
		gone := make(chan struct{}) // closed when f will read no more
		err := apart(func() error {
			f(newFlowNode(r, func(_ <-chan any, out chan<- any) {
				for element := range in {
					select {
					case out <- element:
					case <-gone:
						abort(element, ErrLost)
					}
				}
			}))
			return nil
		})
		if err != nil {
			r.topology.failed(Failure{Stage: "tail", Attempts: 1, Err: err})
		}
		close(gone)
		for element := range in { // what it should have read
			abort(element, ErrLost)
		}
	})
}
