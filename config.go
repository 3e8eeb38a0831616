package sluice

import (
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
)

// Config is everything that a [Service] can be told. Each field carries the
// name of the program's flag that sets it, in kebab case: MaxDemand is
// --max-demand. A zero field is what [DefaultConfig] has there, so that the zero
// Config works as the program does with no flags.
type Config struct {
	// Where.

	// Listen is the public listener's address, for sockets and GET /healthz.
	// [NoListener]: there is none, [Service.Handler] is mounted in a server of yours.
	Listen string
	// AdminListen is the address of the admin listener: the console, the HTTP
	// API, health and metrics. [NoListener]: there is none; [Service.AdminHandler] may
	// be mounted, and lets nobody in unless an admin token is given.
	AdminListen string
	// TLSCert and TLSKey are PEM files for the public listener, read again once
	// they have changed. Empty: it speaks plain HTTP.
	TLSCert, TLSKey string
	// AdminTLSCert and AdminTLSKey are the same for the admin listener.
	AdminTLSCert, AdminTLSKey string
	// SocketPath is where the public socket is mounted.
	SocketPath string
	// Node names this node: its cursor and its metrics. Two nodes on one database
	// need two names: a second waits for up to 15 s for the first to end, and is
	// refused then.
	Node string

	// Store.

	// DatabaseURL is a Postgres URL or keyword string. Empty: the embedded
	// store in DataDir.
	DatabaseURL string
	// DataDir is the embedded store's folder; it is created.
	DataDir string
	// Retention is how long the log keeps events, from when they were sequenced:
	// how long a client may be away and still resume. [Unlimited]: for ever.
	Retention time.Duration
	// Migrate creates or upgrades the tables at start. Nil: it does.
	Migrate *bool
	// Start says where a node begins to read: "committed" (the node's cursor;
	// with none yet, "earliest"), "head", "earliest", or an offset to begin after.
	// One above the log's head ends Run with a [*FieldError], once the store is open.
	Start string

	// Stages.

	// MaxDemand is how many events may be under way in one lane: more of them
	// smooths over slow spells, fewer bounds memory and latency.
	MaxDemand int
	// MinDemand is how few may be under way before a lane asks for more.
	// Zero: half of MaxDemand.
	MinDemand int
	// FetchSize is how many events one read of the log brings at most. It
	// follows a smaller MaxDemand.
	FetchSize int
	// FetchBytes ends a read of the log early once payloads exceed it. Nothing is read
	// while twice as much is on its way to the mailboxes.
	FetchBytes ByteSize
	// PollInterval is the net under the wake-ups: how late an event can be
	// noticed when a wake-up was lost. In PostgreSQL that is a second at least
	// after a lull in which wake-ups are known to come.
	PollInterval time.Duration
	// BatchSize is how many events are encoded and routed together at most.
	// It follows a smaller MaxDemand.
	BatchSize int
	// BatchTimeout is how long an incomplete batch waits for more, from its
	// first event. Zero: never wait when there is something to send.
	BatchTimeout time.Duration
	// Lanes is how many lanes topics are partitioned over; order holds within
	// a topic. Zero: one per core.
	Lanes int
	// Writers is how many goroutines write to the sockets of each mount. Zero:
	// one per core.
	// Where connections have writers of their own, as under TLS, it does not
	// count.
	Writers int
	// RateLimit bounds the events that are delivered per second. Zero: none.
	RateLimit int

	// Mailboxes.

	// MailboxSize bounds the messages waiting for one channel.
	MailboxSize int
	// MailboxBytes bounds the bytes waiting for one connection; what a rule's
	// FlushInterval collects comes beside it until it is written, half as much at most.
	MailboxBytes ByteSize
	// Overflow says what happens when a mailbox is full: "catch-up" (the channel
	// reads what it missed once there is room), "drop-oldest", "drop-newest",
	// "latest" (the newest event of each key stays), or "disconnect" (the socket
	// is closed). A channel that was joined with "after" never sheds.
	Overflow Overflow
	// Compress has messages for all on a topic, of CompressMinBytes at least, compressed for the
	// clients of WebSocket that offer it: for less on the wire, at the cost of CPU.
	Compress         bool
	CompressMinBytes ByteSize
	// Recent bounds the memory for replaying recent events without asking the
	// store. A quarter of it, and at least 4 MiB, bounds what has been read from
	// the store for clients that resume and is on its way to them. [None]: only that.
	Recent ByteSize

	// Nodes.

	// Relay says whether this node reads the log through the bus between nodes, and
	// publishes on it what it sequences: "auto" (it does where there is a bus, so that
	// many nodes read the database about once), or "off".
	Relay RelayMode
	// RelayBytes bounds the memory for what has come so. A node that is further behind
	// than it reaches reads the database.
	RelayBytes ByteSize

	// Dedupe.

	// Dedupe says which events a channel withholds as repeats of others that it
	// has sent: "offset" (none but what comes twice), "key" (those with the same
	// key; who has none repeats nothing) or "payload" (those with the same name
	// and payload).
	Dedupe Dedupe
	// DedupeWindow is how far apart two events may have been inserted for one
	// to repeat the other.
	DedupeWindow time.Duration
	// DedupeEntries bounds the messages that a channel remembers having sent,
	// at up to 48 bytes each, 24 if it is a power of two.
	DedupeEntries int

	// Access.

	// JWTSecretFile is a file with the secret that signs tokens (HS256, HS384
	// or HS512), JWTKeysFile one with public keys, as a JSON Web Key Set
	// (RFC 7517), JWTKeysURL where such a set is fetched from, https off loopback. Files
	// are read again once they have changed, the URL is every five minutes, and sooner for
	// a token of an unknown key. Give one of them, or none: then there are no tokens.
	JWTSecretFile, JWTKeysFile, JWTKeysURL string
	// JWTPreviousSecretFile has the secret before that of JWTSecretFile, and
	// JWTPreviousUntil is when it counts no more, such as 2026-08-01T00:00:00Z.
	JWTPreviousSecretFile, JWTPreviousUntil string
	// JWTIssuer and JWTAudience are what a token's iss and aud must say; of
	// several audiences one is enough. Empty: they are not looked at.
	JWTIssuer   string
	JWTAudience []string
	// JWTAlgorithms are the signatures that are accepted, such as RS256. Empty:
	// all that the keys are for.
	JWTAlgorithms []string
	// JWTLeeway is how far apart the clocks of the issuer and of this node may
	// be.
	JWTLeeway time.Duration
	// JWTRequireExp refuses tokens that never expire. Nil: it does.
	JWTRequireExp *bool
	// Anonymous lets clients connect without a token. Nil: only where Listen is
	// loopback and there are no keys.
	Anonymous *bool
	// Origins lists the origins that browsers may connect from: "//host",
	// "//*.host", with scheme and port where they matter (with a scheme and no port,
	// it is the scheme's), "file://" and other schemes, "null", or "*" for all. Empty: the same
	// host as the request's, on any port.
	Origins []string
	// AdminTokenFile is a file with the bearer token of the admin listener, of 16
	// characters at least, read again once it has changed; AdminToken is the
	// token itself. One of them is required where AdminListen is not loopback.
	AdminTokenFile, AdminToken string
	// AdminReadTokenFile is a file with a token that may read, and nothing else,
	// for who gathers metrics.
	AdminReadTokenFile string
	// MaxConnections bounds the open connections of each mount; beyond it
	// clients are answered 503. Zero: no bound.
	MaxConnections int
	// MaxConnectionsPerIP bounds the open sockets of one client address, an IPv6
	// /64 network being one; beyond it clients are answered 503. TCP connections
	// are bounded along with them. Zero: no bound.
	MaxConnectionsPerIP int
	// MaxConnectionsPerUser bounds the open sockets of one user on this node, by the
	// socket's id (of a token its sub); beyond it clients are answered 503. Zero: no bound.
	MaxConnectionsPerUser int
	// MaxConnectionsPerSecond bounds how many sockets this node opens in a second, and
	// at once; clients that come sooner are answered 503. Zero: no bound.
	MaxConnectionsPerSecond int
	// TrustedProxies lists addresses and networks whose X-Forwarded-For is believed.
	TrustedProxies []string
	// MaxChannels bounds the joined channels of one socket.
	MaxChannels int
	// MaxMessageBytes bounds one message from a client.
	MaxMessageBytes ByteSize
	// InboundQueue bounds a client's messages that wait for one channel (the rest are answered
	// "overloaded"), InboundBytes all that a socket has inbound (beyond, reading waits).
	InboundQueue int
	InboundBytes ByteSize
	// InboundRate bounds the messages per second of one socket; beyond it,
	// reading waits. Zero: no bound.
	InboundRate int
	// MaxBodyBytes bounds the body of a request: to the admin API, and of messages
	// that a long-poll client sends together.
	MaxBodyBytes ByteSize

	// MaxPayloadBytes bounds an event's payload, whichever way it comes: pushed by a
	// client, broadcast, by HTTP, from Go or SQL. It is kept in the store, so that all
	// nodes have the same: what the node that was started last was given counts. A row
	// above it is set aside in sluice_rejected. Zero: what the store says, 1 MiB at first.
	MaxPayloadBytes ByteSize

	// Topics are rules for who may join which topic and push to it. None: see
	// [TopicRule].
	Topics []TopicRule
	// Hooks are endpoints of your backend that rules, and who connects, are decided by.
	Hooks Hooks
	// Webhooks are endpoints of your backend that events are sent to.
	Webhooks []Webhook

	// Access by SQL: where a rule has AccessSQL.

	// AccessRole is the role of the database that functions of rules are called as: whom
	// DatabaseURL connects as has to be a member. Give it no more than what the functions
	// need. Empty: no rule may have AccessSQL.
	AccessRole string
	// AccessTimeout is how long an answer may take, and how long a question may wait for its
	// turn before.
	AccessTimeout time.Duration
	// AccessCache is how long a yes is remembered for a user, a topic and what the token
	// says: a reconnect is no question then. Zero: it is not.
	AccessCache time.Duration
	// AccessConnections is how many questions are asked at a time, each by a connection to
	// the database that is there for nothing else. Sixteen times as many wait; beyond these
	// clients are told "unavailable" at once.
	AccessConnections int

	// Presence: who is on a topic, where its rule says that clients are told.

	// PresenceInterval is for how long what changes is gathered before clients and other
	// nodes are told: more of it makes fewer messages of many who come at once.
	PresenceInterval time.Duration
	// PresencePermdown is for how long the presences of a node that is silent are kept,
	// unseen, for when it is heard again.
	PresencePermdown time.Duration
	// MaxPresences bounds the presences that this node knows, of all nodes together, at
	// some 300 bytes each. Beyond, clients are not shown.
	MaxPresences int

	// Cluster.

	// ClusterListen is the address where other nodes' servers connect to that of this one,
	// by which nodes that serve one database tell each other what is not in it: broadcasts,
	// who is to be disconnected. The port 0 is any free one. Off loopback it takes a
	// ClusterSecretFile. Empty: there is no such server.
	ClusterListen string
	// ClusterRoutes are addresses of some other nodes' servers, of one at least that is
	// there already; it tells of the rest.
	ClusterRoutes []string
	// ClusterAdvertise is the address by which other nodes reach this one, if they do not
	// by that which they see.
	ClusterAdvertise string
	// ClusterName tells clusters apart that share a NATS, beside their databases.
	ClusterName string
	// ClusterSecretFile has the secret that nodes know each other by: messages are signed
	// with it, and who lacks it is not let in.
	ClusterSecretFile string
	// ClusterTLSCert, ClusterTLSKey and ClusterTLSCA are PEM files for connections between
	// nodes, where each shows a certificate that the CA has signed. Empty, all three: plain
	// TCP.
	ClusterTLSCert, ClusterTLSKey, ClusterTLSCA string
	// NATSURL is an outside NATS in place of ClusterListen, or several of its addresses with
	// commas between; NATSCredsFile has the credentials for it, NATSTLSCA the certificates
	// that are trusted. Off loopback it takes a ClusterSecretFile.
	NATSURL, NATSCredsFile, NATSTLSCA string

	// Life.

	// HeartbeatTimeout closes a connection that nothing was received from for
	// this long.
	HeartbeatTimeout time.Duration
	// WriteTimeout closes a connection that accepts nothing of what is written to it for
	// this long, whatever its overflow rule says: the client resumes when it comes back.
	WriteTimeout time.Duration
	// MaxConnectionAge closes connections at about that age, so that a load
	// balancer can spread them anew. Zero: never.
	MaxConnectionAge time.Duration
	// DrainTimeout bounds a clean shutdown. [None]: it does not wait.
	DrainTimeout time.Duration

	// OnListen is called once both listeners accept, with their addresses:
	// how to learn the port where one was given as 0; nil stands for [NoListener].
	// Nil: nobody asks.
	OnListen func(public, admin net.Addr)
	// Console serves GET / of the admin listener. Nil: there is no page.
	Console http.Handler

	// Logger receives what the service has to say. Nil: slog.Default().
	Logger *slog.Logger

	// StatsD is the host:port of a StatsD server. Empty: none.
	StatsD string
	// StatsDPrefix stands before every metric name sent to StatsD. Nil: "sluice.".
	StatsDPrefix *string
	// StatsDTags is how tags are written: "datadog", "influx" or "graphite".
	StatsDTags TagStyle
	// Tags stand on every metric.
	Tags map[string]string
}

// What stands for nothing at all in fields of [Config] where zero is the default.
const (
	// Unlimited is a bound that there is not: of Retention.
	Unlimited = -1
	// None is no memory and no time: of Recent and DrainTimeout.
	None = -1
	// NoListener in place of an address opens no listener.
	NoListener = "none"
)

// withDefaults is the configuration with what is zero as DefaultConfig has it, and
// after that with zero for Unlimited and None.
func (c Config) withDefaults() Config {
	given, otherwise := reflect.ValueOf(&c).Elem(), reflect.ValueOf(DefaultConfig())
	for i := range given.NumField() {
		if field := given.Field(i); field.IsZero() {
			field.Set(otherwise.Field(i))
		}
	}
	if c.Retention == Unlimited {
		c.Retention = 0
	}
	if c.Recent == None {
		c.Recent = 0
	}
	if c.DrainTimeout == None {
		c.DrainTimeout = 0
	}
	return c
}

// DefaultConfig is the configuration of a program started with no flags, each field
// with its value.
func DefaultConfig() Config {
	node, err := os.Hostname()
	if err != nil || node == "" {
		node = "sluice"
	}
	return Config{
		Listen:            "127.0.0.1:4000",
		AdminListen:       "127.0.0.1:4001",
		SocketPath:        "/socket",
		Node:              node,
		DataDir:           "./sluice-data",
		Retention:         72 * time.Hour,
		Migrate:           new(true),
		Start:             "committed",
		MaxDemand:         1000,
		FetchSize:         500,
		FetchBytes:        8 << 20,
		PollInterval:      100 * time.Millisecond,
		BatchSize:         500,
		MailboxSize:       1024,
		MailboxBytes:      1 << 20,
		Overflow:          CatchUp,
		CompressMinBytes:  256,
		Recent:            64 << 20,
		Relay:             RelayAuto,
		RelayBytes:        16 << 20,
		Dedupe:            DedupeOffset,
		DedupeWindow:      10 * time.Minute,
		DedupeEntries:     4096,
		JWTRequireExp:     new(true),
		MaxChannels:       100,
		MaxMessageBytes:   64 << 10,
		InboundQueue:      1024,
		InboundBytes:      1 << 20,
		MaxBodyBytes:      8 << 20,
		PresenceInterval:  100 * time.Millisecond,
		PresencePermdown:  time.Minute,
		MaxPresences:      100_000,
		AccessTimeout:     time.Second,
		AccessConnections: 4,
		ClusterName:       "sluice",
		HeartbeatTimeout:  60 * time.Second,
		WriteTimeout:      15 * time.Second,
		DrainTimeout:      30 * time.Second,
		StatsDPrefix:      new("sluice."),
		StatsDTags:        TagsDatadog,
	}
}

// Validate reports every field that cannot be used, each as a [*FieldError],
// joined by [errors.Join]; nil when there is none.
func (c Config) Validate() error {
	c = c.withDefaults()
	var f faults
	c.validate(&f)
	return f.join()
}

func (c *Config) validate(f *faults) {
	for _, each := range c.bounds() {
		each.validate(f)
	}
	oneOf(f, "Overflow", c.Overflow, CatchUp, DropOldest, DropNewest, Latest, Disconnect)
	oneOf(f, "Dedupe", c.Dedupe, DedupeOffset, DedupeKey, DedupePayload)
	oneOf(f, "Relay", c.Relay, RelayAuto, RelayOff)
	oneOf(f, "StatsDTags", c.StatsDTags, TagsDatadog, TagsInflux, TagsGraphite)
	if _, _, ok := c.start(); !ok {
		f.add("Start", c.Start, "committed, head, earliest, or an offset from 0")
	}
	c.validateDatabase(f)
	if !mountable(c.SocketPath) {
		f.add("SocketPath", c.SocketPath, "a path such as /socket, with no slash at its end")
	}
	if !tagValue.MatchString(c.Node) {
		f.add("Node", c.Node, "1 to 200 letters, digits and any of _.-/, since it is a tag of every metric")
	}
	if strings.HasPrefix(c.Node, store.ConsumerCursors) {
		f.add("Node", c.Node, "a name that does not begin with "+store.ConsumerCursors+", as the positions of consumers do")
	}
	if !statsdPrefix.MatchString(*c.StatsDPrefix) {
		f.add("StatsDPrefix", *c.StatsDPrefix, "letters, digits and any of _.-, such as sluice.")
	}
	for _, key := range slices.Sorted(maps.Keys(c.Tags)) {
		validateTag(f, "Tags", key, c.Tags[key])
	}
	for _, address := range []struct {
		field, given, without string
	}{{"Listen", c.Listen, NoListener}, {"AdminListen", c.AdminListen, NoListener}, {"StatsD", c.StatsD, ""}} {
		if address.given == address.without {
			continue
		}
		if _, port, err := net.SplitHostPort(address.given); err != nil || !validPort(port) {
			f.add(address.field, address.given, "host:port, such as 127.0.0.1:4000")
		}
	}
	c.validateAccess(f)
	c.validateCluster(f)
}

func (c *Config) validateDatabase(f *faults) {
	if c.DatabaseURL == "" {
		return
	}
	if err := postgres.CheckURL(c.DatabaseURL); err != nil {
		f.add("DatabaseURL", schemeOf(c.DatabaseURL), err.Error())
	}
}

// options are what the configuration, which is valid, says for all topics.
func (c *Config) options() Options {
	return Options{
		Overflow: c.Overflow, MailboxSize: c.MailboxSize,
		Dedupe: c.Dedupe, DedupeWindow: c.DedupeWindow, DedupeEntries: c.DedupeEntries,
	}
}

// oneOf reports a choice that there is not.
func oneOf[T comparable](f *faults, field string, given T, allowed ...T) {
	if slices.Contains(allowed, given) {
		return
	}
	names := make([]string, len(allowed))
	for i, each := range allowed {
		names[i] = fmt.Sprint(each)
	}
	f.add(field, fmt.Sprint(given), strings.Join(names, ", "))
}

// mountPattern is a path of segments that need no escaping in a URL (RFC 3986,
// section 2.3) and mean nothing to http.ServeMux.
var mountPattern = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`)

func mountable(p string) bool { return mountPattern.MatchString(p) && path.Clean(p) == p }

func (c *Config) logger() *slog.Logger {
	if c.Logger != nil {
		return c.Logger
	}
	return slog.Default()
}
