package socket

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/sluicehq/sluice/channels"
)

// Endpoint is a mount where clients connect: an http.Handler for all below
// Config.Path. Several endpoints, for different kinds of users, may share one Host.
type Endpoint struct {
	// Immutable after New.
	config  Config
	origins []origin
	meters  meters
	context context.Context // of handlers: cancelled when connections are cut
	cancel  context.CancelFunc

	group sync.WaitGroup // one for each connection

	mu       sync.Mutex
	conns    map[*conn]struct{} // guarded by mu
	reserved int                // connections, those in their handshake included; guarded by mu
	draining bool               // guarded by mu
}

// New returns an endpoint that accepts connections right away. Whoever serves
// it must also Run it.
func New(config Config) (*Endpoint, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	e := &Endpoint{config: config, meters: newMeters(config.Metrics), conns: make(map[*conn]struct{})}
	for _, pattern := range config.Origins {
		o, err := parseOrigin(pattern)
		if err != nil {
			return nil, err
		}
		e.origins = append(e.origins, o)
	}
	e.context, e.cancel = context.WithCancel(context.Background())
	return e, nil
}

// ServeHTTP accepts connections. It returns when the handshake is over; the connection
// lives on in goroutines that Run waits for.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch strings.TrimPrefix(r.URL.Path, e.config.Path) {
	case "/websocket":
		e.websocket(w, r)
	default:
		respond(w, http.StatusNotFound, "not found", "the socket is at "+e.config.Path+"/websocket")
	}
}

// Disconnect closes all connections whose socket has this ID, and says how many.
func (e *Endpoint) Disconnect(id string) int {
	n := 0
	for _, c := range e.connections() {
		if id != "" && c.session.socket.ID == id && c.shut(disconnected, "") {
			n++
		}
	}
	return n
}

// Sockets is the number of open connections.
func (e *Endpoint) Sockets() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.conns)
}

// refusal says what is wrong with a request, to its client and to the metrics.
type refusal struct {
	reason refuseReason
	status int
	text   string
	hint   string
}

// admit runs the checks that all transports share, in the order of their cost, and asks the
// connect hook. If all is well, a connection is reserved: the caller
// registers or releases it.
func (e *Endpoint) admit(r *http.Request) (*channels.Socket, channels.Format, *refusal) {
	params := parseParams(r.URL.RawQuery)
	format, ok := versionOf(params.Get("vsn"))
	if !ok {
		return nil, 0, &refusal{refusedVersion, http.StatusForbidden,
			"unsupported protocol version", "vsn must be 1.0.x or 2.0.x"}
	}
	if !checkOrigin(r, e.origins) {
		return nil, 0, &refusal{refusedOrigin, http.StatusForbidden,
			"origin not allowed", "pages of this origin may not connect: see the list of origins"}
	}
	if refused := e.reserve(); refused != nil {
		return nil, 0, refused
	}
	socket, err := e.connect(r, params)
	if err != nil {
		e.release()
		refused := &refusal{refusedConnect, http.StatusForbidden, "connection refused", "the server's access rules refuse it"}
		var explicit *Refusal
		if errors.As(err, &explicit) {
			refused.status, refused.text = explicit.Status, explicit.Reason
		} else {
			e.config.Logger.Warn("connect hook failed", "remote_addr", r.RemoteAddr, "error", err)
		}
		return nil, 0, refused
	}
	return socket, format, nil
}

// connect asks the connect hook.
func (e *Endpoint) connect(r *http.Request, params Params) (_ *channels.Socket, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("connect hook panicked: %v\n%s", v, debug.Stack())
		}
	}()
	ctx, cancel := context.WithTimeout(r.Context(), e.config.HandshakeTimeout)
	defer cancel()
	socket, err := e.config.Connect(ctx, &ConnectRequest{
		Params:     params,
		Token:      bearerToken(r.Header),
		Header:     r.Header,
		RemoteAddr: r.RemoteAddr,
	})
	switch {
	case err != nil:
		return nil, err
	case socket == nil:
		return nil, errors.New("connect hook returned neither a socket nor an error")
	}
	own := *socket // the hook may give the same one to many
	own.RemoteAddr = r.RemoteAddr
	return &own, nil
}

// reserve makes room for a connection.
func (e *Endpoint) reserve() *refusal {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.draining:
		return &refusal{refusedDrain, http.StatusServiceUnavailable,
			"shutting down", "connect again: another node, or this one once it is back, takes over"}
	case e.config.MaxConnections > 0 && e.reserved >= e.config.MaxConnections:
		return &refusal{refusedCapacity, http.StatusServiceUnavailable,
			"too many connections", "the limit of connections of this node is reached"}
	}
	e.reserved++
	e.group.Add(1)
	return nil
}

// release gives back what reserve took.
func (e *Endpoint) release() {
	e.mu.Lock()
	e.reserved--
	e.mu.Unlock()
	e.group.Done()
}

// register makes a reserved connection one of the endpoint's. It returns false if
// the endpoint has begun to drain meanwhile.
func (e *Endpoint) register(c *conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.draining {
		e.conns[c] = struct{}{}
		e.meters.opened.Add(1)
		e.meters.sockets.Add(1)
	}
	return !e.draining
}

// remove ends what register and reserve began.
func (e *Endpoint) remove(c *conn, reason closeReason) {
	e.mu.Lock()
	delete(e.conns, c)
	e.mu.Unlock()
	e.meters.sockets.Add(-1)
	e.meters.closed[reason].Add(1)
	e.release()
}

// connections is a snapshot of the open connections.
func (e *Endpoint) connections() []*conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	conns := make([]*conn, 0, len(e.conns))
	for c := range e.conns {
		conns = append(conns, c)
	}
	return conns
}

// refuse answers a request that does not become a connection.
func (e *Endpoint) refuse(w http.ResponseWriter, r *refusal) {
	e.meters.refused[r.reason].Add(1)
	respond(w, r.status, r.text, r.hint)
}

// respond answers with an error in the form that all of Sluice's HTTP uses.
func respond(w http.ResponseWriter, status int, text, hint string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// An error means that the client has gone.
	_ = json.NewEncoder(w).Encode(struct {
		Error string `json:"error"`
		Hint  string `json:"hint"`
	}{text, hint})
}
