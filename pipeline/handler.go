package pipeline

import (
	"context"
	"errors"
)

// Option adjusts one stage that calls a handler.
type Option func(*settings)

type settings struct{ retry Retry }

// WithRetry replaces Config.Retry for this stage.
func WithRetry(r Retry) Option { return func(s *settings) { s.retry = r } }

// handler calls a user's function of many events: it recovers, retries, and finds
// the poisoned event.
type handler[T, U any] struct {
	name     string
	call     func(context.Context, []T) ([]U, error)
	retry    Retry
	topology *Topology
	ctx      context.Context
	meter    *meter
	attempts int // at the events at hand
}

func newHandler[T, U any](t *Topology, ctx context.Context, name string, call func(context.Context, []T) ([]U, error), options []Option) *handler[T, U] {
	var s settings
	for _, o := range options {
		o(&s)
	}
	return &handler[T, U]{
		name: name, call: call, retry: s.retry.orElse(t.config.Retry),
		topology: t, ctx: ctx, meter: newMeter(t.recorder(name)),
	}
}

// handle returns what the handler made of a batch, and the events that it failed on.
func (h *handler[T, U]) handle(b *Batch[T]) (made []U, failed []failedAt) {
	made, attempts, err := h.persist(b.Events)
	var some EventErrors
	switch {
	case err == nil:
		return made, nil
	case errors.As(err, &some):
		failed = some.failed(len(b.Events))
		for i, f := range failed {
			if errors.Is(err, ErrStopped) {
				f.err = errors.Join(ErrStopped, f.err)
				failed[i] = f
			}
			h.report(b, f.index, 1, attempts, f.err)
		}
		return made, failed
	case len(b.Events) == 1 || h.retry.Whole || h.ctx.Err() != nil:
		h.report(b, -1, len(b.Events), attempts, err)
		return nil, allFailed(len(b.Events), err)
	}
	// One of them poisons the others, perhaps: each gets a last attempt of its own.
	made = nil
	for i := range b.Events {
		one, err := h.try(b.Events[i : i+1 : i+1])
		if err != nil {
			failed = append(failed, failedAt{i, err})
			h.report(b, i, 1, attempts+1, err)
			continue
		}
		made = append(made, one...)
	}
	return made, failed
}

// persist tries until it works or the retries are used up.
func (h *handler[T, U]) persist(events []T) (made []U, attempts int, err error) {
	if h.attempts > 0 {
		err = ErrExited // so did the attempt before: it took the goroutine with it
	} else {
		made, err = h.attempt(events)
	}
	for {
		var some EventErrors
		if err == nil || errors.As(err, &some) || h.retry.gaveUp(h.attempts) {
			break
		}
		h.meter.retried()
		if !sleep(h.ctx, h.retry.wait(h.attempts)) {
			made, err = nil, errors.Join(ErrStopped, err)
			break
		}
		made, err = h.attempt(events)
	}
	attempts, h.attempts = h.attempts, 0
	return made, attempts, err
}

func (h *handler[T, U]) attempt(events []T) ([]U, error) {
	h.attempts++
	return h.try(events)
}

// try calls the function. An error while the pipeline is stopped says nothing of the events:
// like as not it is that of ctx.
func (h *handler[T, U]) try(events []T) (made []U, err error) {
	if h.ctx.Err() != nil {
		return nil, ErrStopped
	}
	if h.topology.exited.Load() {
		made, err = h.apart(events)
	} else {
		made, err = h.inline(events)
	}
	if err != nil && h.ctx.Err() != nil {
		err = errors.Join(ErrStopped, err)
	}
	return made, err
}

func (h *handler[T, U]) inline(events []T) (made []U, err error) {
	defer recovered(&err)
	return h.call(h.ctx, events)
}

func (h *handler[T, U]) apart(events []T) (made []U, err error) {
	err = apart(func() (err error) {
		made, err = h.call(h.ctx, events)
		return err
	})
	return made, err
}

func (h *handler[T, U]) report(b interface{ positions(int) []int64 }, index, events, attempts int, err error) {
	h.topology.failed(Failure{
		Stage: h.name, Positions: b.positions(index), Events: events, Attempts: attempts, Err: err,
	})
}

func allFailed(n int, err error) []failedAt {
	failed := make([]failedAt, n)
	for i := range failed {
		failed[i] = failedAt{i, err}
	}
	return failed
}
