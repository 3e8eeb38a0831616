package socket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/metrics"
)

// Config says how an Endpoint meets its clients. Host and Routes are
// required; for all else zero means the default.
type Config struct {
	// Path is where the endpoint is mounted; it serves Path/websocket. The
	// default is /socket.
	Path string

	Host   *channels.Host
	Routes *channels.Routes

	// Connect decides who may connect, and names the socket. The default
	// lets everybody in, with no name. It is called concurrently, within HandshakeTimeout.
	Connect ConnectFunc

	// Origins lists the pages that may connect, as //host, //*.host or
	// scheme://host:port. The default is pages of the host that is connected to, on any port.
	Origins []string

	// MailboxSize and MailboxBytes bound what a client may have waiting: see
	// channels.OutletConfig. Defaults: 1024 messages and 1 MiB.
	MailboxSize  int
	MailboxBytes int

	// MaxConnections bounds the endpoint's open connections; further ones are
	// answered 503. The default is no bound.
	MaxConnections int

	// MaxChannels bounds the channels of one connection. The default is 100.
	MaxChannels int

	// MaxMessageBytes bounds what a client may send as one message; a longer one
	// closes the connection. The default is 64 KiB.
	MaxMessageBytes int

	// HandshakeTimeout bounds the connect hook and the answer to the handshake.
	// How long a request's headers may take is up to the http.Server. The
	// default is 10s.
	HandshakeTimeout time.Duration

	// HeartbeatTimeout is how long nothing may come from a client, and how long
	// one message may take to arrive. Stock clients send a heartbeat every 30s. The
	// default is 60s.
	HeartbeatTimeout time.Duration

	// WriteTimeout is how long a client may take to accept a piece of at most
	// 256 KiB before it is taken for lost. The default is 15s.
	WriteTimeout time.Duration

	// DrainTimeout is how long Run takes at most to close all connections in
	// an orderly way, after which it cuts them. The default is 30s.
	DrainTimeout time.Duration

	Metrics *metrics.Set // nil: reports nothing
	Logger  *slog.Logger // nil: slog.Default
}

// ConnectFunc decides about a connection. An error refuses it: with the status of a
// [*Refusal], else 403.
type ConnectFunc func(ctx context.Context, r *ConnectRequest) (*channels.Socket, error)

// ConnectRequest is what a connect hook may judge a connection by.
type ConnectRequest struct {
	Params     Params
	Token      string // sent by subprotocol or header; a "token" parameter is among Params
	Header     http.Header
	RemoteAddr string
}

// Refusal refuses a connection with a status of HTTP.
type Refusal struct {
	Status int
	Reason string // sent to the client
}

func (r *Refusal) Error() string { return fmt.Sprintf("refused (%d): %s", r.Status, r.Reason) }

// withDefaults fills in what is zero, and says what cannot be.
func (c Config) withDefaults() (Config, error) {
	if c.Host == nil || c.Routes == nil {
		return c, errors.New("socket: Config needs Host and Routes")
	}
	for name, value := range map[string]int64{
		"MailboxSize":      int64(c.MailboxSize),
		"MailboxBytes":     int64(c.MailboxBytes),
		"MaxConnections":   int64(c.MaxConnections),
		"MaxChannels":      int64(c.MaxChannels),
		"MaxMessageBytes":  int64(c.MaxMessageBytes),
		"HandshakeTimeout": int64(c.HandshakeTimeout),
		"HeartbeatTimeout": int64(c.HeartbeatTimeout),
		"WriteTimeout":     int64(c.WriteTimeout),
		"DrainTimeout":     int64(c.DrainTimeout),
	} {
		if value < 0 {
			return c, fmt.Errorf("socket: %s is %d: must not be negative", name, value)
		}
	}
	c.Path = "/" + strings.Trim(cmp.Or(c.Path, "/socket"), "/")
	c.MailboxSize = cmp.Or(c.MailboxSize, 1024)
	c.MailboxBytes = cmp.Or(c.MailboxBytes, 1<<20)
	c.MaxChannels = cmp.Or(c.MaxChannels, 100)
	c.MaxMessageBytes = cmp.Or(c.MaxMessageBytes, 64<<10)
	c.HandshakeTimeout = cmp.Or(c.HandshakeTimeout, 10*time.Second)
	c.HeartbeatTimeout = cmp.Or(c.HeartbeatTimeout, 60*time.Second)
	c.WriteTimeout = cmp.Or(c.WriteTimeout, 15*time.Second)
	c.DrainTimeout = cmp.Or(c.DrainTimeout, 30*time.Second)
	if c.Connect == nil {
		c.Connect = func(context.Context, *ConnectRequest) (*channels.Socket, error) {
			return new(channels.Socket), nil
		}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}
