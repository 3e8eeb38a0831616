package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
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
	Drain   time.Duration
	Pushes  int
	Buffer  Buffer
	Hold    time.Duration // accumulate until then
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
	Manual    bool
	Mode      CancelMode
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
	p.Manual = rapid.IntRange(0, 4).Draw(t, label("manual")) == 0
	p.Mode = rapid.SampledFrom([]CancelMode{Permanent, Transient, Temporary}).Draw(t, label("mode"))
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
		Drain:   rapid.SampledFrom([]time.Duration{time.Hour, time.Hour, 5 * time.Millisecond}).Draw(t, "drain"),
		Pushes:  rapid.SampledFrom([]int{0, 0, 5, 50}).Draw(t, "pushes"),
		Buffer: Buffer{
			Size: rapid.IntRange(-1, 20).Draw(t, "buffer"),
			Keep: rapid.SampledFrom([]Keep{KeepLast, KeepFirst}).Draw(t, "keep"),
		},
		Hold: time.Duration(max(0, rapid.IntRange(-50, 50).Draw(t, "hold"))) * time.Millisecond,
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

// script makes a line and lets happen to it what is planned.
func (p lanePlan) script(t *testing.T, scripts *sync.WaitGroup, i int, subscribe func(SubscribeOptions[int]) *Line, l *ledger) {
	line := func() *Line {
		return p.stages(subscribe(SubscribeOptions[int]{
			Partition: i, MaxDemand: p.Max, MinDemand: minDemand(p.Min), Cancel: p.Mode, Manual: p.Manual,
		}), l).Into(p.end(l))
	}
	var first *Line
	if p.Join == 0 {
		first = line()
	}
	scripts.Go(func() {
		if first == nil {
			time.Sleep(p.Join) // of the test's own clock
			first = line()
		}
		if p.Cancel > 0 {
			first.Ask(p.Max)
			time.Sleep(p.Cancel) // of the test's own clock
			first.Cancel()
			if p.Again > 0 {
				time.Sleep(p.Again)     // of the test's own clock
				_ = first.Resubscribe() // refused if it still works off what it has, or all is over
			}
		}
		for p.Manual && sleep(context.Background(), time.Millisecond) {
			select {
			case <-first.Done():
				return
			default:
				first.Ask(p.Max/2 + 1)
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
		if !l.mixed && !p.has("key") && !l.shuffled && !slices.IsSorted(events) {
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
