package admin

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/channels/presence"
	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/internal/httpserver"
	"github.com/sluicehq/sluice/internal/lograte"
	"github.com/sluicehq/sluice/internal/logtail"
	"github.com/sluicehq/sluice/internal/revocation"
	"github.com/sluicehq/sluice/internal/timeline"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/socket"
	"github.com/sluicehq/sluice/stages"
	"github.com/sluicehq/sluice/store"
)

// ConsolePath is where the console page's own socket is mounted on the admin
// listener.
const ConsolePath = "/console"

// ViewPath is where the page's other socket is mounted, with which it looks at topics as a
// client does.
const ViewPath = ConsolePath + "/view"

// HealthPath is where both listeners say that the node is alive.
const HealthPath = "/healthz"

// Node is what only the service as a whole can say or do.
type Node interface {
	// Extent is the log's last known offset and the one up to which this node has
	// routed everything.
	Extent() (head, position int64)
	// BroadcastEvents sends events to whoever is joined now, on all nodes, those of one
	// topic together. What cannot be encoded is logged, counted and left out. It returns
	// the names of the nodes that could not be told. With an error, such as
	// cluster.ErrAway or cluster.ErrBusy, nobody was. CheckBroadcast returns one for a payload that other
	// nodes cannot be sent.
	BroadcastEvents(ctx context.Context, events []store.Event) (unreached []string, err error)
	CheckBroadcast(payload []byte) error
	// Sockets describes open connections, the oldest ones and at most limit of
	// them, and says how many there are. CountSockets only says that. SlowestSockets
	// describes those for which most waits.
	Sockets(limit int) (oldest []socket.SocketInfo, total int)
	SlowestSockets(limit int) (slowest []socket.SocketInfo, total int)
	CountSockets() int
	// DisconnectContext closes all sockets of that id, on all nodes, and says how many
	// these were. A [*cluster.UnreachedError] names the nodes that have not answered.
	DisconnectContext(ctx context.Context, id string) (closed int, err error)
	// Webhooks are how the webhooks of the configuration do on this node. EnableWebhook has one
	// that was disabled be sent again, and tells whether it was.
	Webhooks() []Webhook
	EnableWebhook(ctx context.Context, name string) (was bool, err error)
	// Revoke revokes tokens, on all nodes: when it returns, on this one.
	Revoke(ctx context.Context, r store.Revocation) (store.Revocation, error)
}

// Config is what a handler shows and changes. All is required but Revoked and Page.
type Config struct {
	Node     Node
	NodeName string
	Tokens   *Tokens // who may use it

	Bus       cluster.Bus // to the other nodes
	Stream    *stages.Stream
	Hub       *channels.Hub
	Presences *presence.Tracker
	Readiness *stages.Readiness
	Erasures  *stages.Erasures
	Payload   *stages.PayloadBound
	Revoked   *revocation.List // nil where no tokens are verified
	Metrics   *metrics.Set
	Timeline  *timeline.Timeline
	Tail      *logtail.Tail
	Logger    *slog.Logger

	Console http.Handler // of the console's socket, at ConsolePath
	View    http.Handler // of the one at ViewPath
	Page    http.Handler // the console; nil: there is no page

	// MaxBodyBytes bounds the body of a request, BytesText writes such a bound.
	MaxBodyBytes int64
	BytesText    func(bytes int64) string
}

// api serves what a Config has. It changes nothing of it.
type api struct {
	Config
	throttle *lograte.Throttle // of what fails at the pace of requests
	waiting  atomic.Int64      // requests that wait for events
}

// failuresEvery is how often the log tells that requests fail for one reason.
const failuresEvery = time.Minute

// New returns all that the admin listener serves.
func New(c Config) http.Handler {
	a := &api{Config: c, throttle: lograte.New(failuresEvery)}
	return a.handler()
}

// route is an endpoint of the listener.
type route struct {
	method, path string // as http.ServeMux takes them
	handle       http.HandlerFunc
	open         bool // to who brings no token
}

// routes are all that there is, but for the console's socket.
func (a *api) routes() []route {
	return []route{
		{"POST", "/api/events", a.postEvents, false},
		{"POST", "/api/broadcast", a.postBroadcast, false},
		{"POST", "/api/erase", a.postErase, false},
		{"POST", "/api/consumers/{name}/enable", a.postConsumerEnable, false},
		{"POST", "/api/revoke", a.postRevoke, false},
		{"GET", "/api/revocations", a.getRevocations, false},
		{"GET", "/api/log", a.getLog, false},
		{"GET", "/api/consumers", a.getConsumers, false},
		{"DELETE", "/api/consumers/{name}", a.deleteConsumer, false},
		{"GET", "/api/consumers/{name}/events", a.getConsumerEvents, false},
		{"POST", "/api/consumers/{name}/commit", a.postConsumerCommit, false},
		{"GET", "/api/watched", a.getWatched, false},
		{"GET", "/api/sockets", a.getSockets, false},
		{"DELETE", "/api/sockets/{id}", a.deleteSockets, false},
		{"GET", "/api/topics", a.getTopics, false},
		{"GET", "/api/presence/{topic...}", a.getPresence, false},
		{"GET", "/api/stats", a.getStats, false},
		{"GET", "/api/nodes", a.getNodes, false},
		{"GET", "/api/openapi.yaml", getOpenAPI, false},
		{"GET", "/metrics", a.Metrics.Handler().ServeHTTP, false},
		{"GET", HealthPath, GetHealth, true},
		{"GET", "/readyz", a.getReadiness, true},
		{"GET", "/{$}", a.getPage, true},
	}
}

func (a *api) handler() http.Handler {
	open, guarded := http.NewServeMux(), http.NewServeMux()
	allowed := map[string][]string{}
	for _, r := range a.routes() {
		mux := guarded
		if r.open {
			mux = open
		}
		mux.HandleFunc(r.method+" "+r.path, r.handle)
		if len(allowed[r.path]) == 0 {
			mux.HandleFunc(r.path, func(w http.ResponseWriter, q *http.Request) { notThatWay(w, q, allowed[r.path]) })
		}
		allowed[r.path] = append(allowed[r.path], methods(r.method)...)
		if above, _, ok := strings.Cut(r.path, "/{topic...}"); ok { // where a mux would redirect to itself for ever, as slashes at the end are cut off
			mux.HandleFunc(above, nothingHere)
		}
	}
	guarded.HandleFunc("/", nothingHere)
	authorised := a.authorised(httpserver.Routed(guarded))
	open.Handle("/api/", authorised)
	open.Handle("/metrics", authorised)
	open.Handle(ConsolePath, a.Console)
	open.Handle(ConsolePath+"/", a.Console)
	open.Handle(ViewPath, a.View)
	open.Handle(ViewPath+"/", a.View)
	open.HandleFunc("/", nothingHere)
	return a.sameSite(open)
}

// methods are those that a route's own answers, as http.ServeMux has it.
func methods(own string) []string {
	if own == http.MethodGet {
		return []string{http.MethodGet, http.MethodHead}
	}
	return []string{own}
}

func notThatWay(w http.ResponseWriter, r *http.Request, allowed []string) {
	list := strings.Join(allowed, ", ")
	w.Header().Set("Allow", list)
	httpserver.Refuse(w, http.StatusMethodNotAllowed, "there is no "+r.Method+" "+r.URL.Path, "it takes "+list)
}

func nothingHere(w http.ResponseWriter, r *http.Request) {
	httpserver.Refuse(w, http.StatusNotFound, "there is no "+r.Method+" "+r.URL.Path, "GET /api/openapi.yaml describes the API")
}

// getPage is the console, where there is one.
func (a *api) getPage(w http.ResponseWriter, r *http.Request) {
	if a.Page == nil {
		httpserver.Refuse(w, http.StatusNotFound, "there is no page here", "GET /api/openapi.yaml describes the API")
		return
	}
	a.Page.ServeHTTP(w, r)
}

// authorised lets pass who brings an admin token that allows the request, or
// everyone if there is none (the listener is then on loopback: Config.Validate
// sees to it).
func (a *api) authorised(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		role, digest, err := a.Tokens.judge(r.Context(), r.RemoteAddr, bearer(r.Header.Get("Authorization")))
		switch {
		case err != nil:
			w.Header().Set("Retry-After", "60")
			httpserver.Refuse(w, http.StatusTooManyRequests, err.Error(), "try again later")
		case role == noAdmin:
			w.Header().Set("WWW-Authenticate", `Bearer realm="sluice admin"`) // RFC 6750, section 3
			httpserver.Refuse(w, http.StatusUnauthorized, "the admin token is missing or wrong", "send it as Authorization: Bearer …")
		case role == readAdmin && r.Method != http.MethodGet && r.Method != http.MethodHead:
			httpserver.Refuse(w, http.StatusForbidden, "this token may only read", "use the token of --admin-token-file")
		default:
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), whoKey{}, a.Tokens.who(digest))))
		}
	})
}

// bearer is the token of an Authorization header, "" if there is none. The
// scheme is told apart in any case (RFC 9110, section 11.1).
func bearer(header string) string {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// sameSite keeps other web sites, open in the operator's browser, from using
// a listener that trusts whoever reaches it: neither by a cross-origin
// request nor by a name of their own that resolves to this address (DNS
// rebinding).
func (a *api) sameSite(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		httpserver.Refuse(w, http.StatusForbidden, "another web site made this request", "the admin API is not for pages of other origins")
	}))
	next = protection.Handler(next)
	if a.Tokens.guarded() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !socket.IsLocalName(r.Host) {
			httpserver.Refuse(w, http.StatusForbidden, "the admin listener does not answer to the name "+r.Host,
				"use localhost or an IP address, or set --admin-token-file")
			return
		}
		next.ServeHTTP(w, r)
	})
}
