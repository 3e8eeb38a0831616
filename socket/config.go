package socket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/internal/connlimit"
	"github.com/sluicehq/sluice/internal/lograte"
	"github.com/sluicehq/sluice/metrics"
)

// What Config has where it is zero.
const (
	DefaultPath             = "/socket"
	DefaultMailboxBytes     = 1 << 20
	DefaultMaxChannels      = 100
	DefaultMaxMessageBytes  = 64 << 10
	DefaultMaxBodyBytes     = 8 << 20
	DefaultInboundBytes     = 1 << 20
	DefaultHandshakeTimeout = 10 * time.Second
	DefaultHeartbeatTimeout = 60 * time.Second
	DefaultWriteTimeout     = 15 * time.Second
	DefaultDrainTimeout     = 30 * time.Second
)

// Config says how an Endpoint meets its clients. Host and Routes are required;
// for all else zero means the default.
type Config struct {
	// Path is where the endpoint is mounted; it serves Path/websocket,
	// Path/longpoll and Path/sse. The default is [DefaultPath].
	Path string

	// Handover takes requests of long-polls whose sessions other nodes hold to these.
	// The default is that there are no other nodes: a request that reaches another one
	// than the one before begins a new session.
	Handover *Handover

	Host   *channels.Host
	Routes *channels.Routes

	// Connect decides who may connect, and names the socket. The default lets
	// everybody in, with no name. It is called concurrently, within
	// HandshakeTimeout.
	Connect ConnectFunc

	// Position is the offset up to which everything has been routed. The default is that
	// it is not known: then a stream of server-sent events says where it is with events
	// alone.
	Position func() int64

	// Renew judges a token that a client brings while it is connected, as event
	// "access_token" with {"access_token": "…"} on any of its channels. It
	// returns the socket as it is from now on, with the same ID. It is called
	// while the client's next messages wait. By default such an event is the
	// channel's, as any other.
	Renew func(ctx context.Context, old *channels.Socket, token string) (*channels.Socket, error)

	// Holds tells whether what let a connection in would still do so. It is asked
	// by [Endpoint.Review] and [Endpoint.Confirm], and once renewed. The default is
	// that it would.
	Holds func(socket *channels.Socket) bool

	// Admit is asked before each join, whatever the topic: an error answers it, with
	// reason "unavailable" for [ErrUnavailable], else "unauthorized". The default is
	// that all may join what their channel lets them.
	Admit func(socket *channels.Socket) error

	// Origins lists the pages that may connect, as //host, //*.host,
	// scheme://host:port, scheme://, null or *. The default is pages of the host
	// that is connected to, on any port.
	Origins []string

	// OwnOrigin lets in pages of the very origin that is connected to, its port
	// included, and no others.
	OwnOrigin bool

	// Open tells whether whoever reaches the listener may connect, which is on
	// loopback. Then requests must name an IP address, localhost or a host of
	// Origins, and the names of loopback are one host. The default is never.
	Open func() bool

	// Delivery is how what goes to a client is kept, thinned out and counted,
	// where its channel does not say otherwise.
	Options outbound.Options

	// MailboxBytes bounds what a client may have waiting on all its channels:
	// see outbound.ConnectionConfig. The default is [DefaultMailboxBytes].
	MailboxBytes int

	// Compress lets clients of WebSocket ask that messages are compressed (RFC 7692): those
	// for all on a topic, where its Options say so, and what clients send. The default is
	// that none are.
	Compress bool

	// MaxConnections bounds the endpoint's open connections; further ones are
	// answered 503. The default is no bound.
	MaxConnections int

	// Addresses bounds the open connections of one client address, for all
	// endpoints that share it; further ones are answered 503. It also tells who a
	// proxy connects for. The default is no bound, and no proxies.
	Addresses *connlimit.Addresses

	// Users bounds the open connections of one user, by the id of its sockets, for all
	// endpoints that share it; further ones are answered 503. Sockets without an id are
	// not counted. The default is no bound.
	Users *connlimit.Users

	// Pace bounds how many connections are taken at a time, for all endpoints that share
	// it; those that come sooner are answered 503. The default is no bound.
	Pace *rate.Limiter

	// MaxChannels bounds the channels of one connection. The default is
	// [DefaultMaxChannels].
	MaxChannels int

	// MaxMessageBytes bounds what a client may send as one message; a longer
	// one closes the connection. The default is [DefaultMaxMessageBytes].
	MaxMessageBytes int

	// MaxBodyBytes bounds what a long-poll client may send as one request, of as
	// many messages as fit; a longer one closes the session. The default is
	// [DefaultMaxBodyBytes].
	MaxBodyBytes int

	// InboundQueue is how many of a client's messages may wait for one channel; what
	// comes on top is answered "overloaded". The default is
	// [channels.DefaultInboundQueue].
	InboundQueue int

	// InboundBytes bounds what a connection has inbound: its client's messages that no
	// handler is done with, and the joins under way, those among them that have been
	// replaced. Beyond that, reading waits. The default is [DefaultInboundBytes].
	InboundBytes int

	// InboundRate is how many messages a second a client may send, after as
	// many at once. Beyond that, reading waits. The default is no limit.
	InboundRate int

	// HandshakeTimeout bounds the connect hook and the answer to the handshake.
	// How long a request's headers may take is up to the http.Server. The
	// default is [DefaultHandshakeTimeout].
	HandshakeTimeout time.Duration

	// HeartbeatTimeout is how long nothing may come from a client, and how long
	// one message may take to arrive. Stock clients send a heartbeat every 30s.
	// The default is [DefaultHeartbeatTimeout].
	HeartbeatTimeout time.Duration

	// WriteTimeout is how long a client may take to accept a piece of what is
	// written, of writeBytes at most, before it is taken for lost. The default is
	// [DefaultWriteTimeout].
	WriteTimeout time.Duration

	// Writers is how many goroutines write to the connections that have none of
	// their own, and how many read from them. The default is as many as Go runs
	// at a time (GOMAXPROCS).
	Writers int

	// MaxConnectionAge is when a connection is closed at about, for its client to
	// connect again, perhaps to another node. It varies a little, so that those that
	// began together do not end together. The default is never.
	MaxConnectionAge time.Duration

	// DrainTimeout is how long Run takes at most to close all connections in an
	// orderly way, after which it cuts them. The default is
	// [DefaultDrainTimeout].
	DrainTimeout time.Duration

	closeTimeout time.Duration // to end its side, for a client that has been sent the close frame; zero: closeTimeout

	Metrics *metrics.Set // nil: reports nothing

	received *metrics.Counter  // messages; from Metrics
	throttle *lograte.Throttle // of what is logged at the pace of clients
	Logger   *slog.Logger      // nil: slog.Default
}

// ConnectFunc decides about a connection. An error refuses it: with the status
// of a [*Refusal], else 403.
type ConnectFunc func(ctx context.Context, r *ConnectRequest) (*channels.Socket, error)

// ConnectRequest is what a connect hook may judge a connection by.
type ConnectRequest struct {
	Params     Params
	Token      string // sent by subprotocol or header; a "token" parameter is among Params
	Header     http.Header
	RemoteAddr string // of the connection, or without a port where a trusted proxy names it
	Transport  string // such as "websocket"
}

// ErrUnavailable is what a hook returns, or wraps, that cannot decide now: a client that
// tries again later may be let in.
var ErrUnavailable = errors.New("unavailable")

// Refusal refuses a connection with a status of HTTP.
type Refusal struct {
	Status int
	Reason string // sent to the client
	Cause  Cause  // for the metrics; empty: the hook's own
}

// Cause is what a connection is refused for, as the metrics have it.
type Cause string

// Causes that there are beside the endpoint's own.
const (
	TokenMissing Cause = "token_missing"
	TokenInvalid Cause = "token_invalid"
	TokenExpired Cause = "token_expired"
	TokenRevoked Cause = "token_revoked"
	Unavailable  Cause = "unavailable" // it cannot be decided now
)

func (r *Refusal) Error() string { return fmt.Sprintf("refused (%d): %s", r.Status, r.Reason) }

// withDefaults fills in what is zero, and says what cannot be.
func (c Config) withDefaults() (Config, error) {
	if c.Host == nil || c.Routes == nil {
		return c, errors.New("socket: Config needs Host and Routes")
	}
	for name, value := range map[string]int64{
		"MailboxSize":      int64(c.Options.MailboxSize),
		"DedupeWindow":     int64(c.Options.DedupeWindow),
		"DedupeEntries":    int64(c.Options.DedupeEntries),
		"MailboxBytes":     int64(c.MailboxBytes),
		"MaxConnections":   int64(c.MaxConnections),
		"MaxChannels":      int64(c.MaxChannels),
		"MaxMessageBytes":  int64(c.MaxMessageBytes),
		"MaxBodyBytes":     int64(c.MaxBodyBytes),
		"InboundQueue":     int64(c.InboundQueue),
		"InboundBytes":     int64(c.InboundBytes),
		"InboundRate":      int64(c.InboundRate),
		"Writers":          int64(c.Writers),
		"HandshakeTimeout": int64(c.HandshakeTimeout),
		"HeartbeatTimeout": int64(c.HeartbeatTimeout),
		"WriteTimeout":     int64(c.WriteTimeout),
		"MaxConnectionAge": int64(c.MaxConnectionAge),
		"DrainTimeout":     int64(c.DrainTimeout),
	} {
		if value < 0 {
			return c, fmt.Errorf("socket: %s is %d: must not be negative", name, value)
		}
	}
	c.Path = "/" + strings.Trim(cmp.Or(c.Path, DefaultPath), "/")
	c.Writers = cmp.Or(c.Writers, runtime.GOMAXPROCS(0))
	c.Options = c.Options.WithDefaults()
	c.MailboxBytes = cmp.Or(c.MailboxBytes, DefaultMailboxBytes)
	c.MaxChannels = cmp.Or(c.MaxChannels, DefaultMaxChannels)
	c.InboundQueue = cmp.Or(c.InboundQueue, channels.DefaultInboundQueue)
	c.InboundBytes = cmp.Or(c.InboundBytes, DefaultInboundBytes)
	c.MaxMessageBytes = cmp.Or(c.MaxMessageBytes, DefaultMaxMessageBytes)
	c.MaxBodyBytes = cmp.Or(c.MaxBodyBytes, DefaultMaxBodyBytes)
	c.HandshakeTimeout = cmp.Or(c.HandshakeTimeout, DefaultHandshakeTimeout)
	c.HeartbeatTimeout = cmp.Or(c.HeartbeatTimeout, DefaultHeartbeatTimeout)
	c.WriteTimeout = cmp.Or(c.WriteTimeout, DefaultWriteTimeout)
	c.DrainTimeout = cmp.Or(c.DrainTimeout, DefaultDrainTimeout)
	c.closeTimeout = cmp.Or(c.closeTimeout, closeTimeout)
	if c.Connect == nil {
		c.Connect = func(context.Context, *ConnectRequest) (*channels.Socket, error) {
			return new(channels.Socket), nil
		}
	}
	if c.Open == nil {
		c.Open = func() bool { return false }
	}
	if c.Holds == nil {
		c.Holds = func(*channels.Socket) bool { return true }
	}
	if c.Admit == nil {
		c.Admit = func(*channels.Socket) error { return nil }
	}
	if c.Addresses == nil {
		c.Addresses = connlimit.NewAddresses(0, nil)
	}
	if c.Users == nil {
		c.Users = connlimit.NewUsers(0)
	}
	if c.Pace == nil {
		c.Pace = rate.NewLimiter(rate.Inf, 0)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}
