package pipeline

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/reugn/go-streams"
	"github.com/reugn/go-streams/flow"
)

func TestForeignFlows(t *testing.T) {
	t.Parallel()
	end := Sink("end", func(context.Context, []int) error { return nil })
	for name, c := range map[string]struct {
		build        func(*Line)
		done, failed []int
	}{
		"one that shortens a batch": {func(l *Line) {
			l.Via(FlowOf(func() streams.Flow {
				return flow.NewMap(func(b *Batch[int]) *Batch[int] {
					b.Events = b.Events[:1]
					return b
				}, 1)
			})).Via(Filter("all", func(*int) bool { return true })).Into(end)
		}, upTo(4), nil},
		"one that empties a batch": {func(l *Line) {
			l.Via(FlowOf(func() streams.Flow {
				return flow.NewMap(func(b *Batch[int]) *Batch[int] {
					b.Events = nil
					return b
				}, 1)
			})).Into(end)
		}, upTo(4), nil},
		"one that sends a batch twice": {func(l *Line) {
			l.Via(FlowOf(func() streams.Flow {
				return flow.NewFlatMap(func(b *Batch[int]) []*Batch[int] { return []*Batch[int]{b, b} }, 1)
			})).Into(end)
		}, upTo(4), nil},
		"one that fails a batch": {func(l *Line) {
			l.Via(FlowOf(func() streams.Flow {
				return flow.NewFilter(func(b *Batch[int]) bool {
					b.Fail(errPoison)
					b.Finish() // too late
					return false
				}, 1)
			})).Into(end)
		}, nil, upTo(4)},
		"one that sends a batch of another type": {func(l *Line) {
			l.Via(FlowOf(func() streams.Flow {
				return flow.NewMap(func(b *Batch[int]) *Batch[string] { return Replace(b, []string{"what"}) }, 1)
			})).Into(end)
		}, nil, upTo(4)},
		"one that sends something else": {func(l *Line) {
			l.Via(FlowOf(func() streams.Flow {
				return flow.NewMap(func(b *Batch[int]) int {
					b.Finish()
					return 7
				}, 1)
			})).Into(end)
		}, upTo(4), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var s scene
				s.run(t, 4, c.build)
				equal(t, "done", s.done, c.done)
				equal(t, "failed", s.failed, c.failed)
				for _, f := range s.list() {
					var wrong *ElementError
					if !errors.As(f.Err, &wrong) {
						t.Errorf("failure: %+v", f)
					}
				}
			})
		})
	}
}
