package sluice

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sluicehq/sluice/internal/admin"
	"github.com/sluicehq/sluice/internal/connlimit"
	"github.com/sluicehq/sluice/internal/httpserver"
	"github.com/sluicehq/sluice/internal/reload"
	"github.com/sluicehq/sluice/metrics"
)

// headerTimeout bounds how long a client may take to send a request's head,
// and how long an idle connection is kept.
const headerTimeout = 10 * time.Second

// maxStreams bounds the requests that a connection of HTTP/2 has under way: what browsers
// take for enough.
const maxStreams = 100

// slowAtDrain is how long requests that stall, or are slow, have to end when it is
// time to stop, if Config.DrainTimeout allows it.
const slowAtDrain = 5 * time.Second

// maxHead bounds a request's line and headers. The http.Server adds bufferedHead to it.
const (
	maxHead      = 16 << 10
	bufferedHead = 4 << 10
)

// servers are the HTTP servers, public and admin, with their listeners; none where
// the configuration says NoListener.
type servers struct {
	timeout time.Duration // for requests under way when it is time to stop
	guard   *httpserver.Guard
	each    []*http.Server
	on      []net.Listener
}

// listen opens the listeners, so that a port in use is an error at start.
func (s *Service) listen(ctx context.Context) (_ *servers, err error) {
	all := &servers{timeout: s.config.DrainTimeout, guard: s.guard}
	defer func() {
		for _, listener := range all.on {
			if err != nil {
				err = errors.Join(err, listener.Close())
			}
		}
	}()
	plan := connlimit.PlanFor(connlimit.Descriptors(), s.config.MaxConnections*s.publicMounts())
	var public, private net.Addr
	secured := s.config.certificates()
	if s.config.Listen != NoListener {
		bounds := &connlimit.Listener{Max: plan.Public, Spare: plan.Spare, Addresses: s.addresses, Refused: s.overCapacity("public", plan.Public)}
		if public, err = s.listenOn(ctx, all, "Listen", secured[0], s.newServer(bounds, s.Handler()), bounds); err != nil {
			return nil, err
		}
	}
	if s.config.AdminListen != NoListener {
		bounds := &connlimit.Listener{Max: plan.Admin, Spare: plan.Spare, Refused: s.overCapacity("admin", plan.Admin)}
		if private, err = s.listenOn(ctx, all, "AdminListen", secured[1], s.newServer(bounds, s.AdminHandler()), bounds); err != nil {
			return nil, err
		}
	}
	s.logger.Info("listening", "public", addressText(public), "admin", addressText(private))
	if s.config.OnListen != nil {
		s.config.OnListen(public, private)
	}
	return all, nil
}

// httpMetrics counts and times requests, by the routes that there are.
func httpMetrics(set *metrics.Set) func(route string, status int, took time.Duration) {
	type answer struct {
		route  string
		status int
	}
	var counters, timings sync.Map // *metrics.Counter by answer, *metrics.Timing by route
	return func(route string, status int, took time.Duration) {
		counter, ok := counters.Load(answer{route, status})
		if !ok {
			counter, _ = counters.LoadOrStore(answer{route, status}, set.Counter(metrics.HTTPRequests, metrics.Route(route), metrics.Status(strconv.Itoa(status))))
		}
		counter.(*metrics.Counter).Add(1)
		timing, ok := timings.Load(route)
		if !ok {
			timing, _ = timings.LoadOrStore(route, set.Timing(metrics.HTTPTime, metrics.Route(route)))
		}
		timing.(*metrics.Timing).Observe(took)
	}
}

func addressText(addr net.Addr) string {
	if addr == nil {
		return NoListener
	}
	return addr.String()
}

// listenOn adds a server with its listener, which has bounds, and a certificate if one
// is given.
func (s *Service) listenOn(ctx context.Context, all *servers, field string, secured certificate, server *http.Server, bounds *connlimit.Listener) (net.Addr, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", secured.listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, &FieldError{field, secured.listen, "an address that no other program uses; another sluice serve may be running"}
	}
	if err != nil {
		return nil, &FieldError{field, secured.listen, fmt.Sprintf("an address of this machine (%v)", err)}
	}
	bounds.Listener = listener
	all.each, all.on = append(all.each, server), append(all.on, bounds)
	if secured.cert == "" {
		return listener.Addr(), nil
	}
	settings, err := s.tls(secured)
	if err != nil {
		return nil, err
	}
	all.on[len(all.on)-1] = tls.NewListener(bounds, settings)
	return listener.Addr(), nil
}

// Handler is all that the public listener serves: the mounts, and GET /healthz. A program
// with a server of its own mounts it there, at the root and with [Config.Listen] set to
// [NoListener]; it serves once [Service.Run] has opened the store. Call it after the
// last [Service.Mount].
//
// That server speaks HTTP/1.1 to sockets, since they are upgrades of it (RFC 6455, section
// 4.1); its own timeouts do not count for them. Where it hands out connections that are no
// plain TCP, as under TLS, each socket has a goroutine, which the log says once.
func (s *Service) Handler() http.Handler {
	return s.guard.Handler(httpserver.CleanPath(withinCapacity(s.publicHandler())))
}

// AdminHandler is all that the admin listener serves, to be mounted at the root of a
// server of one's own, with [Config.AdminListen] set to [NoListener]. Without an admin token
// it lets nobody in; that the node is alive and ready it says to all.
func (s *Service) AdminHandler() http.Handler {
	return s.guard.Handler(httpserver.CleanPath(withinCapacity(s.adminHandler())))
}

// adminHandler is all that the admin listener serves.
func (s *Service) adminHandler() http.Handler { return admin.New(s.adminConfig()) }

func (s *Service) adminConfig() admin.Config {
	return admin.Config{
		Node:         adminView{s},
		NodeName:     s.config.Node,
		Tokens:       s.admin,
		Bus:          s.bus,
		Stream:       &s.stream,
		Hub:          s.hub,
		Presences:    s.presences,
		Readiness:    s.readiness,
		Erasures:     s.erasures,
		Payload:      s.payload,
		Revoked:      s.revoked,
		Metrics:      s.metrics,
		Timeline:     s.timeline,
		Tail:         s.tail,
		Logger:       s.logger,
		Console:      s.console.endpoint,
		View:         s.view.endpoint,
		Page:         s.config.Console,
		MaxBodyBytes: int64(s.config.MaxBodyBytes),
		BytesText:    writeBytes,
	}
}

// publicHandler is all that the public listener serves.
func (s *Service) publicHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+admin.HealthPath, admin.GetHealth)
	for _, m := range s.mounts {
		if !m.private {
			mux.Handle(m.path, m.endpoint)
			mux.Handle(m.path+"/", m.endpoint)
		}
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		httpserver.Refuse(w, http.StatusNotFound, "there is nothing at "+r.URL.Path, "sockets connect to "+s.config.SocketPath+"/websocket")
	})
	return mux
}

// tls is a listener's side of TLS. The public one offers HTTP/2 too, so that a page is not
// left with the six connections that browsers open to a server for streams; clients ask for
// HTTP/1.1 by themselves where they want a WebSocket, an upgrade of that (RFC 6455, section 4.1).
func (s *Service) tls(secured certificate) (*tls.Config, error) {
	certificate, err := reload.Read(s.logger, func() (*tls.Certificate, error) {
		cert, err := reload.ReadFile(secured.cert, reload.Public, s.logger)
		if err != nil {
			return nil, err
		}
		key, err := reload.ReadFile(secured.key, reload.Secret, s.logger)
		if err != nil {
			return nil, err
		}
		pair, err := tls.X509KeyPair(cert, key)
		return &pair, err
	}, secured.cert, secured.key)
	if err != nil {
		return nil, &FieldError{secured.field, secured.cert, fmt.Sprintf("a PEM file that fits %s %s (%v)", secured.keyFlag, secured.key, err)}
	}
	s.inForce.certificates[secured.index].Store(certificate)
	protocols := []string{"http/1.1"}
	if secured.index == publicCertificate {
		protocols = []string{"h2", "http/1.1"}
	}
	return &tls.Config{
		NextProtos:     protocols,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate.Get(), nil },
	}, nil
}

func (s *Service) newServer(bounds *connlimit.Listener, handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		MaxHeaderBytes:    maxHead - bufferedHead,
		ConnState:         bounds.State,
		ConnContext:       bounds.Context,
		WriteTimeout:      s.config.WriteTimeout, // of what the server answers by itself; the guard sets it anew for all else
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       6 * headerTimeout,
		HTTP2:             &http.HTTP2Config{WriteByteTimeout: s.config.WriteTimeout, MaxConcurrentStreams: maxStreams},
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
	}
}

// withinCapacity answers 503 to requests of connections beyond the bound; that the node is
// alive it says to all.
func withinCapacity(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !connlimit.Over(r) || r.URL.Path == admin.HealthPath {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Connection", "close")
		w.Header().Set("Retry-After", "1")
		httpserver.Refuse(w, http.StatusServiceUnavailable, "too many connections", "connect again later, or to another node")
	})
}

// overCapacity counts connections that a listener has no room for, and says so now and then.
func (s *Service) overCapacity(listener string, most int) func() {
	refused := s.metrics.Counter(metrics.SocketsRefused, metrics.Reason("capacity"))
	var told atomic.Int64 // when, in Unix seconds
	return func() {
		refused.Add(1)
		now := time.Now().Unix()
		if last := told.Load(); now-last >= overCapacityEvery && told.CompareAndSwap(last, now) {
			s.logger.Warn("connections refused: too many are open", "listener", listener, "most", most,
				"max_connections_per_ip", s.config.MaxConnectionsPerIP, "descriptors", connlimit.Descriptors(),
				"hint", "raise the limit of open files (ulimit -n), or bound addresses by --max-connections-per-ip")
		}
	}
}

// overCapacityEvery is how often that is said, in seconds.
const overCapacityEvery = 10

// run serves until ctx ends, then accepts no more and lets requests finish.
func (s *servers) run(ctx context.Context) error {
	ended := make(chan error, len(s.each)) // one send by each server's goroutine
	for i, server := range s.each {
		go func() { ended <- server.Serve(s.on[i]) }()
	}
	var failed error
	left := len(s.each)
	select {
	case <-ctx.Done():
	case failed = <-ended: // Serve ends by itself only with an error
		left--
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
	defer cancel()
	s.guard.Drain(min(slowAtDrain, s.timeout/2))
	for _, server := range s.each {
		if err := server.Shutdown(limited); err != nil {
			failed = errors.Join(failed, fmt.Errorf("requests still under way after %v: %w", s.timeout, err), server.Close())
		}
	}
	for range left {
		<-ended
	}
	return failed
}
