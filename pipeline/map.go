package pipeline

import "github.com/reugn/go-streams"

// Map makes one event of each. An error or a panic fails that event, at once: for
// what may work the second time there is [Transform].
func Map[T, U any](name string, f func(event *T) (U, error)) Stage {
	return mapping[T, U]{name, f}
}

// Filter keeps the events that f returns true for, and ends the others as done.
func Filter[T any](name string, f func(event *T) bool) Stage {
	return filter[T]{name, f}
}

// Keeping is a predicate for go-streams' Filter: what f rejects is finished, so that its
// demand returns; what it panics on has failed.
func Keeping[T any](f func(*Batch[T]) bool) func(*Batch[T]) bool {
	return func(b *Batch[T]) (keep bool) {
		var err error
		defer func() {
			if !keep {
				b.Fail(err)
			}
		}()
		defer recovered(&err)
		err = ErrExited
		keep = f(b)
		err = nil
		return keep
	}
}

type mapping[T, U any] struct {
	name string
	f    func(*T) (U, error)
}

func (s mapping[T, U]) shape() shape { return shape{s.name, elementOf[T](), elementOf[U]()} }

func (s mapping[T, U]) flow(r *run) streams.Flow {
	m := newMeter(r.topology.recorder(s.name))
	return newBatchFlow(r, s.name, func(b *Batch[T], pass func(any)) {
		m.begin(len(b.Events), b.sent)
		made := make([]U, 0, len(b.Events))
		failed := each(r.topology, b.Events, func(i int) error {
			one, err := s.f(&b.Events[i])
			if err == nil {
				made = append(made, one)
			}
			return err
		})
		reportEach(r, s.name, b, failed)
		at := b.At
		if len(failed) > 0 {
			b = b.without(failed)
		}
		ranges, ok := b.take()
		sent := m.end(len(made), len(failed))
		if ok && len(made) > 0 {
			next := withRanges(made, at, ranges)
			next.sent = sent
			pass(next)
		}
		m.record()
	})
}

// each calls f with every index, whatever becomes of the others.
func each[T any](t *Topology, events []T, f func(i int) error) (failed []failedAt) {
	for i := 0; i < len(events); i++ {
		var err error
		if t.exited.Load() {
			err = spanApart(&i, len(events), f)
		} else {
			err = span(&i, len(events), f)
		}
		if err != nil {
			failed = append(failed, failedAt{i, err})
		}
	}
	return failed
}

// span calls f with i and on, until it fails.
func span(i *int, n int, f func(int) error) (err error) {
	defer recovered(&err)
	for ; *i < n; *i++ {
		if err := f(*i); err != nil {
			return err
		}
	}
	return nil
}

func spanApart(i *int, n int, f func(int) error) error {
	at := *i
	err := apart(func() error { return span(&at, n, f) })
	*i = at
	return err
}

func reportEach(r *run, stage string, b interface{ positions(int) []int64 }, failed []failedAt) {
	for _, f := range failed {
		r.topology.failed(Failure{
			Stage: stage, Positions: b.positions(f.index), Events: 1, Attempts: 1, Err: f.err,
		})
	}
}

type filter[T any] struct {
	name string
	f    func(*T) bool
}

func (s filter[T]) shape() shape { return shape{s.name, elementOf[T](), elementOf[T]()} }

func (s filter[T]) flow(r *run) streams.Flow {
	m := newMeter(r.topology.recorder(s.name))
	return newBatchFlow(r, s.name, func(b *Batch[T], pass func(any)) {
		m.begin(len(b.Events), b.sent)
		dropped, failed := s.reject(r, b)
		if len(dropped) > 0 {
			b = b.keeping(dropped)
		}
		sent := m.end(len(b.Events), failed)
		if len(b.Events) > 0 {
			b.sent = sent
			pass(b)
		}
		m.record()
	})
}

// reject lists the events that do not go on: those with an error failed.
func (s filter[T]) reject(r *run, b *Batch[T]) (dropped []failedAt, failed int) {
	errs := each(r.topology, b.Events, func(i int) error {
		if !s.f(&b.Events[i]) {
			dropped = append(dropped, failedAt{index: i})
		}
		return nil
	})
	if len(errs) == 0 {
		return dropped, 0
	}
	reportEach(r, s.name, b, errs)
	merged := make([]failedAt, 0, len(dropped)+len(errs))
	for len(dropped)+len(errs) > 0 {
		if len(errs) == 0 || len(dropped) > 0 && dropped[0].index < errs[0].index {
			merged, dropped = append(merged, dropped[0]), dropped[1:]
		} else {
			merged, errs, failed = append(merged, errs[0]), errs[1:], failed+1
		}
	}
	return merged, failed
}

// keeping ends the dropped events and returns a batch of the others. They are
// copied: other lines may read the same slice.
func (b *Batch[T]) keeping(dropped []failedAt) *Batch[T] {
	kept := make([]T, 0, len(b.Events)-len(dropped))
	at := 0
	for _, d := range dropped {
		kept = append(kept, b.Events[at:d.index]...)
		at = d.index + 1
	}
	kept = append(kept, b.Events[at:]...)
	rest := b.without(dropped)
	rest.Events, rest.count = kept, len(kept)
	return rest
}
