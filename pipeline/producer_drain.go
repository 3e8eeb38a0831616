package pipeline

import (
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"sync"
)

// drain lets go of what no consumer is there for.
func (l *loop[T]) drain() { l.enter(phaseDraining) }

// enter goes to a phase, unless that is behind already.
func (l *loop[T]) enter(p phase) {
	l.phase = max(l.phase, p)
	l.holding = false
}

// stop ends the asking too; what is here is still dispatched.
func (l *loop[T]) stop(reason error) {
	if l.phase < phaseStopping {
		l.reason = reason
		l.enter(phaseStopping)
	}
}

// kill ends the dispatching too.
func (l *loop[T]) kill() {
	l.stop(nil)
	l.enter(phaseKilled)
	for _, s := range l.subscribed {
		l.producer.unsubscribe(s, nil)
	}
}

// dropUnclaimed gives up, at a drain, what nobody can take: there is no later to keep it for.
func (l *loop[T]) dropUnclaimed() {
	why := ErrNoConsumer
	if l.phase >= phaseKilled {
		why = ErrStopped
	}
	if l.queuer != nil {
		for _, e := range l.queuer.Evict() {
			l.giveUp(e, why)
		}
		l.dispatch() // into the room that made
	}
	if len(l.subscribed) > 0 {
		return
	}
	for l.buffer.len > 0 {
		e := l.buffer.head()
		l.giveUp(e, why)
		l.buffer.remove(len(e.Items))
	}
	l.notify()
	l.publish()
}

// finish closes what is left of lines and requests.
func (l *loop[T]) finish() {
	p := l.producer
	l.enter(phaseOver)
	for _, m := range p.inbox.close() {
		l.read(m)
	}
	for _, n := range l.notices {
		l.call(n.do)
	}
	for _, s := range l.subscribed {
		p.unsubscribe(s, l.reason)
	}
	close(p.ended)
}

// call makes the call that somebody wanted by Notice.
func (l *loop[T]) call(do func()) { l.producer.topology.hook(l.producer.name, "Notice", do) }

// crash ends a producer whose loop something has broken that it cannot work without: a
// dispatcher that panicked, or a user's function that ended the goroutine. What it held is
// given up, and Run returns why.
func (l *loop[T]) crash(v any, serving *sync.WaitGroup) {
	p := l.producer
	t := p.topology
	t.exited.Store(true)
	err := ErrExited
	if v != nil {
		err = &PanicError{Value: v, Stack: debug.Stack()}
	}
	err = fmt.Errorf("producer %q: %w", p.name, err)
	if p.ack != nil {
		p.ack.stay(math.MinInt64) // what the dispatcher held is not known
	}
	l.reason = err
	l.enter(phaseOver)
	for _, s := range p.subscriptions() { // those that were about to be subscribed, too
		s.close(err)
	}
	clear(l.subscribed)
	close(p.ended)
	l.dismiss()
	serving.Wait()
	select {
	case a := <-l.answers:
		l.buffer.add(a.Events)
	default:
	}
	for l.buffer.len > 0 {
		e := l.buffer.head()
		l.buffer.remove(len(e.Items))
		l.giveUp(e, ErrStopped)
	}
	for _, m := range p.inbox.close() {
		if m.do != nil {
			m.do()
		}
	}
	for _, n := range l.notices {
		l.call(n.do)
	}
	t.failed(Failure{Stage: p.name, Attempts: 1, Err: err})
	t.fail(err)
}

// subscribe gives a subscription its place with the dispatcher.
func (l *loop[T]) subscribe(s *subscription[T]) {
	if l.phase >= phaseKilled {
		s.close(ErrEnded)
		return
	}
	err := l.dispatcher.Subscribe(s.id, Subscriber[T]{
		Partition: s.options.Partition,
		Selector:  s.options.Selector,
		Batch:     s.batch(),
	})
	if err != nil {
		err = fmt.Errorf("subscribe to %q: %w: %w", l.producer.name, ErrRefused, err)
		s.close(err)
		l.producer.topology.failed(Failure{Stage: l.producer.name, Attempts: 1, Err: err})
		return
	}
	l.subscribed[s.id] = s
}

// unsubscribe is only called by the loop.
func (p *Producer[T]) unsubscribe(s *subscription[T], reason error) {
	if p.loop.subscribed[s.id] == s {
		delete(p.loop.subscribed, s.id)
		p.loop.dispatcher.Cancel(s.id)
		s.close(reason)
	}
}

// giveUp ends events that no line ever got.
func (l *loop[T]) giveUp(e Events[T], err error) {
	p := l.producer
	if p.ack != nil {
		p.ack.abandon(e.Items, err)
	}
	var acks ackBatch
	if e.parent != nil {
		e.parent.end(0, len(e.Items), err, &acks)
	}
	if p.ack != nil {
		p.ack.note(&acks, p.name, e.Items, err)
	}
	acks.tell()
	if errors.Is(err, ErrDiscarded) {
		l.report.Discarded += len(e.Items)
		if p.config.OnDiscard != nil {
			p.topology.hook(p.name, "OnDiscard", func() { p.config.OnDiscard(e.Items) })
		}
		return
	}
	l.report.Failed += len(e.Items)
	p.topology.failed(Failure{
		Stage: p.name, Positions: p.positions(e.Items), Events: len(e.Items), Attempts: 1, Err: err,
	})
}

// notice is something to do once what waited before it has gone.
type notice struct {
	after  int64       // how many events have to leave the buffer
	passed func() bool // and then, the dispatcher's queues; nil before
	do     func()
}

func (l *loop[T]) notice(do func()) {
	if l.phase == phaseOver {
		l.call(do)
		return
	}
	l.notices = append(l.notices, notice{after: l.buffer.in, do: do})
}

// notify does what is due, in the order of asking. It is called wherever what was emitted
// together ends and the next begins, so that queues are marked between them.
func (l *loop[T]) notify() {
	for i := range l.notices {
		n := &l.notices[i]
		if n.passed == nil && l.buffer.out >= n.after {
			n.passed = func() bool { return true }
			if l.queuer != nil {
				n.passed = l.queuer.Mark()
			}
		}
	}
	for len(l.notices) > 0 && l.notices[0].passed != nil && l.notices[0].passed() {
		do := l.notices[0].do
		l.notices = l.notices[1:]
		l.call(do)
	}
}
