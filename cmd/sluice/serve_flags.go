package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/sluicehq/sluice"
)

// configFlags is [sluice.Config] with what the command line needs to know of
// each field. The two are converted into each other, which the compiler allows
// only while they have the same fields: no setting can lack its flag.
type configFlags struct {
	Listen      string `group:"Listeners" placeholder:"HOST:PORT" help:"Address of the public listener, for sockets and GET /healthz; none: there is no such listener."`
	AdminListen string `group:"Listeners" placeholder:"HOST:PORT" help:"Address of the admin listener: console, HTTP API, health and metrics; none: there is no such listener."`
	TLSCert     string `group:"Listeners" name:"tls-cert" placeholder:"FILE" help:"PEM file with the certificate of the public listener; none: plain HTTP."`
	TLSKey      string `group:"Listeners" name:"tls-key" placeholder:"FILE" help:"PEM file with the certificate's key."`

	AdminTLSCert string `group:"Listeners" name:"admin-tls-cert" placeholder:"FILE" help:"PEM file with the certificate of the admin listener; none: plain HTTP."`
	AdminTLSKey  string `group:"Listeners" name:"admin-tls-key" placeholder:"FILE" help:"PEM file with that certificate's key."`

	SocketPath string `group:"Listeners" placeholder:"PATH" help:"Path of the public socket."`
	Node       string `group:"Store" placeholder:"NAME" help:"Names this node's cursor and metrics; one node on a database at a time has it, another waits for 15 s and is refused. By default the machine's name."`

	DatabaseURL string        `group:"Store" placeholder:"URL" also:"DATABASE_URL" help:"Postgres to use; none: the embedded store."`
	DataDir     string        `group:"Store" placeholder:"DIR" help:"Folder of the embedded store; it is created."`
	Retention   time.Duration `group:"Store" help:"How long the log keeps events: how long a client may be away and still resume; 0: for ever."`
	Migrate     *bool         `group:"Store" help:"Create or upgrade the tables at start; turn off with --migrate=false."`
	Start       string        `group:"Store" placeholder:"WHERE" help:"Where to begin to read: committed (after the node's cursor; with none yet, earliest), head, earliest, or after an offset that the log has reached."`

	MaxDemand    int             `group:"Stages" help:"Events under way in one lane at most: more smooths over slow spells, fewer bounds memory and latency."`
	MinDemand    int             `group:"Stages" help:"Events under way before a lane asks for more; 0: half of --max-demand."`
	FetchSize    int             `group:"Stages" help:"Events that one read of the log brings at most."`
	FetchBytes   sluice.ByteSize `group:"Stages" help:"A read of the log ends early once payloads exceed this, and waits while twice as much is on its way to mailboxes."`
	PollInterval time.Duration   `group:"Stages" help:"How often the store is asked for events of which no notification came: how late one is noticed when that was lost. PostgreSQL is asked each second only, while nothing happens and notifications are known to come."`
	BatchSize    int             `group:"Stages" help:"Events encoded and routed together at most."`
	BatchTimeout time.Duration   `group:"Stages" help:"How long an incomplete batch waits for more; 0: never, when there is something to send."`
	Lanes        int             `group:"Stages" help:"Lanes that topics are partitioned over; order holds within a topic. 0: one per core."`
	Writers      int             `group:"Stages" help:"Goroutines that write to the sockets, except where each has its own, as under TLS. 0: one per core."`
	RateLimit    int             `group:"Stages" help:"Events delivered per second at most; 0: no limit."`

	MailboxSize      int             `group:"Mailboxes" help:"Messages waiting for one channel at most."`
	MailboxBytes     sluice.ByteSize `group:"Mailboxes" help:"Bytes waiting for one connection at most, and half as many more of what a flush-interval has collected."`
	Overflow         sluice.Overflow `group:"Mailboxes" placeholder:"RULE" help:"What happens when a mailbox is full: catch-up, drop-oldest, drop-newest, latest or disconnect."`
	Compress         bool            `group:"Mailboxes" help:"Compress messages for the clients of WebSocket that offer it (permessage-deflate)."`
	CompressMinBytes sluice.ByteSize `group:"Mailboxes" help:"Messages of fewer bytes than this are not compressed."`
	Recent           sluice.ByteSize `group:"Mailboxes" help:"Memory for replaying recent events without asking the store; a quarter of it, 4 MiB at least, bounds replays under way."`

	Relay      sluice.RelayMode `group:"Cluster" placeholder:"MODE" help:"Whether the log is read through the bus between nodes: auto (where there is one, so that many nodes read the database about once) or off."`
	RelayBytes sluice.ByteSize  `group:"Cluster" help:"Memory for what has come so; a node that is further behind than it reaches reads the database."`

	Dedupe        sluice.Dedupe `group:"Dedupe" placeholder:"BY" help:"What makes an event a repeat, which is withheld: offset, key or payload."`
	DedupeWindow  time.Duration `group:"Dedupe" help:"How far apart a repeat may have been inserted."`
	DedupeEntries int           `group:"Dedupe" help:"Messages that a channel remembers having sent at most, at up to 48 bytes each."`

	JWTSecretFile string `group:"Access" name:"jwt-secret-file" placeholder:"FILE" help:"File with the secret that signs the clients' tokens (HS256, HS384, HS512)."`
	JWTKeysFile   string `group:"Access" name:"jwt-keys-file" placeholder:"FILE" help:"File with public keys for the clients' tokens, as a JSON Web Key Set."`
	JWTKeysURL    string `group:"Access" name:"jwt-keys-url" placeholder:"URL" help:"Where such a set is fetched from, https off loopback; every five minutes, and sooner for a token of an unknown key."`

	JWTPreviousSecretFile string `group:"Access" name:"jwt-previous-secret-file" placeholder:"FILE" help:"File with the secret before that of --jwt-secret-file, while tokens are signed by either."`
	JWTPreviousUntil      string `group:"Access" name:"jwt-previous-until" placeholder:"TIME" help:"When that one counts no more, such as 2026-08-01T00:00:00Z."`

	JWTIssuer               string          `group:"Access" name:"jwt-issuer" placeholder:"ISS" help:"What a token's iss must be; none: it is not looked at."`
	JWTAudience             []string        `group:"Access" name:"jwt-audience" placeholder:"AUD" help:"What a token's aud must be or list, one of these; none: it is not looked at."`
	JWTAlgorithms           []string        `group:"Access" name:"jwt-algorithms" placeholder:"ALG" help:"Signatures that are accepted, such as RS256,ES256; none: all that the keys are for."`
	JWTLeeway               time.Duration   `group:"Access" name:"jwt-leeway" help:"How far apart the issuer's clock and this one's may be."`
	JWTRequireExp           *bool           `group:"Access" name:"jwt-require-exp" help:"Refuse tokens that never expire; turn off with --jwt-require-exp=false."`
	Anonymous               *bool           `group:"Access" help:"Clients may connect without a token: so by default on loopback where there are no keys, only when asked for elsewhere."`
	Origins                 []string        `group:"Access" placeholder:"//HOST" help:"Origins that browsers may connect from, such as //example.org,//*.example.org; file:// and other schemes, null, and * for all. None: the request's own host, any port."`
	AdminTokenFile          string          `group:"Access" placeholder:"FILE" help:"File with the bearer token of the admin listener, 16 characters at least; required off loopback."`
	AdminToken              string          `kong:"-"`
	AdminReadTokenFile      string          `group:"Access" placeholder:"FILE" help:"File with a bearer token that may read and nothing else, for who gathers metrics."`
	MaxConnections          int             `group:"Access" help:"Open connections at most, beyond which clients are answered 503; 0: no bound."`
	MaxConnectionsPerIP     int             `name:"max-connections-per-ip" group:"Access" help:"Open sockets of one client address at most, an IPv6 /64 being one, beyond which clients are answered 503; 0: no bound."`
	MaxConnectionsPerUser   int             `group:"Access" help:"Open sockets of one user on this node at most, by the token's sub, beyond which it is answered 503; 0: no bound."`
	MaxConnectionsPerSecond int             `group:"Access" help:"Sockets that this node opens in a second at most, and at once; clients that come sooner are answered 503, and the stock ones come again; 0: no bound."`
	TrustedProxies          []string        `group:"Access" placeholder:"NETWORK" help:"Addresses and networks of proxies whose X-Forwarded-For says who the client is, such as 10.0.0.0/8."`
	MaxChannels             int             `group:"Access" help:"Joined channels of one socket at most."`
	MaxMessageBytes         sluice.ByteSize `group:"Access" help:"Size of a client's message at most."`
	InboundQueue            int             `group:"Access" help:"Messages of a client that may wait for one channel; beyond, they are answered overloaded."`
	InboundBytes            sluice.ByteSize `group:"Access" help:"What one socket may have inbound, joins under way included; beyond, reading waits."`
	InboundRate             int             `group:"Access" help:"Messages per second of one socket, beyond which reading waits; 0: no bound."`
	MaxBodyBytes            sluice.ByteSize `group:"Access" help:"Size of a request at most: to the admin API, or of a long-poll client."`

	MaxPayloadBytes sluice.ByteSize `group:"Access" help:"Size of an event's payload at most, for all ways in; the nodes of a store share what the last one to start was given. 0: what the store says, 1 MiB at first."`

	Topics []sluice.TopicRule `kong:"-"`
	Hooks  sluice.Hooks       `kong:"-"`

	Webhooks []sluice.Webhook `kong:"-"`

	AccessRole        string        `group:"Access" placeholder:"ROLE" help:"Role of the database that functions of topic rules (access: sql) are called as; none: no rule may have one."`
	AccessTimeout     time.Duration `group:"Access" help:"How long such a function may take, and how long a question may wait for its turn before."`
	AccessCache       time.Duration `group:"Access" help:"How long its yes is remembered for a user, a topic and what the token says; 0: it is not."`
	AccessConnections int           `group:"Access" help:"Such questions at a time, each by a connection to the database of its own; sixteen times as many wait."`

	PresenceInterval time.Duration `group:"Presence" help:"How long changes of who is on a topic are gathered before clients and other nodes are told."`
	PresencePermdown time.Duration `group:"Presence" help:"How long the presences of a silent node are kept, unseen, for when it is heard again."`
	MaxPresences     int           `group:"Presence" help:"Presences that this node knows at most, of all nodes together."`

	ClusterListen     string   `group:"Cluster" placeholder:"HOST:PORT" help:"Address where other nodes of the same database connect to this one, to tell each other what is not in it; none: there are no others, or --nats-url connects them."`
	ClusterRoutes     []string `group:"Cluster" placeholder:"HOST:PORT" help:"Where some other nodes listen, one at least that is there already; it tells of the rest."`
	ClusterAdvertise  string   `group:"Cluster" placeholder:"HOST:PORT" help:"Address by which other nodes reach this one, if not by that which they see."`
	ClusterName       string   `group:"Cluster" placeholder:"NAME" help:"Tells clusters apart that share a NATS, beside their databases."`
	ClusterSecretFile string   `group:"Cluster" placeholder:"FILE" help:"File with the secret that all nodes share, 16 bytes at least; required off loopback, of --nats-url too."`
	ClusterTLSCert    string   `group:"Cluster" name:"cluster-tls-cert" placeholder:"FILE" help:"PEM file with this node's certificate for connections between nodes; none: plain TCP."`
	ClusterTLSKey     string   `group:"Cluster" name:"cluster-tls-key" placeholder:"FILE" help:"PEM file with the certificate's key."`
	ClusterTLSCA      string   `group:"Cluster" name:"cluster-tls-ca" placeholder:"FILE" help:"PEM file with the certificates that have signed those of all nodes."`
	NATSURL           string   `group:"Cluster" name:"nats-url" placeholder:"URL" help:"Outside NATS that connects the nodes, in place of --cluster-listen."`
	NATSCredsFile     string   `group:"Cluster" name:"nats-creds-file" placeholder:"FILE" help:"File with the credentials for it."`
	NATSTLSCA         string   `group:"Cluster" name:"nats-tls-ca" placeholder:"FILE" help:"PEM file with the certificates that are trusted to be its own."`

	HeartbeatTimeout time.Duration `group:"Lifecycle" help:"A connection from which nothing came for this long is closed."`
	WriteTimeout     time.Duration `group:"Lifecycle" help:"A connection that accepts nothing of what is written to it for this long is closed, whatever its overflow rule."`
	MaxConnectionAge time.Duration `group:"Lifecycle" help:"Connections are closed at about this age, so that a load balancer can spread them anew; 0: never."`
	DrainTimeout     time.Duration `group:"Lifecycle" help:"How long a clean shutdown may take."`

	OnListen func(public, admin net.Addr) `kong:"-"`
	Console  http.Handler                 `kong:"-"`
	Logger   *slog.Logger                 `kong:"-"`

	StatsD       string            `name:"statsd" group:"Metrics" placeholder:"HOST:PORT" help:"StatsD server to send metrics to; none: they are not sent."`
	StatsDPrefix *string           `name:"statsd-prefix" group:"Metrics" placeholder:"PREFIX" help:"Stands before every name sent to StatsD."`
	StatsDTags   sluice.TagStyle   `name:"statsd-tags" group:"Metrics" placeholder:"FORMAT" help:"How tags are written: datadog, influx or graphite."`
	Tags         map[string]string `name:"tag" group:"Metrics" mapsep:"," help:"Tag that stands on every metric; can be repeated."`
}

// config is what the service is told. Zero where that is not the default was given, and
// is the default for [sluice.Config]: it is told as what it means, or refused.
func (f configFlags) config() (sluice.Config, error) {
	var errs []error
	given, otherwise := reflect.ValueOf(&f).Elem(), reflect.ValueOf(sluice.DefaultConfig())
	for i := range given.NumField() {
		field, name := given.Field(i), given.Type().Field(i).Name
		if !field.IsZero() || otherwise.Field(i).IsZero() {
			continue
		}
		if !field.CanInt() {
			errs = append(errs, &sluice.FieldError{Field: name, Given: "", Allowed: "a value; without it, it is " + text(otherwise.Field(i).Interface())})
			continue
		}
		nothing := sluice.DefaultConfig()
		reflect.ValueOf(&nothing).Elem().Field(i).SetInt(sluice.None)
		if wrong := new(sluice.FieldError); errors.As(nothing.Validate(), &wrong) {
			errs = append(errs, &sluice.FieldError{Field: name, Given: fmt.Sprint(field.Interface()), Allowed: wrong.Allowed})
			continue
		}
		field.SetInt(sluice.None)
	}
	return sluice.Config(f), errors.Join(errs...)
}

// ruleField is a field of a rule for topics, as a [sluice.FieldError] names it.
var ruleField = regexp.MustCompile(`^Topics\[(\d+)\]\.(\w+)$`)

// flagOf names the flag that sets a field of [sluice.Config], with its dashes;
// what only a file can set goes by its key there. Rules are counted from 1.
func flagOf(field string) string {
	if part := ruleField.FindStringSubmatch(field); part != nil {
		index, _ := strconv.Atoi(part[1]) // of digits
		return fmt.Sprintf("%s: rule %d: %s", topicsKey, index+1, kebab(part[2]))
	}
	if part := webhooksField.FindStringSubmatch(field); part != nil {
		index, _ := strconv.Atoi(part[1]) // of digits
		return webhookName(index) + ": " + kebab(part[2])
	}
	if part := hooksField.FindStringSubmatch(field); part != nil {
		return hooksName(part)
	}
	if f, ok := reflect.TypeFor[configFlags]().FieldByName(field); ok {
		if name := f.Tag.Get("name"); name != "" {
			return "--" + name
		}
		if f.Tag.Get("kong") == "-" {
			return kebab(field)
		}
	}
	return "--" + kebab(field)
}

// readToken reads an admin token from its file; no path, no token.
func readToken(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	content, err := os.ReadFile(path)
	token := strings.TrimSpace(string(content))
	if err != nil || token == "" || strings.ContainsAny(token, "\r\n") {
		return "", &usageError{"--admin-token-file", path, "a file that can be read, with the token as its one line"}
	}
	return token, nil
}
