package pipeline

import (
	"errors"
	"fmt"
	"slices"
)

// launch starts a line that is counted as alive.
func (t *Topology) launch(l *Line, late bool) {
	r := &run{topology: t, line: l, late: late, ctx: t.hard, watched: t.config.Observer != nil}
	wait := r.prepare()
	if wait == nil {
		t.failed(Failure{Stage: l.producer, Attempts: 1, Err: r.failed})
		t.subscriptionEnded(r, r.failed)
		t.ended()
		return
	}
	if in, ok := l.end.(input); ok {
		in.joined(r)
	}
	t.mu.Lock()
	early := l.early
	l.current, l.early, l.reason = r, 0, nil
	t.mu.Unlock()
	r.source.ask(early)
	t.goroutines.Go(func() {
		defer t.ended()
		defer func() { t.subscriptionEnded(r, r.source.why()) }()
		wait()
		if r.feeds == nil {
			t.outlive(l.producer, r.source.leave) // begun again where it was
		} else {
			t.later(r.source)
		}
	})
}

// input is an end that outlives its lines: a producer-consumer's.
type input interface {
	joined(*run)
	left(r *run, ends bool, reason error)
}

// subscriptionEnded says what the end of a line's subscription means.
func (t *Topology) subscriptionEnded(r *run, reason error) {
	l := r.line
	ends := l.cancelMode.ends(reason)
	t.mu.Lock()
	l.live, l.current, l.reason = false, nil, reason
	if ends || t.state != running {
		t.close(l)
	}
	t.mu.Unlock()
	if in, ok := l.end.(input); ok && r.failed == nil {
		in.left(r, ends, reason)
	}
	refused := r.late && (r.failed != nil || errors.Is(reason, ErrEnded) || errors.Is(reason, ErrRefused))
	if ends && reason != nil && !refused { // who comes late and is refused troubles no other
		t.fail(reason)
	}
}

// later has a subscription leave when what it delivered has ended below, or all has.
func (t *Topology) later(s source) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leaving = append(slices.DeleteFunc(t.leaving, source.left), s)
}

// close ends a line for good, unless it is subscribed again. Called with mu held.
func (t *Topology) close(l *Line) {
	if i := slices.Index(t.lines, l); i >= 0 {
		t.lines = slices.Delete(t.lines, i, i+1)
		close(l.done)
	}
}

func (t *Topology) addLine(l *Line) {
	t.mu.Lock()
	launch := t.state == running && l.mistake == nil
	switch {
	case launch:
		l.live = true
		t.alive++
		t.lines = append(t.lines, l)
	case t.state == composing:
		t.lines = append(t.lines, l)
	case l.mistake != nil:
		l.reason = l.mistake
		close(l.done)
	default:
		l.reason = ErrEnded
		close(l.done)
	}
	t.mu.Unlock()
	if launch {
		t.launch(l, true)
	}
}

func (t *Topology) resubscribe(l *Line) error {
	t.mu.Lock()
	switch {
	case t.state != running || l.mistake != nil:
		t.mu.Unlock()
		return fmt.Errorf("resubscribe to %q: %w", l.producer, errors.Join(ErrEnded, l.mistake))
	case l.live:
		t.mu.Unlock()
		return fmt.Errorf("resubscribe to %q: the line is subscribed", l.producer)
	}
	l.live = true
	t.alive++
	if !slices.Contains(t.lines, l) {
		t.lines = append(t.lines, l)
		l.done = make(chan struct{})
	}
	t.mu.Unlock()
	t.launch(l, true)
	return nil
}
