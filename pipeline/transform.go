package pipeline

import (
	"context"

	"github.com/reugn/go-streams"
)

// Transform makes other events of the events of a batch: as many as it likes, in
// whatever shape. It does not matter which came of which: when all that were made have
// ended, all they were made of have, and if one failed, they have failed.
func Transform[T, U any](name string, f func(ctx context.Context, events []T) ([]U, error), options ...Option) Stage {
	return transform[T, U]{name, f, options}
}

// FlatMap makes none, one or several events of each.
func FlatMap[T, U any](name string, f func(event *T) ([]U, error)) Stage {
	return flatMap[T, U]{name, f}
}

type transform[T, U any] struct {
	name    string
	f       func(context.Context, []T) ([]U, error)
	options []Option
}

func (s transform[T, U]) shape() shape { return shape{s.name, elementOf[T](), elementOf[U]()} }

func (s transform[T, U]) flow(r *run) streams.Flow {
	h := newHandler(r.topology, r.ctx, s.name, s.f, s.options)
	return newBatchFlow(r, s.name, func(b *Batch[T], pass func(any)) {
		h.meter.begin(len(b.Events), b.sent)
		made, failed := h.handle(b)
		next := remade(b, made, failed)
		sent := h.meter.end(len(made), len(failed))
		if next != nil {
			next.sent = sent
			pass(next)
		}
		h.meter.record()
	})
}

// remade ends the events of b that failed, and lets the others stand behind what
// was made of them.
func remade[T, U any](b *Batch[T], made []U, failed []failedAt) *Batch[U] {
	if len(failed) > 0 {
		b = b.without(failed)
	}
	return Replace(b, made)
}

// without ends the events in failed and returns a batch of the ranges of the others.
// Its Events are not theirs: the caller replaces them.
func (b *Batch[T]) without(failed []failedAt) *Batch[T] {
	ranges, _ := b.take()
	c := cursor{ranges: ranges}
	var kept, ended []trackedRange
	at := 0
	for i, f := range failed {
		kept = c.move(f.index-at, kept)
		ended = c.move(1, ended)
		failed[i].index, at = i, f.index+1
	}
	kept = c.move(b.count-at, kept)
	acknowledge(ended, failed)
	rest := withRanges(b.Events[:0], b.At, kept)
	rest.sent = b.sent
	return rest
}

type flatMap[T, U any] struct {
	name string
	f    func(*T) ([]U, error)
}

func (s flatMap[T, U]) shape() shape { return shape{s.name, elementOf[T](), elementOf[U]()} }

func (s flatMap[T, U]) flow(r *run) streams.Flow {
	m := newMeter(r.topology.recorder(s.name))
	return newBatchFlow(r, s.name, func(b *Batch[T], pass func(any)) {
		m.begin(len(b.Events), b.sent)
		var made []U
		failed := each(r.topology, b.Events, func(i int) error {
			some, err := s.f(&b.Events[i])
			if err == nil {
				made = append(made, some...)
			}
			return err
		})
		reportEach(r, s.name, b, failed)
		next := remade(b, made, failed)
		sent := m.end(len(made), len(failed))
		if next != nil {
			next.sent = sent
			pass(next)
		}
		m.record()
	})
}
