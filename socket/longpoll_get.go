package socket

import (
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
)

// pollOutcome is what becomes of a GET.
type pollOutcome uint8

const (
	pollWaits      pollOutcome = iota // it goes on
	pollTook                          // the batch is its to write
	pollGotNothing                    // in its time, or it has left
	pollGaveWay                       // to another
	pollOver                          // the session has ended
)

// fetch waits, so long at most, for a GET's turn and for something to take, which then
// is in the batch. A GET that took something says by answered or keep what became of it.
func (p *longpollSession) fetch(g *pollRequest, longest time.Duration) pollOutcome {
	timeout := time.NewTimer(longest)
	defer timeout.Stop()
	p.arrive(g)
	for final := false; ; {
		if outcome := p.try(g, final); outcome != pollWaits {
			if outcome != pollTook {
				p.wake() // it may have been told what was for another
			}
			return outcome
		}
		select {
		case <-p.ready:
		case <-g.changed:
		case <-g.context.Done():
		case <-timeout.C:
			final = true
		}
	}
}

// arrive gives a GET its place.
func (p *longpollSession) arrive(g *pollRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if id := g.handed; id.id > 0 && id.id <= p.held.done[id.node] {
		g.leave() // it has come late: its client has been answered
		return
	}
	switch p.state {
	case pollIdle, pollWaiting:
		p.turn.nudge()
		p.state, p.turn = pollWaiting, g
	case pollAnswering:
		p.next.nudge()
		p.next = g
	}
	p.schedule()
}

// try has a GET take what there is, if it is its turn. One that has left or given
// way takes nothing. If it is its final one, it goes, whatever there is.
func (p *longpollSession) try(g *pollRequest, final bool) pollOutcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	final = final || g.context.Err() != nil
	switch {
	case p.state == pollEnded:
		return pollOver
	case p.unacknowledged(g.handed): // it has taken that before, and asks again
		if p.next == g {
			p.next = nil
		}
		return pollTook
	case p.next == g && final:
		p.next = nil
		return pollGotNothing
	case p.next == g:
		return pollWaits
	case p.turn != g:
		return pollGaveWay
	case g.context.Err() == nil && p.take():
		p.state, p.took = pollAnswering, time.Now()
		p.ease()
		p.schedule()
		return pollTook
	case g.context.Err() == nil && p.batch.Last:
		p.end()
		return pollOver
	case final:
		p.rest(nil)
		return pollGotNothing
	}
	return pollWaits
}

// take fills the batch, if there is something. Called with mu held.
func (p *longpollSession) take() bool {
	if p.kept {
		p.kept = false
		return true
	}
	return p.outbound.Take(&p.batch, writeBytes, pollPieces)
}

// keep gives back what a GET took and nothing of which has been written: it is what the
// next one takes, unless its client gets nothing more.
func (p *longpollSession) keep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == pollEnded {
		p.batch.Lost(outbound.DropClosed)
		return
	}
	if p.denied != "" {
		p.batch.Lost(p.denied)
	} else {
		p.kept = true
	}
	p.rest(p.next)
}

// answered says whether what a GET took has been written. If not, it is lost, and
// the session with it.
func (p *longpollSession) answered(written bool) {
	if !written {
		p.cut(closedLost, outbound.DropClosed)
		p.batch.Lost(outbound.DropClosed)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.state == pollEnded:
	case p.batch.Last:
		p.state, p.turn = pollIdle, nil // nothing of it is to be interrupted any more
		p.end()
	default:
		p.rest(p.next)
	}
}

// rest gives the turn to the next GET, or to nobody. Called with mu held.
func (p *longpollSession) rest(next *pollRequest) {
	p.state, p.turn, p.next = pollIdle, next, nil
	if next != nil {
		p.state = pollWaiting
		next.nudge()
	} else {
		p.idle = time.Now()
	}
	p.schedule()
}

// ease tells POSTs that wait that there is room. Called with mu held.
func (p *longpollSession) ease() {
	if p.eased != nil {
		close(p.eased)
		p.eased = nil
	}
}

// easing is closed when a GET next takes something.
func (p *longpollSession) easing() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.eased == nil {
		p.eased = make(chan struct{})
	}
	return p.eased
}
