package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reugn/go-streams"
	"github.com/reugn/go-streams/flow"
	"pgregory.net/rapid"
)

// A plan is a random topology and what happens to it. Everything is drawn before it
// runs, so that rapid can shrink it.
type plan struct {
	Kind    string // of the dispatcher
	Events  int
	Chunk   int // most events that one call of the handler returns
	Stutter time.Duration
	Errors  int // every so many calls of the handler fail; 0 is none
	Queue   int
	Lanes   []lanePlan
	Middle  middlePlan // if it has a kind: a producer-consumer below the root, with lines of its own
	Stop    time.Duration
}

type middlePlan struct {
	Kind  string
	Input lanePlan
	Twice bool // it makes two events of each
}

type lanePlan struct {
	Max, Min  int
	Stages    []stagePlan
	Slow      time.Duration
	Poison    int // events that it divides fail; 0 is none
	Panics    bool
	Supervise bool
	Join      time.Duration // 0: from the start
	Cancel    time.Duration // 0: never
	Again     time.Duration // after Cancel; 0: never
}

type stagePlan struct {
	Kind    string
	N       int
	Timeout time.Duration
}

func drawLane(t *rapid.T, name string) lanePlan {
	label := func(s string) string { return name + "." + s }
	p := lanePlan{Max: rapid.IntRange(1, 20).Draw(t, label("max"))}
	p.Min = rapid.IntRange(0, p.Max-1).Draw(t, label("min"))
	for i := range rapid.IntRange(0, 3).Draw(t, label("stages")) {
		p.Stages = append(p.Stages, stagePlan{
			Kind: rapid.SampledFrom([]string{
				"map", "filter", "batch", "key", "limit", "transform", "flatmap",
				"streams.Map", "streams.Filter", "streams.Throttler", "panicking map",
			}).Draw(t, label(fmt.Sprint("stage", i))),
			N:       rapid.IntRange(2, 12).Draw(t, label("n")),
			Timeout: time.Duration(rapid.IntRange(0, 3).Draw(t, label("timeout"))) * 20 * time.Millisecond,
		})
	}
	p.Slow = time.Duration(rapid.IntRange(0, 5).Draw(t, label("slow"))) * time.Millisecond
	p.Poison = rapid.SampledFrom([]int{0, 0, 7, 1}).Draw(t, label("poison"))
	p.Panics = rapid.Bool().Draw(t, label("panics"))
	p.Supervise = rapid.IntRange(0, 4).Draw(t, label("supervise")) == 0
	at := func(s string) time.Duration {
		return time.Duration(max(0, rapid.IntRange(-30, 60).Draw(t, label(s)))) * time.Millisecond
	}
	p.Join, p.Cancel, p.Again = at("join"), at("cancel"), at("again")
	return p
}

func drawPlan(t *rapid.T) plan {
	kinds := rapid.SampledFrom([]string{"demand", "broadcast", "partition"})
	p := plan{
		Kind:    kinds.Draw(t, "kind"),
		Events:  rapid.IntRange(0, 300).Draw(t, "events"),
		Chunk:   rapid.IntRange(1, 50).Draw(t, "chunk"),
		Stutter: time.Duration(rapid.IntRange(0, 3).Draw(t, "stutter")) * time.Millisecond,
		Errors:  rapid.SampledFrom([]int{0, 0, 2, 5}).Draw(t, "errors"),
		Queue:   rapid.IntRange(0, 30).Draw(t, "queue"),
		Stop:    time.Duration(rapid.IntRange(1, 400).Draw(t, "stop")) * time.Millisecond,
	}
	for i := range rapid.IntRange(1, 4).Draw(t, "lanes") {
		p.Lanes = append(p.Lanes, drawLane(t, fmt.Sprint("lane", i)))
	}
	if rapid.IntRange(0, 2).Draw(t, "middle") == 0 {
		p.Middle = middlePlan{
			Kind:  kinds.Draw(t, "middle.kind"),
			Input: drawLane(t, "middle"),
			Twice: rapid.Bool().Draw(t, "middle.twice"),
		}
	}
	return p
}

// TestAlways checks what must hold of every topology.
func TestAlways(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		p := drawPlan(rt)
		var problems []string
		synctest.Test(t, func(t *testing.T) { problems = p.run(t) })
		if len(problems) > 0 {
			rt.Fatalf("plan %+v: %v", p, problems)
		}
	})
}

// ledger notes what was seen, by event.
type ledger struct {
	mu       sync.Mutex
	dealt    map[int]int // deliveries by the root's dispatcher, and refusals
	emitted  int
	done     map[int]int // acknowledged
	failed   map[int]int
	handled  map[int]int // by a sink, or dropped by a filter
	problems []string
}

func (l *ledger) problem(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.problems) < 5 {
		l.problems = append(l.problems, fmt.Sprintf(format, args...))
	}
}

func (p plan) run(t *testing.T) []string {
	l := &ledger{dealt: map[int]int{}, done: map[int]int{}, failed: map[int]int{}, handled: map[int]int{}}
	topology := NewTopology(Config{
		DrainTimeout: time.Hour,
		Retry:        Retry{Attempts: 2, Min: time.Millisecond},
	})
	ack := NewAcknowledger(topology, AcknowledgerConfig[int]{
		Position: func(n *int) int64 { return int64(*n) },
		Ended: func(a Ack[int]) {
			l.mu.Lock()
			defer l.mu.Unlock()
			for _, n := range a.Done {
				l.done[n]++
			}
			for _, f := range a.Failed {
				l.failed[f.Event]++
			}
		},
	})
	calls := 0
	root := NewProducer(topology, ProducerConfig[int]{
		Name:         "root",
		Acknowledger: ack,
		Dispatcher:   &audited{Dispatcher: p.dispatcher(p.Kind), ledger: l, root: true, asked: map[ID]int{}, last: map[ID]int{}},
		Retry:        Retry{Min: time.Millisecond},
		Demand: func(ctx context.Context, demand int) ([]int, error) {
			if calls++; p.Errors > 0 && calls%p.Errors == 0 {
				return nil, errors.New("no luck")
			}
			if p.Stutter > 0 && !sleep(ctx, p.Stutter) {
				return nil, ctx.Err()
			}
			n := min(demand, p.Chunk, p.Events-l.emitted)
			events := make([]int, n)
			for i := range events {
				l.emitted++
				events[i] = l.emitted
			}
			if l.emitted == p.Events {
				return events, io.EOF
			}
			return events, nil
		},
	})
	subscribe := root.Subscribe
	if p.Middle.Kind != "" {
		pc := NewProducerConsumer(topology, ProducerConsumerConfig[int, int]{
			Name:       "middle",
			Dispatcher: &audited{Dispatcher: p.dispatcher(p.Middle.Kind), ledger: l, unordered: p.Middle.Input.has("key"), asked: map[ID]int{}, last: map[ID]int{}},
			Handle: func(_ context.Context, events []int) ([]int, error) {
				var made []int
				for _, n := range events {
					if made = append(made, n); p.Middle.Twice {
						made = append(made, n)
					}
				}
				return made, nil
			},
		})
		in := root.Subscribe(SubscribeOptions[int]{MaxDemand: p.Middle.Input.Max, MinDemand: minDemand(p.Middle.Input.Min)})
		p.Middle.Input.stages(in, l).Into(pc)
		subscribe = pc.Subscribe
	}
	var scripts sync.WaitGroup
	for i, lane := range p.Lanes {
		lane.script(t, &scripts, i, subscribe, l)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	scripts.Go(func() {
		time.Sleep(p.Stop)
		cancel()
	})
	if err := topology.Run(ctx); err != nil {
		l.problem("Run: %v", err)
	}
	scripts.Wait()
	l.check(p, ack)
	return l.problems
}

func (p plan) dispatcher(kind string) Dispatcher[int] {
	switch kind {
	case "demand":
		return NewDemand[int]()
	case "broadcast":
		return NewBroadcast[int]()
	}
	return PartitionBy(len(p.Lanes), func(n *int) int { return *n % (len(p.Lanes) + 1) }).WithQueue(p.Queue)
}

func minDemand(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

// script makes a line and lets happen to it what is planned.
func (p lanePlan) script(t *testing.T, scripts *sync.WaitGroup, i int, subscribe func(SubscribeOptions[int]) *Line, l *ledger) {
	line := func() *Line {
		return p.stages(subscribe(SubscribeOptions[int]{
			Partition: i, MaxDemand: p.Max, MinDemand: minDemand(p.Min), Life: Temporary,
		}), l).Into(p.end(l))
	}
	var first *Line
	if p.Join == 0 {
		first = line()
	}
	scripts.Go(func() {
		if first == nil {
			time.Sleep(p.Join)
			first = line()
		}
		if p.Cancel > 0 {
			time.Sleep(p.Cancel)
			first.Cancel()
			if p.Again > 0 {
				time.Sleep(p.Again)
				_ = first.Resubscribe() // refused if it still works off what it has, or all is over
			}
		}
		<-first.Done()
	})
}

func (p lanePlan) end(l *ledger) End {
	check := func(n int) error {
		if p.Poison > 0 && n%p.Poison == 0 {
			if p.Panics {
				panic("poisoned")
			}
			return errors.New("poisoned")
		}
		return nil
	}
	if p.Supervise {
		return Supervise("end", func(ctx context.Context, n int) error {
			sleep(ctx, p.Slow)
			err := check(n)
			if err == nil {
				l.handle(n)
			}
			return err
		})
	}
	return Sink("end", func(ctx context.Context, events []int) error {
		sleep(ctx, p.Slow)
		if !p.has("key") && !slices.IsSorted(events) {
			l.problem("sink got %v", events)
		}
		for _, n := range events {
			if err := check(n); err != nil {
				return err
			}
		}
		l.handle(events...)
		return nil
	})
}

func (p lanePlan) stages(line *Line, l *ledger) *Line {
	for _, s := range p.Stages {
		line.Via(s.stage(l))
	}
	return line
}

func (p lanePlan) has(kinds ...string) bool {
	return slices.ContainsFunc(p.Stages, func(s stagePlan) bool { return slices.Contains(kinds, s.Kind) })
}

func (s stagePlan) stage(l *ledger) Stage {
	same := func(b *Batch[int]) *Batch[int] { return b }
	switch s.Kind {
	case "map":
		return Map("map", func(n *int) (int, error) { return *n, nil })
	case "panicking map":
		return Map("map", func(n *int) (int, error) {
			if *n%s.N == 0 {
				panic("no")
			}
			return *n, nil
		})
	case "filter":
		return Filter("filter", func(n *int) bool {
			if *n%s.N == 0 {
				l.handle(*n)
			}
			return *n%s.N != 0
		})
	case "batch":
		return Batcher[int]{Size: s.N, Timeout: s.Timeout * 10}
	case "key":
		return KeyBatcher[int, int]{Key: func(n *int) int { return *n % s.N }, Size: s.N, Timeout: s.Timeout * 10}
	case "limit":
		return Limit[int]("limit", NewLimiter(s.N, s.Timeout/20))
	case "transform":
		return Transform("transform", func(_ context.Context, events []int) ([]int, error) {
			return events[:len(events)/2], nil
		})
	case "flatmap":
		return FlatMap("flatmap", func(n *int) ([]int, error) {
			if *n%s.N == 0 {
				return nil, errors.New("no")
			}
			return []int{*n, *n}, nil
		})
	case "streams.Map":
		return FlowOf(func() streams.Flow { return flow.NewMap(same, 1) })
	case "streams.Filter":
		return FlowOf(func() streams.Flow {
			return flow.NewFilter(Keeping(func(b *Batch[int]) bool {
				if b.Events[0]%s.N == 0 {
					l.handle(b.Events...)
				}
				return b.Events[0]%s.N != 0
			}), 1)
		})
	}
	return FlowOf(func() streams.Flow {
		return flow.NewThrottler(s.N, time.Millisecond, 1, flow.Backpressure)
	})
}

// audited checks a dispatcher from its producer's side.
type audited struct {
	Dispatcher[int]
	ledger    *ledger
	root      bool
	unordered bool
	asked     map[ID]int
	last      map[ID]int
}

func (a *audited) Ask(id ID, n int) {
	if n < 1 {
		a.ledger.problem("asked for %d", n)
	}
	a.asked[id] += n
	a.Dispatcher.Ask(id, n)
}

func (a *audited) Dispatch(e Emission[int]) Dealing[int] {
	d := a.Dispatcher.Dispatch(e)
	for _, delivery := range d.Deliveries {
		if a.asked[delivery.To] -= len(delivery.Events); a.asked[delivery.To] < 0 {
			a.ledger.problem("dispatched %d more than asked", -a.asked[delivery.To])
		}
		for _, n := range delivery.Events {
			if n < a.last[delivery.To] && !a.unordered || a.root && n == a.last[delivery.To] {
				a.ledger.problem("dispatched %d after %d", n, a.last[delivery.To])
			}
			a.last[delivery.To] = n
			if a.root {
				a.ledger.note(n)
			}
		}
	}
	for _, r := range d.Refused {
		for _, n := range r.Events {
			if a.root {
				a.ledger.note(n)
			}
		}
	}
	return d
}

func (l *ledger) note(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dealt[n]++
}

func (l *ledger) handle(events ...int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range events {
		l.handled[n]++
	}
}

// The queue of a partition, if that is what is audited.

func (a *audited) queue() queuer[int] { q, _ := a.Dispatcher.(queuer[int]); return q }

func (a *audited) Queued() int {
	if q := a.queue(); q != nil {
		return q.Queued()
	}
	return 0
}

func (a *audited) Oldest(visit func(*int)) {
	if q := a.queue(); q != nil {
		q.Oldest(visit)
	}
}

func (a *audited) Evict() []Emission[int] {
	if q := a.queue(); q != nil {
		return q.Evict()
	}
	return nil
}

func (a *audited) Mark() func() bool {
	if q := a.queue(); q != nil {
		return q.Mark()
	}
	return func() bool { return true }
}

// check compares what was emitted with what was acknowledged.
func (l *ledger) check(p plan, ack *Acknowledger[int]) {
	plain := p.Middle.Kind == "" && !slices.ContainsFunc(p.Lanes, func(lane lanePlan) bool {
		return lane.has("transform", "flatmap")
	})
	for n := 1; n <= l.emitted; n++ {
		if plain && l.handled[n] != l.done[n] {
			l.problem("event %d was handled %d times and acknowledged as done %d times", n, l.handled[n], l.done[n])
		}
		ends := l.done[n] + l.failed[n]
		owed := max(1, l.dealt[n]) // what nobody took is given up, once
		if ends != owed {
			l.problem("event %d was dealt %d times and ended %d times", n, l.dealt[n], ends)
		}
	}
	if len(l.done)+len(l.failed) > 0 && max(len(l.done), len(l.failed)) > l.emitted {
		l.problem("more events ended than were emitted")
	}
	if at, _ := ack.Safe(); at != int64(l.emitted) {
		l.problem("safe to commit %d of %d", at, l.emitted)
	}
}
