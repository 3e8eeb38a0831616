package socket

import (
	"sync"
	"time"

	"github.com/sluicehq/sluice/channels"
)

const (
	pollTimeout  = 10 * time.Second // how long a poll waits for messages
	pollGrace    = 15 * time.Second // how long a session waits for the next poll
	pollFarewell = 2 * time.Second  // how long one does that has been shut
	pollPieces   = 1024             // entries of the outlet in one answer
)

// poll is a long-poll session: a connection that consists of requests. There is
// at most one GET at a time, which takes from the outlet, and one POST, which
// feeds the session.
type poll struct {
	// Immutable after newPoll.
	endpoint *Endpoint
	session  session
	outlet   *channels.Outlet
	token    string
	ready    chan struct{} // Wake sends, the GET receives; one is enough to say that there is something

	posting sync.Mutex     // held by the POST
	polling sync.Mutex     // held by the GET
	batch   channels.Batch // owned by the GET

	mu sync.Mutex

	// Guarded by mu.
	grace *time.Timer   // ends the session; stopped while there is a GET
	kick  chan struct{} // closed by the next GET, so that the one before gives way
	cause closeReason   // why the session is being closed, "" while it is not
	ended bool
}

func newPoll(e *Endpoint, socket *channels.Socket, format channels.Format) *poll {
	p := &poll{endpoint: e, token: e.tokens.issue(), ready: make(chan struct{}, 1), kick: make(chan struct{})}
	p.outlet = channels.NewOutlet(e.config.Host.Hub(), channels.OutletConfig{
		Replies:  e.config.Delivery.MailboxSize,
		Bytes:    e.config.MailboxBytes,
		Wake:     p.wake,
		Overflow: func() { p.cut(closedTooSlow, channels.DropTooSlow) },
	})
	p.session.init(e.context, &e.config, format|polled, socket, p.outlet)
	p.grace = time.AfterFunc(pollGrace, func() { p.cut(closedNoPoll, channels.DropClosed) })
	return p
}

// wake tells the GET that there is something to take.
func (p *poll) wake() {
	select {
	case p.ready <- struct{}{}:
	default:
	}
}

// about implements link.
func (p *poll) about() (*session, string) { return &p.session, "longpoll" }

// shut implements link. There is no farewell but the end: the GET takes what is
// left, and the next one finds no session.
func (p *poll) shut(f farewell, discard channels.DropReason) bool {
	if !p.begin(f.reason) {
		return false
	}
	p.outlet.Close(nil, discard)
	p.wake()
	p.mu.Lock()
	if p.grace.Stop() { // no GET is waiting: one that comes soon takes what is left
		p.grace.Reset(pollFarewell)
	}
	p.mu.Unlock()
	return true
}

// cut implements link.
func (p *poll) cut(reason closeReason, discard channels.DropReason) {
	p.begin(reason)
	p.outlet.Close(nil, discard)
	p.end()
	p.wake()
}

// begin marks the beginning of the end. It returns false if that has been
// before.
func (p *poll) begin(reason closeReason) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := p.cause == ""
	if first {
		p.cause = reason
	}
	return first
}

// end lets go of everything. Handlers are waited for in a goroutine, which
// counts as the endpoint's.
func (p *poll) end() {
	p.mu.Lock()
	first := !p.ended
	p.ended = true
	p.grace.Stop()
	p.mu.Unlock()
	if first {
		go func() {
			p.posting.Lock() // nothing is received any more when the session is closed
			defer p.posting.Unlock()
			p.session.close()
			p.endpoint.remove(p, p.cause)
		}()
	}
}

func (p *poll) closing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cause != ""
}

// take begins a GET: it fills the batch with what there is, or waits for
// something. It returns false if there was nothing in time. Each take is
// followed by a taken.
func (p *poll) take(gone <-chan struct{}) bool {
	kicked := p.arrive()
	p.polling.Lock()
	timeout := time.NewTimer(pollTimeout)
	defer timeout.Stop()
	for !p.outlet.Take(&p.batch, writeBytes, pollPieces) {
		if p.closing() {
			return false
		}
		select {
		case <-p.ready:
		case <-timeout.C:
			return false
		case <-gone:
			return false
		case <-kicked:
			return false
		}
	}
	return true
}

// arrive makes a GET that is waiting give way to a new one.
func (p *poll) arrive() (kicked <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.grace.Stop()
	close(p.kick)
	p.kick = make(chan struct{})
	return p.kick
}

// taken ends a GET. If its answer could not be written, what it took is lost,
// and the session with it.
func (p *poll) taken(written bool) {
	last := p.batch.Last // of a session that is being closed
	p.polling.Unlock()
	switch {
	case !written:
		p.cut(closedLost, channels.DropClosed)
	case last:
		p.end()
	default:
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.ended {
			p.grace.Reset(pollGrace)
		}
	}
}
