package socket

import (
	"cmp"
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/socket/phoenix"
)

const (
	pollTimeout    = 10 * time.Second // how long a poll waits for messages
	pollGrace      = 15 * time.Second // how long a session waits for the next poll
	pollCloseGrace = 2 * time.Second  // how long one does that has been shut
	pollPieces     = 1024             // entries of what is outbound in one answer
	maxPosts       = 8                // POSTs of one session that are read at a time
)

// pollState is where a session is in its life. Of its GETs at most one has the
// turn, and while that is being answered one more comes next.
//
//	           a GET comes       its GET leaves,  its GET takes  the answer   is not  time is
//	                             or gets nothing  what there is  is written           up
//	idle       waiting           –                –              –            –       ended
//	waiting    waiting (1)       idle             answering      –            –       –
//	answering  answering (2)     –                –              idle (3)     ended   ended (4)
//	ended      ended             ended            –              ended        ended   –
//
// (1) The new one has the turn, the one before gives way. (2) The new one
// comes next, and another that did gives way. (3) Or waiting, if one comes next. Or
// ended, if what was written was the last. (4) Only of a session that has been
// shut, or if another node has the answer and does not say what became of it: otherwise
// the deadlines of the answer are what bounds it.
//
// An answer of which surely nothing has been written leads from answering to idle, or
// waiting, too: what it took is kept for the next GET.
//
// A GET takes under the lock under which it leaves or gives way, so that one
// that has left or given way takes nothing. Whatever the state, cut leads to
// ended, and nothing leads out of it.
type pollState uint8

const (
	pollIdle pollState = iota
	pollWaiting
	pollAnswering
	pollEnded
)

// longpollSession is a connection that consists of requests. Its GETs take what is
// outbound, its POSTs feed the session.
type longpollSession struct {
	// Immutable after newLongpollSession.
	endpoint *Endpoint
	session  session
	outbound *outbound.Connection
	token    string
	ready    chan struct{} // wake sends, the GET receives; one is enough to say that there is something
	over     chan struct{} // closed when the session has ended
	slots    chan struct{} // maxPosts of them: a POST takes one out while it is read, and puts it back

	batch outbound.WriteBatch // owned by the GET that has the turn; guarded by mu if that is another node's, or nobody's

	receiving sync.Mutex // held while a message is handed to the session

	mu sync.Mutex

	// Guarded by mu.
	state  pollState
	turn   *pollRequest        // the GET that waits or is being answered, nil if there is none
	next   *pollRequest        // the GET after it
	took   time.Time           // when a GET took the batch
	kept   bool                // the batch is what the next GET takes
	denied outbound.DropReason // why the client gets nothing more, not even of the batch; "" while it does
	held   heldRequests        // of other nodes
	posts  map[*pollRequest]struct{}
	eased  chan struct{} // closed when a GET has taken something; nil if nobody waits for that
	cause  closeReason   // why the session is being closed, "" while it is not
	idle   time.Time     // since when there is no GET
	shutAt time.Time     // when it was shut
	timer  *time.Timer   // calls timeUp
	looked bool          // it has, and will once more
}

// pollRequest is a GET, or a POST that is being read.
type pollRequest struct {
	context context.Context
	control *http.ResponseController // nil if another node has the request
	changed chan struct{}            // whoever changes a GET's place sends, it receives; one is enough

	// Of a GET that another node has.
	handed  handedID
	leave   context.CancelFunc // ends context
	until   time.Time          // when its answer counts as lost; guarded by longpollSession.mu
	settled bool               // what became of that is known; guarded by longpollSession.mu
}

func newPollRequest(w http.ResponseWriter, r *http.Request) *pollRequest {
	return &pollRequest{context: r.Context(), control: http.NewResponseController(w), changed: make(chan struct{}, 1)}
}

// nudge has a GET look where it is. A nil one is nobody.
func (g *pollRequest) nudge() {
	if g != nil {
		signal(g.changed)
	}
}

// interruptReading and interruptWriting end what a request is at. They are called
// as long as the request is known to be under way.
func (g *pollRequest) interruptReading() {
	if g.control != nil {
		_ = g.control.SetReadDeadline(longAgo)
	}
}

func (g *pollRequest) interruptWriting() {
	if g.control != nil {
		_ = g.control.SetWriteDeadline(longAgo)
	}
}

var longAgo = time.Unix(1, 0)

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func newLongpollSession(e *Endpoint, socket *channels.Socket, format outbound.Format) *longpollSession {
	p := &longpollSession{
		endpoint: e,
		token:    e.tokens.issue(),
		ready:    make(chan struct{}, 1),
		over:     make(chan struct{}),
		slots:    make(chan struct{}, maxPosts),
		idle:     time.Now(),
	}
	p.outbound = outbound.NewConnection(e.config.Host.Hub(), outbound.ConnectionConfig{
		Replies:  max(e.config.Options.MailboxSize, e.config.InboundQueue), // a burst may be answered at once
		Bytes:    e.config.MailboxBytes,
		Wake:     p.wake,
		Overflow: func() { p.cut(closedTooSlow, outbound.DropTooSlow) },
	})
	p.session.init(e.context, &e.config, format|phoenix.Polled, socket, p.outbound)
	for range maxPosts {
		p.slots <- struct{}{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(pollGrace-lastLookAtPoll, p.timeUp)
	return p
}

// wake tells the GET that there is something to take. What is outbound calls it, with
// its lock held.
func (p *longpollSession) wake() { signal(p.ready) }

// about implements connection.
func (p *longpollSession) about() (*session, string) { return &p.session, longpollTransport }

// shut implements connection. There is no close frame but the end: the GETs take what is
// left, and the next one finds no session. All of that has closeTimeout.
//
// Where there is a reason to discard, also for a session that is being closed already, that
// goes for what a GET took and has not written, too.
func (p *longpollSession) shut(info closeInfo, discard outbound.DropReason) bool {
	first := p.begin(info.reason)
	if !first && discard == "" {
		return false
	}
	p.deny(discard)
	p.outbound.Close(nil, discard)
	p.wake()
	if !first {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shutAt = time.Now()
	p.schedule()
	return true
}

// deny has the client get nothing more of the batch, if there is a reason to.
func (p *longpollSession) deny(reason outbound.DropReason) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if reason == "" || p.denied != "" {
		return
	}
	p.denied = reason
	if p.kept {
		p.kept = false
		p.batch.Lost(reason)
	}
}

// cut implements connection.
func (p *longpollSession) cut(reason closeReason, discard outbound.DropReason) {
	p.begin(reason)
	p.outbound.Close(nil, discard)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end()
}

// fail cuts a session because of what its client sent or did, unless it is being
// closed already: then the client still gets what is queued.
func (p *longpollSession) fail(reason closeReason) {
	if p.begin(reason) {
		p.cut(reason, outbound.DropClosed)
	}
}

// begin marks the beginning of the end. It returns false if that has been
// before.
func (p *longpollSession) begin(reason closeReason) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := p.cause == ""
	if first {
		p.cause = reason
	}
	return first
}

func (p *longpollSession) closing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cause != ""
}

// end lets go of everything, its requests included. Handlers are waited for in a
// goroutine, which counts as the endpoint's. Called with mu held.
func (p *longpollSession) end() {
	if p.state == pollEnded {
		return
	}
	if p.state == pollAnswering {
		p.turn.interruptWriting()
	}
	if p.kept || p.unacknowledged(p.turn.id()) { // else whoever answers says so
		p.batch.Lost(outbound.DropClosed)
	}
	for post := range p.posts {
		post.interruptReading()
	}
	p.turn.nudge()
	p.next.nudge()
	p.dropParts()
	p.state, p.turn, p.next = pollEnded, nil, nil
	p.timer.Stop()
	close(p.over)
	go func() {
		p.received()
		p.session.close()
		p.endpoint.remove(p, p.cause)
	}()
}

// received waits until the message that is being handed over has been. Once the
// session has ended nothing comes after it.
func (p *longpollSession) received() {
	p.receiving.Lock()
	defer p.receiving.Unlock()
}

// ends is when the session ends, if no GET comes and nothing is written; zero if
// it does not. Called with mu held.
func (p *longpollSession) ends() time.Time {
	switch {
	case p.state == pollAnswering && p.shutAt.IsZero():
		return p.turn.until
	case p.state == pollEnded, p.state != pollIdle && p.shutAt.IsZero():
		return time.Time{}
	case p.shutAt.IsZero():
		return p.idle.Add(pollGrace)
	}
	last := p.shutAt.Add(p.endpoint.config.closeTimeout)
	if p.state != pollIdle {
		return last
	}
	soon := p.idle
	if soon.Before(p.shutAt) {
		soon = p.shutAt
	}
	if soon = soon.Add(pollCloseGrace); soon.Before(last) {
		return soon
	}
	return last
}

// schedule sets the timer, after a change: some time before the end, which is left
// for one more look. Called with mu held.
func (p *longpollSession) schedule() {
	p.looked = false
	if at := p.ends(); at.IsZero() {
		p.timer.Stop()
	} else {
		p.timer.Reset(max(time.Until(at)-lastLookAtPoll, 0))
	}
}

// lastLookAtPoll is what of the time that a session waits is left for the last
// look. After a pause of the process time is up before the GET is seen that came
// meanwhile.
const lastLookAtPoll = pollCloseGrace / 4

// timeUp ends the session, if its time is up: the timer may be late for that, or
// not have heard yet of a GET that has come.
func (p *longpollSession) timeUp() {
	p.mu.Lock()
	at := p.ends()
	over := p.looked && !at.IsZero() && !time.Now().Before(at)
	switch {
	case at.IsZero():
	case over:
		late := closedNoPoll
		if p.state == pollAnswering {
			late = closedLost
		}
		p.cause = cmp.Or(p.cause, late)
		p.end()
	case p.looked:
		p.timer.Reset(time.Until(at))
	default:
		p.looked = true
		p.timer.Reset(max(time.Until(at), lastLookAtPoll))
	}
	p.mu.Unlock()
	if over {
		p.outbound.Close(nil, outbound.DropClosed)
	}
}
