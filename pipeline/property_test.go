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

	"pgregory.net/rapid"
)

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

// pushed events count from here.
const pushed = 100_000

// ledger notes what was seen, by event.
type ledger struct {
	wanted     int // asked for by all lines of the root, ever, or in place of what its dispatcher refused
	pushed     int
	mu         sync.Mutex
	dispatched map[int]int // deliveries by the root's dispatcher, and refusals
	emitted    int
	done       map[int]int // acknowledged
	failed     map[int]int
	undone     int         // the first that was given up because the pipeline stopped, 0 if none was
	counted    [2]int      // acknowledged as done and as failed, in numbers
	handled    map[int]int // by a sink, or dropped by a filter
	shuffled   bool        // order is lost above the lines
	mixed      bool        // pushed events come in between
	problems   []string
}

func (l *ledger) problem(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.problems) < 5 {
		l.problems = append(l.problems, fmt.Sprintf(format, args...))
	}
}

func (p plan) run(t *testing.T) []string {
	l := &ledger{dispatched: map[int]int{}, done: map[int]int{}, failed: map[int]int{}, handled: map[int]int{}, shuffled: p.Middle.Input.has("key"), mixed: p.Pushes > 0}
	topology := NewTopology(Config{
		DrainTimeout: p.Drain,
		Retry:        Retry{Attempts: 2, Min: time.Millisecond},
		OnFailure: func(f Failure) {
			if errors.Is(f.Err, ErrLost) || errors.Is(f.Err, ErrStopped) && p.Drain == time.Hour {
				l.problem("%+v", f)
			}
		},
	})
	ack := NewAcknowledger(topology, AcknowledgerConfig[int]{
		Position: func(n *int) int64 { return int64(*n) },
		Counted: func(done, failed int) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.counted[0] += done
			l.counted[1] += failed
		},
		Ended: func(a Ack[int]) {
			l.mu.Lock()
			defer l.mu.Unlock()
			for _, n := range a.Done {
				l.done[n]++
			}
			for _, f := range a.Failed {
				l.failed[f.Event]++
				if abandoned(f.Err) && (l.undone == 0 || f.Event < l.undone) {
					l.undone = f.Event
				}
			}
		},
	})
	calls := 0
	root := NewProducer(topology, ProducerConfig[int]{
		Name:         "root",
		Acknowledger: ack,
		Dispatcher:   &audited{Dispatcher: p.dispatcher(p.Kind), ledger: l, root: true, asked: map[ID]int{}, last: map[ID]int{}},
		Retry:        Retry{Min: time.Millisecond},
		Buffer:       p.Buffer,
		Accumulate:   p.Hold > 0,
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
			Dispatcher: &audited{Dispatcher: p.dispatcher(p.Middle.Kind), ledger: l, asked: map[ID]int{}, last: map[ID]int{}},
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
		time.Sleep(p.Stop) // of the test's own clock
		cancel()
	})
	if p.Hold > 0 {
		scripts.Go(func() {
			time.Sleep(p.Hold) // of the test's own clock
			root.Forward()
		})
	}
	scripts.Go(func() {
		for n := range p.Pushes {
			time.Sleep(time.Millisecond / 2) // of the test's own clock
			if err := root.Push(context.Background(), pushed+n); err == nil {
				l.pushed = n + 1
			}
		}
	})
	if err := topology.Run(ctx); err != nil && (p.Drain == time.Hour || !errors.Is(err, ErrDrainTimeout)) {
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

// audited checks a dispatcher from its producer's side.
type audited struct {
	Dispatcher[int]
	ledger *ledger
	root   bool
	asked  map[ID]int
	last   map[ID]int
}

func (a *audited) Ask(id ID, n int) {
	if n < 1 {
		a.ledger.problem("asked for %d", n)
	}
	a.asked[id] += n
	if a.root {
		a.ledger.want(n)
	}
	a.Dispatcher.Ask(id, n)
}

func (a *audited) Dispatch(e Events[int]) Dispatched[int] {
	d := a.Dispatcher.Dispatch(e)
	for _, delivery := range d.Deliveries {
		if a.asked[delivery.To] -= len(delivery.Items); a.asked[delivery.To] < 0 {
			a.ledger.problem("dispatched %d more than asked", -a.asked[delivery.To])
		}
		for _, n := range delivery.Items {
			if n >= pushed {
				if a.root {
					a.ledger.note(n)
				}
				continue
			}
			if n < a.last[delivery.To] && !a.ledger.shuffled || a.root && n == a.last[delivery.To] {
				a.ledger.problem("dispatched %d after %d", n, a.last[delivery.To])
			}
			a.last[delivery.To] = n
			if a.root {
				a.ledger.note(n)
			}
		}
	}
	for _, r := range d.Rejected {
		for _, n := range r.Items {
			if a.root {
				a.ledger.note(n)
				a.ledger.want(1)
			}
		}
	}
	return d
}

func (l *ledger) note(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dispatched[n]++
}

func (l *ledger) want(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wanted += n
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

func (a *audited) Evict() []Events[int] {
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
	if p.Pushes == 0 && l.emitted > l.wanted {
		l.problem("%d events emitted, and %d asked for", l.emitted, l.wanted)
	}
	plain := p.Middle.Kind == "" && !slices.ContainsFunc(p.Lanes, func(lane lanePlan) bool {
		return lane.has("transform", "flatmap")
	})
	for i := 1; i <= l.emitted+l.pushed; i++ {
		n := i
		if i > l.emitted {
			n = pushed + i - l.emitted - 1
		}
		if plain && l.handled[n] != l.done[n] {
			l.problem("event %d was handled %d times and acknowledged as done %d times", n, l.handled[n], l.done[n])
		}
		ends := l.done[n] + l.failed[n]
		owed := max(1, l.dispatched[n]) // what nobody took is given up, once
		if ends != owed {
			l.problem("event %d was dispatched %d times and ended %d times", n, l.dispatched[n], ends)
		}
	}
	for i, ends := range []map[int]int{l.done, l.failed} {
		for _, n := range ends {
			l.counted[i] -= n
		}
	}
	if l.counted != [2]int{} {
		l.problem("counts of what was done and what failed are off by %v", l.counted)
	}
	safe := l.emitted
	if l.undone > 0 {
		safe = l.undone - 1
	}
	if at, _ := ack.Safe(); p.Pushes == 0 && at != int64(safe) {
		l.problem("safe to commit %d, not %d of %d", at, safe, l.emitted)
	}
}
