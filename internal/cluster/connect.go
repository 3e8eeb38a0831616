package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	pingsMissed   = 2 // and a connection is taken to be cut
	reconnectWait = 250 * time.Millisecond
	// stallTimeout is how long a NATS may take in nothing of what is written to it.
	stallTimeout = 5 * time.Second
	// redialWait is how long it takes until there is another client where one was ended.
	redialWait = time.Second
)

// client is one client of NATS. It connects again by itself until it is closed, which a
// NATS that refuses it may have it do, too.
//
// nats.go holds a lock of its own while it dials and while it writes: nothing is called on
// conn with NATS.mu held, and by nobody who may not wait.
type client struct {
	conn   *nats.Conn
	closed chan struct{} // closed by the last callback of nats.go
}

// connect starts this process's server, if it has one, and its client, and subscribes to
// what was asked for so far. To a NATS that is away it connects later.
func (b *NATS) connect(ctx context.Context, installation string) error {
	b.url = b.config.URL
	switch {
	case b.url == "":
		running, token, err := b.startServer(ctx, installation)
		if err != nil || running == nil {
			return err
		}
		b.mu.Lock()
		b.server = running
		b.mu.Unlock()
		b.reach = []nats.Option{nats.InProcessServer(running), nats.Token(token)}
	default:
		if b.config.CredsFile != "" {
			b.reach = append(b.reach, nats.UserCredentials(b.config.CredsFile))
		}
		if b.config.ClientTLS != nil {
			b.reach = append(b.reach, nats.Secure(b.config.ClientTLS))
		}
	}
	return b.dial()
}

// dial makes a client, which from then on is this bus's, and subscribes with it.
func (b *NATS) dial() error {
	c := &client{closed: make(chan struct{})}
	options := append([]nats.Option{
		nats.Name("sluice " + b.config.Self.Name),
		nats.NoEcho(),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectBufSize(-1), // what cannot be sent now counts for nothing later
		nats.ReconnectWait(reconnectWait),
		nats.PingInterval(b.config.pingEvery()), nats.MaxPingsOutstanding(pingsMissed),
		nats.Timeout(b.config.dialTimeout()),
		nats.FlusherTimeout(stallTimeout), nats.ReconnectOnFlusherError(),
		nats.IgnoreAuthErrorAbort(), // who is refused may be let in later
		nats.ConnectHandler(b.connected), nats.ReconnectHandler(b.connected),
		nats.DisconnectErrHandler(b.disconnected), nats.ReconnectErrHandler(b.disconnected),
		nats.ErrorHandler(b.complaint),
		nats.ClosedHandler(func(conn *nats.Conn) {
			b.disconnected(conn, conn.LastError())
			close(c.closed)
		}),
	}, b.reach...)
	conn, err := nats.Connect(b.url, options...)
	if err != nil {
		return fmt.Errorf("connect to the cluster's bus: %w", err)
	}
	c.conn = conn
	b.mu.Lock()
	b.client = c
	b.mu.Unlock()
	b.settle(c)
	return nil
}

// tend has subscriptions begin and end as is asked for, and makes another client where
// nats.go has closed the one that there is, until ctx ends.
func (b *NATS) tend(ctx context.Context) {
	for {
		c := b.current()
		select {
		case <-ctx.Done():
			return
		case <-b.unsettled:
			b.settle(c)
			continue
		case <-c.closed:
		}
		pause := time.NewTimer(redialWait)
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		if err := b.dial(); err != nil {
			b.alarm.warn("the cluster's bus is away, and cannot be connected to", "error", err)
		}
	}
}

// current is the client; nil before Run has connected, and at the end.
func (b *NATS) current() *client {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.client
}

// connected is called by nats.go when there is a connection.
func (b *NATS) connected(conn *nats.Conn) {
	most := MaxData
	if payload := conn.MaxPayload(); payload > 0 {
		most = min(MaxData, int(payload)-overhead)
	}
	b.mu.Lock()
	b.up, b.most = true, most
	b.mu.Unlock()
	switch {
	case b.config.URL != "":
		b.config.Logger.Info("connected to the cluster's bus", "url", RedactURL(b.config.URL))
	case conn.Stats().Reconnects > 0: // to what is in this process
		b.config.Logger.Info("connected to the cluster's bus again")
	}
}

// disconnected is called by nats.go when the connection is lost, or cannot be had.
func (b *NATS) disconnected(_ *nats.Conn, err error) {
	if err == nil {
		err = errors.New("the connection has ended")
	}
	b.mu.Lock()
	over := b.life.Err() != nil
	b.up = false
	if !over {
		b.why = err
	}
	for _, a := range b.asking {
		a.end(Reply{Err: fmt.Errorf("%w: %w", ErrAway, err)})
	}
	b.mu.Unlock()
	if !over {
		b.alarm.warn("the cluster's bus is away: other nodes are not told what this one says", "error", err)
	}
}

// complaint is called by nats.go when something other is wrong.
func (b *NATS) complaint(_ *nats.Conn, sub *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrSlowConsumer) { // counted by look
		return
	}
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	b.mu.Lock()
	b.why = err
	b.mu.Unlock()
	b.alarm.warn("the cluster's NATS complains: it has to let this node publish to and subscribe to sluice.>", "error", err, "subject", subject)
}

// leave ends all that there is, once what was sent last has been taken.
func (b *NATS) leave() {
	b.out.close(nil)
	b.mu.Lock()
	c, running := b.client, b.server
	b.end()
	b.client, b.up = nil, false
	for _, in := range b.inboxes {
		b.discard(in)
	}
	for _, a := range b.asking {
		a.end(Reply{Err: ErrAway})
	}
	clear(b.members.peers)
	clear(b.members.leaving)
	b.why = errors.New("this node has left the cluster")
	b.mu.Unlock()
	b.working.Wait() // what they answer last is not sent any more
	if c != nil {
		if c.conn.IsConnected() {
			_ = c.conn.FlushTimeout(leaveTimeout) // or they hear of the end by their own clocks
		}
		c.conn.Close()
		<-c.closed // nats.go has come to rest, now or long ago
	}
	if running != nil {
		running.Shutdown()
		running.WaitForShutdown()
	}
}
