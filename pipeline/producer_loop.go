package pipeline

import (
	"context"
	"fmt"
	"io"
	"math"
	"sync"
	"time"
)

// loop is a producer's goroutine: it alone touches the dispatcher and the buffer,
// and it alone sends to subscriptions. The demand handler, which may block, runs on a
// second goroutine that this one starts and joins.
//
// It is in one phase, which only ever grows:
//
//	from              to         when                                       by
//	emitting          draining   Run's soft context ends                    drain
//	up to draining    stopping   the same, for a producer without inputs;   stop
//	                             Stop; the handler ends, or is given up
//	up to stopping    killed     Run's hard context ends                    kill
//	stopping, killed  over       nothing is buffered, queued or fetched     finish
//	any               over       the dispatcher panics, or the goroutine    crash
//	                             is ended
//
// and knows its demand handler in one state:
//
//	from              to         when                                       by
//	idle              asked      more is wanted than the buffer has         ask
//	asked             idle       it has answered                            emit
//	asked             resting    with nothing, or an error                  rest
//	resting           idle       the pause is over                          run
//	any               dismissed  the loop ends                              dismiss
type loop[T any] struct {
	producer   *Producer[T]
	dispatcher Dispatcher[T]
	queuer     queuer[T] // the dispatcher, if it holds events
	buffer     buffer[T]
	subscribed map[ID]*subscription[T]
	notices    []notice

	// asks has room for the one demand that is put to the handler at a time; sent and
	// closed by the loop. answers has room for its answer, so that the handler never waits.
	asks      chan int
	answers   chan answer[T]
	handler   handlerState
	requested int // how much it knows to be wanted
	attempts  int // of the handler, that failed in a row
	pause     *time.Timer
	asked     int  // demand that the handler was asked for; owned by serve
	answered  bool // and has answered; owned by serve

	phase   phase
	reason  error // why it stops; nil if as planned
	holding bool  // Accumulate was called, and Forward was not
	highest int64 // position of the last event emitted
	emitted bool

	recorder Recorder
	report   Report
	idle     time.Time // since when the handler waits for demand
}

// phase is how far a loop has come to its end. Each includes what those before it do.
type phase int

const (
	phaseEmitting phase = iota
	phaseDraining       // nobody new is waited for
	phaseStopping       // no more is asked of the handler
	phaseKilled         // nor anything delivered
	phaseOver           // and all have been told
)

// handlerState is what the loop knows of its demand handler.
type handlerState int

const (
	handlerIdle      handlerState = iota
	handlerAsked                  // it has a demand, and has not answered
	handlerResting                // pause runs: it is left alone
	handlerDismissed              // asks is closed
)

type answer[T any] struct {
	Events[T]
	asked int
	took  time.Duration
	err   error
}

// run blocks until every event that was emitted is delivered, or given up. Soft stops
// the asking (but a producer-consumer's inputs still have to end), hard the delivering.
func (l *loop[T]) run(soft, hard context.Context) {
	p := l.producer
	asking := soft
	if p.inputs != nil {
		asking = hard
	}
	ctx, cancel := context.WithCancel(asking)
	defer cancel()
	l.pause = time.NewTimer(0)
	l.pause.Stop()
	l.recorder = p.topology.recorder(p.name)
	l.idle = time.Now()
	var serving sync.WaitGroup
	returned := false
	defer func() {
		if !returned {
			v := recover()
			cancel()
			l.crash(v, &serving)
		}
	}()
	if p.source != nil {
		serving.Go(func() { l.serve(ctx) })
	}
	stopped, killed := soft.Done(), hard.Done()
	for {
		for _, m := range p.inbox.take() {
			l.read(m)
		}
		l.dispatch()
		if l.phase >= phaseDraining {
			l.dropUnclaimed()
		}
		if l.phase >= phaseStopping {
			cancel()
			if l.handler != handlerAsked && l.buffer.len+l.queued() == 0 {
				break
			}
		}
		l.ask()
		select {
		case <-p.inbox.wake:
		case a := <-l.answers:
			l.emit(a, ctx.Err() != nil)
		case <-l.pause.C:
			l.handler = handlerIdle
		case <-stopped:
			stopped = nil
			if l.drain(); p.inputs == nil {
				l.stop(nil)
			}
		case <-killed:
			killed = nil
			l.kill()
		}
	}
	l.dismiss()
	serving.Wait()
	l.finish()
	returned = true
}

// dismiss lets the handler's goroutine end.
func (l *loop[T]) dismiss() {
	if l.handler != handlerDismissed {
		l.handler = handlerDismissed
		close(l.asks)
	}
}

// serve calls the demand handler. If that ends the goroutine, it has failed; a
// producer-consumer's is called again, for the batch that it has at hand.
func (l *loop[T]) serve(ctx context.Context) {
	l.answered = true
	l.producer.topology.outlive(l.producer.name, func() {
		if !l.answered && l.producer.inputs == nil {
			l.answer(answer[T]{asked: l.asked, err: ErrExited})
		}
		for {
			if l.answered {
				n, ok := <-l.asks
				if !ok {
					return
				}
				l.asked, l.answered = n, false
			}
			start := time.Now()
			e, err := l.producer.source(ctx, l.asked)
			l.answer(answer[T]{Events: e, asked: l.asked, took: time.Since(start), err: err})
		}
	})
}

func (l *loop[T]) answer(a answer[T]) {
	l.answered = true
	l.answers <- a
}

func (l *loop[T]) read(m request[T]) {
	if m.do != nil {
		m.do()
		return
	}
	l.dispatcher.Ask(m.ask, m.n)
}

// ask puts the demand that the buffer cannot meet to the handler. While it is
// busy demand adds up: it is a level, and asked for the next time.
func (l *loop[T]) ask() {
	if l.producer.source == nil || l.handler == handlerResting || l.holding || l.phase >= phaseStopping {
		return
	}
	n := l.dispatcher.Want() - l.buffer.len
	if l.handler == handlerAsked {
		if l.producer.config.OnDemandGrowth != nil && n > l.requested {
			l.requested = n
			l.demandGrew(n)
		}
		return
	}
	if l.phase >= phaseDraining && len(l.subscribed) == 0 {
		n = 1 // what is above has to end somewhere
	}
	if n <= 0 {
		return
	}
	l.handler, l.requested = handlerAsked, n
	if l.recorder != nil {
		l.report.AwaitDemand += time.Since(l.idle)
	}
	l.asks <- n
}

// demandGrew tells that more is wanted by now.
func (l *loop[T]) demandGrew(n int) {
	p := l.producer
	p.topology.hookHere(p.name, "OnDemandGrowth", func() { p.config.OnDemandGrowth(n) })
}

// emit takes what the handler returned.
func (l *loop[T]) emit(a answer[T], stopped bool) {
	p := l.producer
	l.handler = handlerIdle
	if stopped {
		l.stop(nil)
	}
	if l.recorder != nil {
		l.idle = time.Now()
		if p.inputs == nil {
			l.report.Took += a.took
		}
	}
	if asked := min(a.asked, len(a.Items)); p.inputs != nil {
		l.accept(a.Events, len(a.Items)) // bounded by the one batch that it was made of
	} else {
		l.accept(a.Events, asked)
	}
	switch {
	case a.err == io.EOF: // not one that is wrapped: a connection that was lost may say that too
		l.stop(nil)
	case a.err != nil && p.inputs != nil: // why its inputs ended
		l.stop(a.err)
	case stopped: // its error is that of ctx
	case a.err != nil && p.config.Retry.gaveUp(l.attempts+1):
		l.stop(fmt.Errorf("producer %q: %w", p.name, a.err))
		p.topology.failed(Failure{Stage: p.name, Attempts: l.attempts + 1, Err: a.err})
	case a.err != nil:
		l.attempts++
		l.report.Retries++
		l.rest(p.config.Retry.wait(l.attempts))
		p.topology.failed(Failure{Stage: p.name, Attempts: l.attempts, Err: a.err})
	case len(a.Items) == 0 && p.inputs == nil:
		l.attempts = 0
		l.rest(p.config.Idle)
	default:
		l.attempts = 0
	}
}

func (l *loop[T]) rest(d time.Duration) {
	l.handler = handlerResting
	l.pause.Reset(d)
}

// accept buffers what was emitted, of which the first n events were asked for.
func (l *loop[T]) accept(e Events[T], n int) {
	if len(e.Items) == 0 {
		return
	}
	l.buffer.add(e)
	if a := l.producer.ack; a != nil && a.config.Position != nil {
		switch highest, err := a.at(&e.Items[len(e.Items)-1]); {
		case err == nil:
			l.highest, l.emitted = highest, true
		default:
			l.producer.topology.failed(Failure{Stage: l.producer.name, Attempts: 1, Err: fmt.Errorf("hook Position: %w", err)})
		}
	}
	if pushed := len(e.Items) - n; pushed > 0 {
		l.dispatch() // they need no room if they are wanted
		for _, discarded := range l.buffer.trim(pushed) {
			l.giveUp(discarded, ErrDiscarded)
		}
	}
}

func (l *loop[T]) push(e Events[T]) error {
	if l.phase >= phaseStopping {
		return ErrEnded
	}
	l.accept(e, 0)
	return nil
}

// dispatch gives away what there is demand for.
func (l *loop[T]) dispatch() {
	for !l.holding && l.phase < phaseKilled {
		l.notify()
		e := l.buffer.head()
		d := l.dispatcher.Dispatch(e)
		var acks ackBatch
		e.parent.add(d.Copies, &acks) // before any of them can end
		l.buffer.remove(len(e.Items) - len(d.Rest))
		acks.tell()
		for _, delivery := range d.Deliveries {
			l.deliver(delivery)
		}
		for _, r := range d.Rejected {
			l.giveUp(r.Events, r.Err)
		}
		if len(d.Rest) > 0 || l.buffer.len == 0 {
			break
		}
	}
	l.notify()
	l.publish()
}

// deliver hands on a delivery in batches no larger than the subscription's terms.
func (l *loop[T]) deliver(d Delivery[T]) {
	s := l.subscribed[d.To]
	l.report.Out += len(d.Items)
	for size := s.batch(); len(d.Items) > size; d.Events = d.part(size, len(d.Items)) {
		s.deliver(d.part(0, size))
	}
	s.deliver(d.Events)
}

// publish tells the acknowledger what is emitted and still here, and the recorder
// what was done.
func (l *loop[T]) publish() {
	if a := l.producer.ack; a != nil && l.emitted {
		lowest, waiting := l.highest, false
		visit := func(event *T) {
			switch at, err := a.at(event); {
			case err != nil: // nothing more is safe while it waits
				lowest, waiting = math.MinInt64, true
			case !waiting || at < lowest:
				lowest, waiting = at, true
			}
		}
		if e := l.buffer.head(); len(e.Items) > 0 {
			visit(&e.Items[0])
		}
		if l.queuer != nil {
			l.queuer.Oldest(visit)
		}
		a.emitted(l.highest, lowest, waiting)
	}
	if l.recorder != nil {
		l.report.Levels = true
		l.report.Buffered = l.buffer.len + l.queued()
		l.report.Demand = l.dispatcher.Want()
		l.recorder.Record(l.report)
	}
	l.report = Report{}
}

func (l *loop[T]) queued() int {
	if l.queuer == nil {
		return 0
	}
	return l.queuer.Queued()
}
