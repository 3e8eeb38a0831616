package pipeline

import (
	"context"
	"io"
	"sync"

	"github.com/reugn/go-streams"
)

// ProducerConsumerConfig makes a ProducerConsumer.
type ProducerConsumerConfig[T, U any] struct {
	// Name of the stage. Required.
	Name string
	// Handle makes the events that go down of those that come from above. Required.
	Handle func(ctx context.Context, events []T) ([]U, error)
	// Dispatcher, as a producer's.
	Dispatcher Dispatcher[U]
	// OnDiscard, as a producer's: only the dispatcher's key discards here.
	OnDiscard func([]U)
	// Retry is for Handle. Zero is Config.Retry.
	Retry Retry
	// Accumulate holds demand back, from the start, until Forward.
	Accumulate bool
}

// ProducerConsumer ends the lines above it, and begins those below. It takes a batch
// only while there is demand below that its buffer cannot meet, so that it never
// holds more than was made of one. An event from above has ended when all that was
// made of its batch has: demand and acknowledgement reach through.
//
// It ends with its input lines, by their [CancelMode]. When a Permanent one ends it leaves its
// others; give each Temporary to merge sources that end at different times.
type ProducerConsumer[T, U any] struct {
	producer *Producer[U]
	inputs   *inputs
	name     string
	hand     *Batch[T] // being handled; owned by the goroutine that calls take
}

// NewProducerConsumer adds a stage that is both to a topology. Its inputs are the lines
// that lead Into it.
func NewProducerConsumer[T, U any](topology *Topology, config ProducerConsumerConfig[T, U]) *ProducerConsumer[T, U] {
	if config.Handle == nil {
		topology.misuse(configError("ProducerConsumerConfig.Handle", "is nil"))
	}
	p := newProducer(topology, ProducerConfig[U]{
		Name: config.Name, Dispatcher: config.Dispatcher, OnDiscard: config.OnDiscard, Accumulate: config.Accumulate,
	})
	p.inputs = &inputs{
		topology: topology,
		in:       make(chan any),
		below:    p.ended,
		finished: make(chan struct{}),
		runs:     map[*run]struct{}{},
	}
	pc := &ProducerConsumer[T, U]{producer: p, inputs: p.inputs, name: config.Name}
	topology.addProducer(func(soft, hard context.Context) {
		// The handler takes what comes for as long as its inputs live: a drain ends those.
		h := newHandler(topology, hard, config.Name, config.Handle, []Option{WithRetry(config.Retry)})
		p.source = func(context.Context, int) (Events[U], error) { return pc.take(h) }
		p.loop.run(soft, hard)
	}, p.inputs.drain)
	return pc
}

// Subscribe begins a line below.
func (pc *ProducerConsumer[T, U]) Subscribe(options SubscribeOptions[U]) *Line {
	return pc.producer.Subscribe(options)
}

// Accumulate holds demand back until Forward.
func (pc *ProducerConsumer[T, U]) Accumulate() { pc.producer.Accumulate() }

// Forward lets demand through.
func (pc *ProducerConsumer[T, U]) Forward() { pc.producer.Forward() }

// Notice is [Producer.Notice].
func (pc *ProducerConsumer[T, U]) Notice(f func()) { pc.producer.Notice(f) }

// take is the demand handler of the lower half: the events made of one batch.
func (pc *ProducerConsumer[T, U]) take(h *handler[T, U]) (Events[U], error) {
	if b := pc.hand; b != nil && !b.ended.Load() { // its handler ended the goroutine
		return pc.make(h, b), nil
	}
	select {
	case element := <-pc.inputs.in:
		if pc.hand = received[T](h.topology, pc.name, element); pc.hand == nil {
			return Events[U]{}, nil
		}
		return pc.make(h, pc.hand), nil
	case <-pc.inputs.finished:
		return Events[U]{}, pc.inputs.reason
	case <-pc.inputs.below:
		return Events[U]{}, io.EOF
	case <-h.ctx.Done():
		return Events[U]{}, io.EOF
	}
}

func (pc *ProducerConsumer[T, U]) make(h *handler[T, U], b *Batch[T]) Events[U] {
	h.meter.begin(len(b.Events), b.sent)
	made, failed := h.handle(b)
	h.meter.end(0, len(failed)) // what goes out, the loop reports
	h.meter.record()
	next := remade(b, made, failed)
	if next == nil {
		return Events[U]{}
	}
	return Events[U]{Items: next.Events, At: next.At, parent: next.ranges[0].tracker.(*derived)}
}

func (pc *ProducerConsumer[T, U]) shape() shape { return shape{name: pc.name, in: elementOf[T]()} }

func (pc *ProducerConsumer[T, U]) sink(r *run) streams.Sink {
	r.feeds = pc.producer
	return newSinkNode(r, func(in <-chan any) {
		for element := range in {
			select {
			case pc.inputs.in <- element:
			case <-pc.inputs.below:
				abort(element, ErrStopped)
			}
		}
	})
}

func (pc *ProducerConsumer[T, U]) joined(r *run) { pc.inputs.joined(r) }
func (pc *ProducerConsumer[T, U]) left(r *run, ends bool, reason error) {
	pc.inputs.left(r, ends, reason)
}

// inputs is where the input lines of a producer-consumer end.
type inputs struct {
	// Immutable after NewProducerConsumer.
	topology *Topology
	in       chan any        // sent by the input lines' ends, received by the handler, never closed; unbuffered: a batch is taken when it is wanted
	below    <-chan struct{} // closed when the lower half has ended
	finished chan struct{}   // closed when no input will come

	// Guarded by mu; reason is immutable once finished is closed.
	mu       sync.Mutex
	runs     map[*run]struct{}
	draining bool
	ending   bool
	reason   error
}

func (in *inputs) joined(r *run) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.runs[r] = struct{}{}
}

// left is told when an input line has ended, and whether the consumer ends with it.
func (in *inputs) left(r *run, ends bool, reason error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.runs, r)
	if in.topology.stopping() {
		in.draining = true // the others end by themselves
	}
	if ends && !in.draining && !in.ending {
		in.ending, in.reason = true, reason
		for other := range in.runs {
			other.source.cancel()
		}
	}
	in.finish()
}

func (in *inputs) drain() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.draining = true
	in.finish()
}

// finish ends the input if nothing more can come. Called with mu held.
func (in *inputs) finish() {
	if len(in.runs) > 0 || !in.ending && !in.draining {
		return
	}
	select {
	case <-in.finished:
	default:
		if in.reason == nil {
			in.reason = io.EOF
		}
		close(in.finished)
	}
}

// starved tells whether no input line can give anything before something under way
// has ended.
func (in *inputs) starved() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	for r := range in.runs {
		if !r.source.starved() {
			return false
		}
	}
	return len(in.runs) > 0
}
