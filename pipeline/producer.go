package pipeline

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// ProducerConfig makes a Producer.
type ProducerConfig[T any] struct {
	// Name of the stage, in failures, acknowledgements and reports. Required.
	Name string
	// Demand is called with how many events are wanted, never twice at a time. It may
	// block until it has some (ctx ends at a drain), return fewer (it is called again for
	// the rest), return an error (likewise, after a backoff; the events returned with it
	// count), and end the producer with io.EOF. Nil: events come by Push alone.
	Demand func(ctx context.Context, demand int) ([]T, error)
	// OnDemandGrowth is told, while Demand is at work, that more is wanted than it was called with:
	// how much by now, in all. A handler that takes long to bring events can begin to bring
	// more of them meanwhile. The producer waits for it: it must not block. Nil: the
	// next Demand tells.
	OnDemandGrowth func(demand int)
	// Dispatcher says who gets which event; it belongs to this producer from now on.
	// Nil is NewDemand.
	Dispatcher Dispatcher[T]
	// Acknowledger is told of every event's end. Nil: nobody is.
	Acknowledger *Acknowledger[T]
	// Buffer bounds what is pushed without demand, or returned by Demand beyond it.
	Buffer Buffer
	// OnDiscard is told of events that the buffer had no room for, or that the
	// dispatcher's key discarded. The producer waits for it: it must not block.
	OnDiscard func([]T)
	// Retry is for errors and panics of Demand. Zero never gives up; when it does, the
	// producer ends with the error.
	Retry Retry
	// Idle is how long a Demand that returned nothing is left alone. Zero is 10 ms: a
	// handler that can block until there is something never needs it.
	Idle time.Duration
	// Accumulate holds demand back, from the start, until Forward.
	Accumulate bool
}

// Producer emits events as they are wanted.
type Producer[T any] struct {
	// Immutable after NewProducer.
	topology *Topology
	name     string
	config   ProducerConfig[T]
	ack      *Acknowledger[T]
	inputs   *inputs // set if it is the lower half of a ProducerConsumer
	source   func(ctx context.Context, demand int) (Events[T], error)
	inbox    *inbox[request[T]]
	ended    chan struct{} // closed by run when nothing will be delivered any more

	loop loop[T] // owned by run

	// Guarded by mu.
	mu    sync.Mutex
	last  ID
	lines map[ID]*subscription[T] // until their line has ended
}

// request is what others have to say to a producer: an ask, or something to do.
type request[T any] struct {
	ask ID
	n   int
	do  func()
}

// NewProducer adds a producer to a topology. Mistakes in its config are returned by Run.
func NewProducer[T any](topology *Topology, config ProducerConfig[T]) *Producer[T] {
	p := newProducer(topology, config)
	if config.Demand != nil {
		p.source = p.fetch
	}
	topology.addProducer(p.loop.run, nil)
	return p
}

func newProducer[T any](topology *Topology, config ProducerConfig[T]) *Producer[T] {
	if config.Name == "" {
		topology.misuse(configError("ProducerConfig.Name", "is empty"))
	}
	if config.Dispatcher == nil {
		config.Dispatcher = NewDemand[T]()
	}
	if config.Buffer.Size == 0 {
		config.Buffer.Size = DefaultBuffer
	}
	if config.Idle <= 0 {
		config.Idle = 10 * time.Millisecond
	}
	config.Retry = config.Retry.orElse(Retry{Attempts: Forever})
	p := &Producer[T]{
		topology: topology,
		name:     config.Name,
		config:   config,
		ack:      config.Acknowledger,
		inbox:    newInbox[request[T]](),
		ended:    make(chan struct{}),
		lines:    map[ID]*subscription[T]{},
	}
	p.loop.producer = p
	p.loop.dispatcher = config.Dispatcher
	p.loop.queuer, _ = config.Dispatcher.(queuer[T])
	p.loop.buffer.size = max(0, config.Buffer.Size)
	p.loop.buffer.keep = config.Buffer.Keep
	p.loop.holding = config.Accumulate
	p.loop.subscribed = map[ID]*subscription[T]{}
	p.loop.asks = make(chan int, 1)
	p.loop.answers = make(chan answer[T], 1)
	if p.ack != nil {
		if err := p.ack.attach(p); err != nil {
			topology.misuse(err)
		}
	}
	return p
}

// fetch is the source of a producer that has a demand handler.
func (p *Producer[T]) fetch(ctx context.Context, demand int) (e Events[T], err error) {
	if p.topology.exited.Load() {
		e.Items, err = p.fetchApart(ctx, demand)
	} else {
		e.Items, err = p.fetchInline(ctx, demand)
	}
	e.At = time.Now()
	return e, err
}

func (p *Producer[T]) fetchInline(ctx context.Context, demand int) (events []T, err error) {
	defer recovered(&err)
	return p.config.Demand(ctx, demand)
}

func (p *Producer[T]) fetchApart(ctx context.Context, demand int) (events []T, err error) {
	err = apart(func() (err error) {
		events, err = p.config.Demand(ctx, demand)
		return err
	})
	return events, err
}

// Subscribe begins a line that takes this producer's events. It starts with
// [Line.Into].
func (p *Producer[T]) Subscribe(options SubscribeOptions[T]) *Line {
	resolved, err := options.resolve()
	line := newLine(p.topology, p.name, elementOf[T](), resolved.Cancel, func(r *run) source {
		return p.subscribe(r, resolved)
	})
	if err != nil {
		line.mistake = fmt.Errorf("subscribe to %q: %w", p.name, err)
		p.topology.misuse(line.mistake)
	}
	return line
}

// Push emits events that nobody asked for: what happens outside tells of itself. They
// wait in the buffer for demand; what it has no room for is discarded. Push returns when the
// producer has taken the events; if ctx ends first, it may still take them.
func (p *Producer[T]) Push(ctx context.Context, events ...T) error {
	taken := make(chan error, 1)
	e := Events[T]{Items: events, At: time.Now()}
	if !p.inbox.post(request[T]{do: func() { taken <- p.loop.push(e) }}) {
		return ErrEnded
	}
	select {
	case err := <-taken:
		return err
	case <-p.ended:
		select {
		case err := <-taken:
			return err
		default:
			return ErrEnded
		}
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Notice calls f, for which the producer waits, when every event that now waits
// in its buffer and queues has been dispatched. f must not block.
func (p *Producer[T]) Notice(f func()) {
	p.inbox.post(request[T]{do: func() { p.loop.notice(f) }})
}

// Accumulate holds demand back until Forward: nothing is fetched, nothing dispatched.
// In a drain it does nothing: that hands out what is held.
func (p *Producer[T]) Accumulate() {
	p.inbox.post(request[T]{do: func() { p.loop.holding = p.loop.phase == phaseEmitting }})
}

// Forward lets demand through.
func (p *Producer[T]) Forward() {
	p.inbox.post(request[T]{do: func() { p.loop.holding = false }})
}

// Stop ends the producer as if its handler had returned io.EOF: what it holds is
// still dispatched.
func (p *Producer[T]) Stop() {
	p.inbox.post(request[T]{do: func() { p.loop.stop(nil) }})
}

func (p *Producer[T]) subscribe(r *run, options SubscribeOptions[T]) source {
	s := &subscription[T]{
		producer: p,
		options:  options,
		run:      r,
		out:      make(chan any, options.MaxDemand),
	}
	p.mu.Lock()
	p.last++
	s.id = p.last
	p.lines[s.id] = s
	p.mu.Unlock()
	if !p.inbox.post(request[T]{do: func() { p.loop.subscribe(s) }}) {
		s.close(ErrEnded)
	}
	s.begin()
	return s
}

// forget is called when a subscription's line has ended.
func (p *Producer[T]) forget(s *subscription[T]) {
	p.mu.Lock()
	delete(p.lines, s.id)
	p.mu.Unlock()
}

// subscriptions lists those whose line has not ended.
func (p *Producer[T]) subscriptions() []*subscription[T] {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]*subscription[T], 0, len(p.lines))
	for _, s := range p.lines {
		list = append(list, s)
	}
	return list
}

// starve tells the lines below that what they have is all that will come for now.
func (p *Producer[T]) starve() {
	for _, s := range p.subscriptions() {
		s.run.starve()
	}
}

func (p *Producer[T]) positions(events []T) []int64 {
	if p.ack == nil || p.ack.config.Position == nil {
		return nil
	}
	return p.ack.positions(events, make([]int64, 0, len(events)))
}
