package sluice

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/internal/admin"
	"github.com/sluicehq/sluice/socket"
	"github.com/sluicehq/sluice/socket/phoenix"
	"github.com/sluicehq/sluice/stages"
)

// Mount is a place where one kind of client connects, with a hook that lets
// them in and channels of their own. Topics know no mounts: a broadcast
// reaches all who have joined its topic, wherever they are connected.
type Mount struct {
	path     string
	routes   *channels.Routes // filled before the service runs
	endpoint *socket.Endpoint
	private  bool // it is the admin listener's
}

// makeSockets makes the topics and the mounts through which they are reached.
func (s *Service) makeSockets() error {
	s.hub = channels.NewHub(s.metrics)
	s.erasures = stages.NewErasures(s.hub, s.logger)
	s.monitor = stages.NewMonitor(s.readiness, s.erasures, s.payload)
	s.pubsub = channels.NewPubSub(s.hub, s.encoder())
	s.pubsub.Bound(s.payload.Bytes)
	s.publisher = stages.NewLogPublisher(&s.stream)
	history := stages.NewLogHistory(&s.stream, s.monitor, s.hub)
	s.replays = channels.NewReplayer(s.hub, history, s.encoder(), int(s.config.Recent))
	var err error
	if s.presences, err = s.newPresences(); err != nil {
		return err
	}
	s.host, err = channels.NewHost(channels.HostConfig{
		Hub:       s.hub,
		History:   history,
		PubSub:    s.pubsub,
		Encoder:   s.encoder(),
		Publisher: s.publisher,
		Presences: s.presences,
		Logger:    s.logger,
	})
	if err != nil {
		return err
	}
	s.handover = s.newHandover()
	hook := func(ctx context.Context, r *ConnectRequest) (*Socket, error) { return s.hook(ctx, r) }
	if s.public, err = s.mountPublic(s.config.SocketPath, hook); err != nil {
		return err
	}
	return s.mountConsole()
}

// encoder writes what is sent to clients.
func (s *Service) encoder() phoenix.Encoder {
	return phoenix.Encoder{CompressFrom: int(s.config.CompressMinBytes)}
}

// OnConnect has a hook decide who may connect to Config.SocketPath, in place
// of [Service.Authenticate]. It is called concurrently. Off loopback, New asks
// for keys or for Config.Anonymous all the same: it knows of no hook. Call it
// before Run.
func (s *Service) OnConnect(hook ConnectFunc) { s.hook, s.hooked = hook, true }

// Mount lets another kind of client connect: at path, on the public listener,
// if the hook lets them. They may join what [Mount.Handle] serves, and nothing
// else. Config.Origins counts here too, and Config.MaxConnections counts for
// each mount by itself. Call it before Run.
func (s *Service) Mount(path string, hook ConnectFunc) (*Mount, error) {
	taken := func(m *Mount) bool { return !m.private && m.path == path }
	switch {
	case !mountable(path):
		return nil, fmt.Errorf("mount %q: must be a path such as /admin, with no slash at its end", path)
	case slices.ContainsFunc(s.mounts, taken) || path == admin.HealthPath:
		return nil, fmt.Errorf("mount %q: something else is there", path)
	case hook == nil:
		return nil, fmt.Errorf("mount %q: no hook says who may connect", path)
	}
	return s.mountPublic(path, hook)
}

// Handle has the channels that factory makes serve the topics that match
// pattern, to the clients of this mount. See [Service.Handle].
func (m *Mount) Handle(pattern string, factory Factory) error {
	return m.routes.Handle(pattern, factory)
}

// open tells whether whoever reaches the public listener may connect, which only this
// machine does.
func (s *Service) open() bool {
	return loopback(s.config.Listen) && s.config.anonymous() && !s.auth.Judges() && !s.hooked
}

// mountPublic makes a mount of the public listener.
func (s *Service) mountPublic(path string, hook ConnectFunc) (*Mount, error) {
	config := socket.Config{
		Path:           path,
		Connect:        hook,
		Origins:        s.config.Origins,
		MaxConnections: s.config.MaxConnections,
		Addresses:      s.addresses,
		Users:          s.users,
		Pace:           s.pace,
		Open:           func() bool { return path == s.config.SocketPath && s.open() },
	}
	if s.auth.HasKeys() {
		config.Renew = s.renew
	}
	if s.auth.Judges() {
		config.Holds, config.Admit = s.auth.Holds, s.auth.Admit
	}
	return s.mount(config)
}

// publicMounts is how many mounts the public listener has.
func (s *Service) publicMounts() (n int) {
	for _, m := range s.mounts {
		if !m.private {
			n++
		}
	}
	return n
}

// mount makes a mount from what is special about it, and adds it to the
// service. Its hook is asked only once there is a log to serve clients from.
func (s *Service) mount(config socket.Config) (*Mount, error) {
	m := &Mount{path: config.Path, routes: cmp.Or(config.Routes, &channels.Routes{})}
	hook := config.Connect
	config.Connect = func(ctx context.Context, r *ConnectRequest) (*Socket, error) {
		if s.stream.Log() == nil {
			return nil, notOpen
		}
		return hook(ctx, r)
	}
	config.Host, config.Routes, config.Handover, config.Position = s.host, m.routes, s.handover, s.stream.Position
	config.Compress = s.config.Compress
	config.Options, config.MailboxBytes = s.config.options(), int(s.config.MailboxBytes)
	config.Writers = s.config.Writers
	config.MaxChannels, config.MaxMessageBytes = s.config.MaxChannels, int(s.config.MaxMessageBytes)
	config.MaxBodyBytes = int(s.config.MaxBodyBytes)
	config.InboundQueue, config.InboundBytes = s.config.InboundQueue, int(s.config.InboundBytes)
	config.InboundRate, config.MaxConnectionAge = s.config.InboundRate, s.config.MaxConnectionAge
	config.HeartbeatTimeout, config.WriteTimeout, config.DrainTimeout = s.config.HeartbeatTimeout, s.config.WriteTimeout, s.config.DrainTimeout
	config.Metrics, config.Logger = s.metrics, s.logger
	var err error
	if m.endpoint, err = socket.New(config); err != nil {
		return nil, err
	}
	s.mounts = append(s.mounts, m)
	return m, nil
}

// runMounts runs all mounts until ctx ends, and drains them side by side. Who is there is
// known until they have: before their clients are sent away, the other nodes are told so.
func (s *Service) runMounts(ctx context.Context) error {
	telling, stop := context.WithCancel(context.WithoutCancel(ctx))
	told := make(chan error, 1) // one send, by the goroutine that tells
	serving, drain := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		err := s.presences.Run(telling, s.host)
		drain() // it has failed, unless all is over
		told <- err
	}()
	leaving := context.AfterFunc(ctx, func() {
		s.presences.Leave()
		drain()
	})
	defer leaving()
	ended := make(chan error, len(s.mounts)) // one send by each mount's goroutine
	for _, m := range s.mounts {
		go func() { ended <- m.endpoint.Run(serving) }()
	}
	var errs []error
	for range s.mounts {
		errs = append(errs, <-ended)
	}
	stop()
	return errors.Join(append(errs, <-told)...)
}

// notOpen refuses clients as long as there is no log to serve them from.
var notOpen = &socket.Refusal{Status: http.StatusServiceUnavailable, Reason: "the store is not open yet"}
