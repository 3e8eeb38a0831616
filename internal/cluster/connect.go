package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// pingEvery and two that are missed is how soon a connection that is cut is noticed.
	pingEvery, pingsMissed = 2 * time.Second, 2
	reconnectWait          = 250 * time.Millisecond
	dialTimeout            = 2 * time.Second
)

// connect starts this process's server, if it has one, and its client, and subscribes to
// what was asked for so far. To an outside NATS that is away it connects later.
func (b *NATS) connect(ctx context.Context, installation string) error {
	options := []nats.Option{
		nats.Name("sluice " + b.config.Self.Name),
		nats.NoEcho(),
		nats.MaxReconnects(-1),
		nats.ReconnectBufSize(-1), // what cannot be sent now counts for nothing later
		nats.ReconnectWait(reconnectWait),
		nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(pingsMissed),
		nats.Timeout(dialTimeout),
		nats.IgnoreAuthErrorAbort(), // who is refused may be let in later
		nats.DisconnectErrHandler(b.disconnected),
		nats.ReconnectHandler(func(*nats.Conn) { b.config.Logger.Info("connected to the cluster's bus again") }),
		nats.ErrorHandler(b.complaint),
	}
	url := b.config.URL
	if url == "" {
		running, token, err := b.startServer(ctx, installation)
		if err != nil || running == nil {
			return err
		}
		b.mu.Lock()
		b.server = running
		b.mu.Unlock()
		options = append(options, nats.InProcessServer(running), nats.Token(token))
	} else {
		options = append(options, nats.RetryOnFailedConnect(true), nats.ConnectHandler(func(*nats.Conn) {
			b.config.Logger.Info("connected to the cluster's bus", "url", RedactURL(url))
		}))
		if b.config.CredsFile != "" {
			options = append(options, nats.UserCredentials(b.config.CredsFile))
		}
		if b.config.ClientTLS != nil {
			options = append(options, nats.Secure(b.config.ClientTLS))
		}
	}
	conn, err := nats.Connect(url, options...)
	if err != nil {
		return fmt.Errorf("connect to the cluster's bus: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conn = conn
	for _, in := range b.inboxes {
		if err := b.subscribe(in); err != nil {
			return fmt.Errorf("subscribe to %s: %w", in.subject, err)
		}
	}
	return nil
}

// disconnected is called by nats.go when the connection is lost, or cannot be had.
func (b *NATS) disconnected(_ *nats.Conn, err error) {
	if err == nil {
		err = errors.New("the connection has ended")
	}
	b.mu.Lock()
	b.why = err
	for _, a := range b.asking {
		a.end(Reply{Err: fmt.Errorf("%w: %w", ErrAway, err)})
	}
	over := b.life.Err() != nil
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
	b.out.close()
	b.mu.Lock()
	conn, running := b.conn, b.server
	b.end()
	for _, in := range b.inboxes {
		b.discard(in)
	}
	for _, a := range b.asking {
		a.end(Reply{Err: ErrAway})
	}
	b.members.peers, b.why = map[key]*peer{}, errors.New("this node has left the cluster")
	b.mu.Unlock()
	b.working.Wait() // what they answer last is not sent any more
	if conn != nil {
		if conn.IsConnected() {
			_ = conn.FlushTimeout(leaveTimeout) // or they hear of the end by their own clocks
		}
		closed := make(chan struct{}) // closed when nats.go has come to rest
		conn.SetClosedHandler(func(*nats.Conn) { close(closed) })
		conn.Close()
		<-closed
		b.mu.Lock()
		b.conn = nil
		b.mu.Unlock()
	}
	if running != nil {
		running.Shutdown()
		running.WaitForShutdown()
	}
}
