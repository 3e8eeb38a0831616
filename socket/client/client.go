package client

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// HeartbeatInterval is how often the server is asked whether it is there. It has as long
	// to answer.
	HeartbeatInterval = 30 * time.Second
	// Grace is how long a topic whose queue is full keeps others waiting.
	Grace = 5 * time.Second

	joinTimeout   = 10 * time.Second
	maxRetryPause = 10 * time.Second
)

// Client is a connection to a socket that is made again when it is lost. A client with no
// topics is not connected again until it joins one. It may be used by any number of
// goroutines.
type Client struct {
	// Callers of the client's methods send, loop.run receives, nobody closes. It
	// has no room: a command that was taken is carried out.
	commands chan func(*loop)
	// Readers of queues send without waiting, loop.run receives, nobody closes. One signal is
	// enough for any number.
	room   chan struct{}
	cancel context.CancelFunc
	done   chan struct{} // closed by loop.run when all has ended
	err    error         // why; to be read once done is closed
}

// Dial connects to a socket: the URL that clients are given, such as
// wss://example.org/socket, with parameters if the server wants any. It waits for a
// server that answers that it is starting or has no room (429, 5xx), until ctx ends; all else
// that goes wrong is returned at once: a [*RefusedError], a [*URLError], or what the
// network says. The client lives until [Client.Close], whatever becomes of ctx.
func Dial(ctx context.Context, url string, options ...Option) (*Client, error) {
	s := settings{notify: func(Notice) {}}
	for _, o := range options {
		o(&s)
	}
	if s.connect == nil {
		endpoint, err := Endpoint(url)
		if err != nil {
			return nil, err
		}
		s.connect = s.dialer(endpoint)
	}
	retry := newBackoff()
	for {
		conn, rest, err := s.connect(ctx)
		if err == nil {
			return newClient(s, newConnection(conn, rest)), nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !busy(err) {
			return nil, err
		}
		pause := retry.NextBackOff()
		s.notify(Retrying{Err: err, Pause: pause})
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

func newClient(s settings, conn *connection) *Client {
	ctx, cancel := context.WithCancel(context.Background())
	c := &Client{commands: make(chan func(*loop)), room: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.err = newLoop(s, c, conn).run(ctx)
	}()
	return c
}

// Close ends the client, and all that waits for it with [ErrClosed], and waits for its
// goroutines. It may be called again.
func (c *Client) Close() {
	c.cancel()
	<-c.done
}

// do has the loop carry something out.
func (c *Client) do(ctx context.Context, command func(*loop)) error {
	select {
	case <-c.done: // rather than by chance
		return c.err
	default:
	}
	select {
	case c.commands <- command:
		return nil
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func newBackoff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.MaxInterval = maxRetryPause
	return b
}
