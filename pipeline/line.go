package pipeline

import (
	"context"
	"fmt"
	"reflect"
	"sync"

	"github.com/reugn/go-streams"
)

// Stage is the recipe of a step in a line. The streams.Flow is built anew each time
// that the line is subscribed.
type Stage interface {
	shape() shape
	flow(r *run) streams.Flow
}

// End is the recipe of what ends a line, and the events in it.
type End interface {
	shape() shape
	sink(r *run) streams.Sink
}

// shape is what a step takes and gives: Go cannot check it along a chain, so Run
// does before anything starts. A nil type is anything.
type shape struct {
	name    string
	in, out reflect.Type
}

func elementOf[T any]() reflect.Type { return reflect.TypeFor[*Batch[T]]() }

// Line is one subscription to a producer and all that stands behind it. It is put
// together by Via and Into, in one goroutine; the rest may be called by any.
type Line struct {
	// Immutable after Into.
	topology   *Topology
	producer   string
	cancelMode CancelMode
	subscribe  func(*run) source
	stages     []Stage
	end        End
	tip        shape // of the last step
	mistake    error // in composing

	// Guarded by topology.mu.
	live    bool // subscribed, or about to be
	current *run
	early   int           // asked for while not subscribed
	reason  error         // why the last subscription ended
	done    chan struct{} // closed when the consumer has ended
}

// source is what a line knows of its subscription.
type source interface {
	streams.Source
	To(streams.Sink)
	begin()
	ask(int)
	cancel()
	starved() bool
	why() error
	left() bool
	leave()
}

func newLine(t *Topology, producer string, element reflect.Type, mode CancelMode, subscribe func(*run) source) *Line {
	return &Line{
		topology:   t,
		producer:   producer,
		cancelMode: mode,
		subscribe:  subscribe,
		tip:        shape{name: producer, out: element},
		done:       make(chan struct{}),
	}
}

// Via adds a stage.
func (l *Line) Via(s Stage) *Line {
	l.connect(s.shape())
	l.stages = append(l.stages, s)
	return l
}

// Into ends the line. It starts with the topology, or at once if that runs, or never if
// that drains.
func (l *Line) Into(e End) *Line {
	if l.end != nil {
		l.topology.misuse(fmt.Errorf("line from %q: it has an end already", l.producer))
		return l
	}
	l.connect(e.shape())
	l.end = e
	l.topology.addLine(l)
	return l
}

// connect checks that a step takes what the one before gives.
func (l *Line) connect(next shape) {
	if l.tip.out != nil && next.in != nil && l.tip.out != next.in {
		l.mistake = fmt.Errorf("line from %q: %q gives %v, %q takes %v", l.producer, l.tip.name, l.tip.out, next.name, next.in)
		l.topology.misuse(l.mistake)
	}
	l.tip = next
}

// Ask asks for n more events, on a line that asks by hand. Zero does nothing. What is
// asked while the line is not subscribed is asked when it is.
func (l *Line) Ask(n int) {
	l.topology.mu.Lock()
	r := l.current
	if r == nil {
		l.early += max(0, n)
	}
	l.topology.mu.Unlock()
	if r != nil {
		r.source.ask(n)
	}
}

// Cancel ends the subscription: no more is asked or delivered, and what was
// delivered is worked off. With Cancel Permanent the line has ended then. It does nothing
// while the line is not subscribed.
func (l *Line) Cancel() {
	if r := l.running(); r != nil {
		r.source.cancel()
	}
}

// Resubscribe subscribes a line again that has ended or gone idle, with new flows.
func (l *Line) Resubscribe() error { return l.topology.resubscribe(l) }

// Done is closed when the line has ended: its subscription by its [CancelMode], or the
// topology.
func (l *Line) Done() <-chan struct{} {
	l.topology.mu.Lock()
	defer l.topology.mu.Unlock()
	return l.done
}

// Err returns why the line's last subscription ended, or why it could not start. It
// is nil while one lasts, and after a normal end.
func (l *Line) Err() error {
	l.topology.mu.Lock()
	defer l.topology.mu.Unlock()
	return l.reason
}

func (l *Line) running() *run {
	l.topology.mu.Lock()
	defer l.topology.mu.Unlock()
	return l.current
}

// run is one life of a line: from subscription to the end of its sink.
type run struct {
	topology *Topology
	line     *Line
	late     bool            // it started while others ran
	ctx      context.Context // of handlers: ends when the topology stops hard
	watched  bool            // there is an observer
	source   source
	flows    sync.WaitGroup // goroutines of our flows
	// starvedC has one channel for each batcher, with room for one signal: sent by
	// starve, received by the batcher, never closed. Complete before events move.
	starvedC []chan struct{}
	feeds    interface{ starve() } // the producer at the line's end, if there is one
	failed   error                 // why it could not be built
}

// fail notes that a part of the line could not be built.
func (r *run) fail(part string, err error) {
	if err != nil && r.failed == nil {
		r.failed = fmt.Errorf("line from %q: %s: %w", r.line.producer, part, err)
	}
}

func (r *run) start(f func()) { r.flows.Go(f) }

// prepare builds the line, and subscribes it; wait connects it and blocks until it has
// ended. If it cannot be built wait is nil, and all that was built has ended.
func (r *run) prepare() (wait func()) {
	l := r.line
	flows := make([]streams.Flow, 0, len(l.stages))
	for _, s := range l.stages {
		if flow := s.flow(r); r.failed == nil {
			flows = append(flows, flow)
		}
	}
	var sink streams.Sink
	if r.failed == nil {
		sink = l.end.sink(r)
	}
	if r.failed != nil {
		for _, flow := range flows { // theirs have goroutines from the start
			close(flow.In())
		}
		return nil
	}
	r.source = l.subscribe(r)
	return func() {
		if len(flows) == 0 {
			r.source.To(sink)
		} else {
			last := r.source.Via(flows[0])
			for _, next := range flows[1:] {
				last = last.Via(next)
			}
			last.To(sink)
		}
		r.flows.Wait()
	}
}

// starve tells batchers, here and below, that nothing more comes before
// something under way has ended.
func (r *run) starve() {
	for _, starvedC := range r.starvedC {
		select {
		case starvedC <- struct{}{}:
		default:
		}
	}
	if r.feeds != nil {
		r.feeds.starve()
	}
}
