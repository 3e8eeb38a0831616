package socket

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/internal/httpserver"
	"github.com/sluicehq/sluice/internal/lograte"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// Endpoint is a mount where clients connect: an http.Handler for all below
// Config.Path. Several endpoints, for different kinds of users, may share one
// Host.
//
// The http.Server around it should set ReadHeaderTimeout and IdleTimeout, which
// bound what comes before a request and between two. The endpoint bounds the
// rest: a handler between must let http.ResponseController through.
type Endpoint struct {
	// Immutable after New.
	config    Config
	gate      gate
	metrics   endpointMetrics
	tokens    sessionTokens
	name      string // stands before the serial numbers of connections
	guard     *httpserver.Guard
	handler   http.Handler    // serve, guarded
	context   context.Context // of handlers: cancelled when connections are cut
	cancel    context.CancelFunc
	accepting context.Context // of polls that other nodes answer: cancelled when draining begins
	refuse    context.CancelFunc

	group sync.WaitGroup // one for each connection
	loops loopPool       // serves the connections that have no goroutine of their own

	mu sync.Mutex

	// Guarded by mu.
	connections map[connection]struct{}
	serial      uint64                      // of the connection that was registered last
	longpolls   map[string]*longpollSession // those of the connections that are long-polls, by token
	reserved    int                         // connections, those in their handshake included
	handing     int                         // requests of long-polls that other nodes answer
	draining    bool
}

// connection is one of any transport.
type connection interface {
	// about is the session that the connection carries, and the name of the
	// transport.
	about() (s *session, transport string)

	// shut closes the connection in an orderly way: what is queued is sent,
	// unless there is a reason to discard it. It does not wait, and returns
	// false if the connection is being closed already.
	shut(f closeInfo, discard outbound.DropReason) bool

	// cut closes the connection without a word.
	cut(reason closeReason, discard outbound.DropReason)
}

// New returns an endpoint that accepts connections right away. Whoever serves
// it must also Run it.
func New(config Config) (*Endpoint, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	measures := newEndpointMetrics(config.Metrics)
	config.received = measures.received
	config.throttle = lograte.New(logEvery)
	e := &Endpoint{
		config:      config,
		metrics:     measures,
		tokens:      newSessionTokens(),
		name:        "socket:" + strings.ToLower(rand.Text()[:8]) + ".",
		connections: make(map[connection]struct{}),
		longpolls:   make(map[string]*longpollSession),
		guard:       httpserver.New(httpserver.Deadlines{Write: config.WriteTimeout}),
	}
	e.handler = e.guard.Handler(http.HandlerFunc(e.serve))
	e.gate = gate{own: config.OwnOrigin, open: config.Open}
	if e.gate.list, err = parseOrigins(config.Origins); err != nil {
		return nil, err
	}
	e.context, e.cancel = context.WithCancel(context.Background())
	e.accepting, e.refuse = context.WithCancel(context.Background())
	if config.Handover != nil {
		e.tokens = config.Handover.tokens()
		config.Handover.add(e)
	}
	return e, nil
}

// ServeHTTP accepts connections. It returns when the handshake is over; the
// connection lives on in goroutines that Run waits for.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.handler.ServeHTTP(w, r) }

func (e *Endpoint) serve(w http.ResponseWriter, r *http.Request) {
	if !e.gate.answersTo(r) {
		e.reject(w, r, &rejection{rejectedOrigin, http.StatusForbidden, "the listener does not answer to this host name",
			"use localhost or an IP address, or list the host in --origins"})
		return
	}
	switch strings.TrimPrefix(path.Clean(r.URL.Path), e.config.Path) { // empty segments do not count
	case "/websocket":
		e.websocket(w, r)
	case "/longpoll":
		e.longpoll(w, r)
	case "/sse":
		e.sse(w, r)
	default:
		respond(w, http.StatusNotFound, "not found",
			"the socket is at "+e.config.Path+"/websocket, "+e.config.Path+"/longpoll and "+e.config.Path+"/sse")
	}
}

// Disconnect closes all connections whose socket has this ID, and says how
// many. One that the connect hook gave none has one of its own: see [SocketInfo].
func (e *Endpoint) Disconnect(id string) int {
	n := 0
	serial := e.serialOf(id)
	for _, c := range e.snapshot() {
		s, _ := c.about()
		own := s.current().ID
		if (own == id && id != "" || own == "" && s.serial == serial) && c.shut(disconnected, "") {
			n++
		}
	}
	return n
}

// SocketInfo describes an open connection.
type SocketInfo struct {
	ID         string    `json:"id"`        // what the connect hook named it, or else one of its own
	Mount      string    `json:"mount"`     // the path of its endpoint
	Transport  string    `json:"transport"` // "websocket", "longpoll" or "sse"
	RemoteAddr string    `json:"remote_addr"`
	Channels   int       `json:"channels"` // topics joined
	Opened     time.Time `json:"opened"`

	Mailbox      int `json:"mailbox"`       // messages that wait for the client, of all its channels
	MailboxBytes int `json:"mailbox_bytes"` // that it is charged for them, replies included
	Behind       int `json:"behind"`        // channels for which events are read from the log again, as they did not fit or the client resumes
}

// List describes all open connections, the oldest first.
func (e *Endpoint) List() []SocketInfo {
	connections := e.snapshot()
	list := make([]SocketInfo, 0, len(connections))
	for _, c := range connections {
		s, transport := c.about()
		socket := s.current()
		info := SocketInfo{ID: socket.Name, Mount: e.config.Path, Transport: transport, RemoteAddr: socket.RemoteAddr, Opened: time.Unix(0, s.opened)}
		s.describe(&info)
		list = append(list, info)
	}
	slices.SortFunc(list, func(a, b SocketInfo) int { return a.Opened.Compare(b.Opened) })
	return list
}

// Sockets is the number of open connections.
func (e *Endpoint) Sockets() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.connections)
}

// admission is a place that is reserved for a connection: the caller registers or
// releases it.
type admission struct {
	socket *channels.Socket
	format outbound.Format
	leave  func() // gives back what the client's address and the user hold; nil if that is not counted
}

// admit runs the checks that all transports share, in the order of their cost,
// and asks the connect hook.
func (e *Endpoint) admit(r *http.Request, params Params, token string) (admission, *rejection) {
	format, ok := phoenix.ParseVersion(params.Get("vsn"))
	if !ok {
		return admission{}, &rejection{rejectedVersion, http.StatusForbidden,
			"unsupported protocol version", "vsn must be 1.0.x or 2.0.x"}
	}
	admitted, rejected := e.enter(r, params, token)
	admitted.format = format
	return admitted, rejected
}

// enter is admit for what has no version of the protocol.
func (e *Endpoint) enter(r *http.Request, params Params, token string) (admission, *rejection) {
	if !e.gate.allows(r) {
		return admission{}, pageRejected()
	}
	client := e.config.Addresses.Client(r)
	leave, rejected := e.reserve(client)
	if rejected != nil {
		return admission{}, rejected
	}
	socket, err := e.connect(r, client, params, token)
	if err != nil {
		e.release(leave)
		rejected := &rejection{rejectedHook, http.StatusForbidden, "connection refused", "the server's access rules refuse it"}
		var explicit *Refusal
		if errors.As(err, &explicit) {
			rejected.status, rejected.text = explicit.Status, explicit.Reason
			if _, known := e.metrics.rejected[rejectReason(explicit.Cause)]; known {
				rejected.reason = rejectReason(explicit.Cause)
			}
		} else {
			e.config.hookFailed("connect", r.RemoteAddr, err)
		}
		return admission{}, rejected
	}
	done, ok := e.config.Users.Reserve(socket.ID)
	if !ok {
		e.release(leave)
		return admission{}, &rejection{rejectedCapacity, http.StatusServiceUnavailable,
			tooManyOfUser, "the limit of connections of a user is reached: close one"}
	}
	return admission{socket: socket, leave: both(leave, done)}, nil
}

// both calls two functions, of which each may be nil; nil if both are.
func both(one, other func()) func() {
	switch {
	case one == nil:
		return other
	case other == nil:
		return one
	}
	return func() { one(); other() }
}

// remoteAddr is where a request comes from: the connection's other end, unless a
// trusted proxy says for whom it is.
func remoteAddr(r *http.Request, client netip.Addr) string {
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); client.IsValid() && err == nil && peer.Addr().Unmap().WithZone("") != client {
		return client.String()
	}
	return r.RemoteAddr
}

// connect asks the connect hook.
func (e *Endpoint) connect(r *http.Request, client netip.Addr, params Params, token string) (*channels.Socket, error) {
	ctx, cancel := context.WithTimeout(r.Context(), e.config.HandshakeTimeout)
	defer cancel()
	request := &ConnectRequest{Params: params, Token: token, Header: r.Header, RemoteAddr: remoteAddr(r, client),
		Transport: path.Base(path.Clean(r.URL.Path))} // they are served by these names
	socket, err := guard("connect", func() (*channels.Socket, error) { return e.config.Connect(ctx, request) })
	switch {
	case err != nil:
		return nil, err
	case socket == nil:
		return nil, errors.New("connect hook returned neither a socket nor an error")
	}
	own := *socket // the hook may give the same one to many
	own.RemoteAddr, own.Transport = request.RemoteAddr, request.Transport
	return &own, nil
}

// errHookPanicked is wrapped by guard's error.
var errHookPanicked = errors.New("hook panicked")

// guard calls one of the application's hooks. A panic in it is an error, for the
// connection that it was called for alone.
func guard(hook string, call func() (*channels.Socket, error)) (_ *channels.Socket, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%s %w: %v\n%s", hook, errHookPanicked, v, debug.Stack())
		}
	}()
	return call()
}

// hookFailed logs that one of the application's hooks failed, once in a while.
func (c *Config) hookFailed(hook, remoteAddr string, err error) {
	if withheld, ok := c.throttle.Allow(hook + " hook"); ok {
		c.Logger.Warn(hook+" hook failed", "remote_addr", remoteAddr, "error", err, "failed_since", withheld)
	}
}

// reserve makes room for a client's connection. Release gives it back.
func (e *Endpoint) reserve(client netip.Addr) (leave func(), rejected *rejection) {
	leave, ok := e.config.Addresses.Reserve(client)
	if !ok {
		return nil, &rejection{rejectedCapacity, http.StatusServiceUnavailable,
			tooManyOfClient, "the limit of connections of an address is reached"}
	}
	if rejected := e.reserveAny(); rejected != nil {
		if leave != nil {
			leave()
		}
		return nil, rejected
	}
	return leave, nil
}

func (e *Endpoint) reserveAny() *rejection {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.draining:
		return &rejection{rejectedDrain, http.StatusServiceUnavailable,
			"shutting down", "connect again: another node, or this one once it is back, takes over"}
	case e.config.MaxConnections > 0 && e.reserved >= e.config.MaxConnections:
		return &rejection{rejectedCapacity, http.StatusServiceUnavailable,
			tooMany, "the limit of connections of this node is reached"}
	case !e.config.Pace.Allow():
		return &rejection{rejectedCapacity, http.StatusServiceUnavailable,
			tooSoon, "connect again in a moment: this node takes so many in a second"}
	}
	e.reserved++
	e.group.Add(1)
	return nil
}

// release gives back what reserve took.
func (e *Endpoint) release(leave func()) {
	if leave != nil {
		leave()
	}
	e.mu.Lock()
	e.reserved--
	e.mu.Unlock()
	e.group.Done()
}

// register makes a reserved connection one of the endpoint's. It returns false
// if the endpoint has begun to drain meanwhile.
func (e *Endpoint) register(c connection) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.draining {
		return false
	}
	e.connections[c] = struct{}{}
	if p, ok := c.(*longpollSession); ok {
		e.longpolls[p.token] = p
	}
	s, transport := c.about()
	e.metrics.opened[transport].Add(1)
	e.metrics.sockets[transport].Add(1)
	e.serial++
	s.serial = e.serial
	own := s.current() // the connection's own, which nobody else has yet
	own.Name = cmp.Or(own.ID, e.idOf(s.serial))
	s.begin(c)
	return true
}

// remove ends what register and reserve began.
func (e *Endpoint) remove(c connection, reason closeReason) {
	s, transport := c.about()
	e.metrics.sockets[transport].Add(-1)
	e.metrics.closed[reason].Add(1)
	e.mu.Lock()
	delete(e.connections, c)
	if p, ok := c.(*longpollSession); ok {
		delete(e.longpolls, p.token)
	}
	e.mu.Unlock()
	e.release(s.leave)
}

// snapshot lists the open connections.
func (e *Endpoint) snapshot() []connection {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Collect(maps.Keys(e.connections))
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
