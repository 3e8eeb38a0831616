package client

import (
	"bufio"
	"context"
	"net"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/gobwas/ws"
)

// loop is the goroutine of a client. All state is its own; what others want of it they send as
// commands. It waits for the network for as long as a write may take, and for nothing
// else.
type loop struct {
	settings
	client   *Client
	ctx      context.Context // of the client
	channels map[string]*Channel

	conn         *connection // nil while there is none
	refs         int         // the last ref that was given out on it
	heartbeatRef string      // of a heartbeat that is not answered yet
	answered     bool        // whether it has been of use
	held         *held       // an event that finds no room; while it does, nothing is read

	dialled chan dialled // nil unless a goroutine connects, which sends once
	pause   *time.Timer  // until that begins
	retry   *backoff.ExponentialBackOff

	heartbeat *time.Ticker
	due       *time.Timer // for the channel that is due first
	dueAt     time.Time   // zero if none is

	fatal error // why the client ends
}

// dialled is how an attempt to connect ended.
type dialled struct {
	conn net.Conn
	rest *bufio.Reader
	err  error
}

// held is an event that waits for room.
type held struct {
	channel *Channel
	event   Event
	until   time.Time
}

func newLoop(s settings, c *Client, conn *connection) *loop {
	return &loop{settings: s, client: c, channels: map[string]*Channel{}, conn: conn, retry: newBackoff()}
}

// run works until ctx ends, or the server is not to be asked again.
func (l *loop) run(ctx context.Context) error {
	l.ctx = ctx
	l.start()
	defer l.stop()
	for l.fatal == nil {
		l.step(ctx)
	}
	return l.fatal
}

func (l *loop) start() {
	l.heartbeat = time.NewTicker(HeartbeatInterval)
	l.pause, l.due = time.NewTimer(0), time.NewTimer(0)
	l.pause.Stop()
	l.due.Stop()
}

func (l *loop) step(ctx context.Context) {
	var frames <-chan frame
	if l.conn != nil && l.held == nil {
		frames = l.conn.frames
	}
	select {
	case <-ctx.Done():
		l.fatal = ErrClosed
	case command := <-l.client.commands:
		command(l)
	case f, open := <-frames:
		if open {
			l.take(f)
		} else {
			l.disconnect(l.conn.err)
		}
	case <-l.client.room:
		l.makeRoom()
	case d := <-l.dialled:
		l.dialled = nil
		l.connected(d)
	case <-l.pause.C:
		if len(l.channels) > 0 {
			l.dial()
		}
	case now := <-l.due.C:
		l.dueAt = time.Time{}
		l.overdue(now)
	case <-l.heartbeat.C:
		l.beat()
	}
}

// stop ends all that there is.
func (l *loop) stop() {
	l.heartbeat.Stop()
	l.pause.Stop()
	l.due.Stop()
	for _, ch := range l.channels {
		l.end(ch, l.fatal)
	}
	if l.conn != nil {
		l.conn.close()
	}
	if l.dialled != nil {
		l.client.cancel()
		if d := <-l.dialled; d.err == nil {
			d.conn.Close()
		}
	}
}

// dial begins to connect.
func (l *loop) dial() {
	result := make(chan dialled, 1)
	l.dialled = result
	ctx, connect := l.ctx, l.connect
	go func() {
		conn, rest, err := connect(ctx)
		result <- dialled{conn, rest, err}
	}()
}

func (l *loop) connected(d dialled) {
	if d.err != nil {
		l.again(d.err)
		return
	}
	l.conn, l.refs, l.heartbeatRef, l.answered = newConnection(d.conn, d.rest), 0, "", false
	l.heartbeat.Reset(HeartbeatInterval)
	for _, ch := range l.channels {
		if l.conn != nil {
			l.join(ch)
		}
	}
}

// disconnect gives the connection up.
func (l *loop) disconnect(err error) {
	l.conn.close()
	l.conn, l.held = nil, nil
	for _, ch := range l.channels {
		if ch.state == joining && !ch.met {
			l.end(ch, err)
			continue
		}
		l.wait(ch, time.Time{})
	}
	if l.answered {
		l.retry.Reset()
	}
	l.again(err)
}

// again has the client connect after a pause, unless it has nothing to connect for.
func (l *loop) again(err error) {
	if final(err) {
		l.fatal = err
		return
	}
	if len(l.channels) == 0 {
		return
	}
	pause := l.retry.NextBackOff()
	l.notify(Retrying{Err: err, Pause: pause})
	l.pause.Reset(pause)
}

// idle tells whether nothing is being done for a connection.
func (l *loop) idle() bool { return l.conn == nil && l.dialled == nil && len(l.channels) == 0 }

// beat asks the server whether it is there. One that is not being read from may have
// answered.
func (l *loop) beat() {
	switch {
	case l.conn == nil || l.held != nil:
	case l.heartbeatRef != "":
		l.disconnect(errNoHeartbeat)
	default:
		l.heartbeatRef = l.nextRef()
		l.send(message{ref: l.heartbeatRef, topic: "phoenix", event: "heartbeat", payload: []byte("{}")})
	}
}

func (l *loop) nextRef() string {
	l.refs++
	return strconv.Itoa(l.refs)
}

// send sends a message whose payload is JSON, if there is a connection. One that fails is given up.
func (l *loop) send(m message) {
	if l.conn == nil {
		return
	}
	text, err := m.encode()
	if err == nil {
		err = l.conn.write(ws.NewTextFrame(text))
	}
	if err != nil {
		l.disconnect(err)
	}
}

// schedule has overdue called at a time.
func (l *loop) schedule(at time.Time) {
	if l.dueAt.IsZero() || at.Before(l.dueAt) {
		l.dueAt = at
		l.due.Reset(time.Until(at))
	}
}

// overdue does what is due.
func (l *loop) overdue(now time.Time) {
	if h := l.held; h != nil {
		if now.Before(h.until) {
			l.schedule(h.until)
		} else {
			l.fallBehind()
		}
	}
	for _, ch := range l.channels {
		switch {
		case ch.due.IsZero():
		case now.Before(ch.due):
			l.schedule(ch.due)
		case ch.state == joining:
			l.disconnect(errNoJoin)
			return
		case ch.state == waiting && l.conn != nil:
			l.join(ch)
		}
	}
}
