package sluice

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/channels/presence"
	"github.com/sluicehq/sluice/internal/admin"
	"github.com/sluicehq/sluice/internal/broadcast"
	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/internal/connlimit"
	"github.com/sluicehq/sluice/internal/httpserver"
	"github.com/sluicehq/sluice/internal/logtail"
	"github.com/sluicehq/sluice/internal/reload"
	"github.com/sluicehq/sluice/internal/revocation"
	"github.com/sluicehq/sluice/internal/timeline"
	"github.com/sluicehq/sluice/internal/webhooks"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/socket"
	"github.com/sluicehq/sluice/socket/auth"
	"github.com/sluicehq/sluice/stages"
)

// Service is a node: it reads the log and pushes it to the clients that are
// connected to it. Make it with [New], bring channels with [Service.Handle],
// and [Service.Run] it once.
type Service struct {
	// Immutable after New.
	config    Config
	logger    *slog.Logger
	metrics   *metrics.Set
	bus       cluster.Bus       // to the other nodes: see joinCluster
	bridge    *broadcast.Bridge // to their topics; nil: there are none
	missing   *cluster.Missing  // those that are not heard; nil: there are none
	hub       *channels.Hub
	pubsub    *channels.PubSub
	host      *channels.Host
	presences *presence.Tracker // who is on which topic
	handover  *socket.Handover  // nil where there are no other nodes
	shared    []byte            // the secret of the cluster; nil if it has none
	replays   *channels.Replayer
	encoders  sync.Pool // of *stages.Encoder, for broadcasts
	public    *Mount
	console   *Mount // of the admin listener: see console.go
	view      *Mount // likewise
	feed      *admin.Feed
	timeline  *timeline.Timeline
	tail      *logtail.Tail
	auth      *auth.Authenticator
	admin     *admin.Tokens
	readiness *stages.Readiness
	monitor   *stages.Monitor
	erasures  *stages.Erasures
	payload   *stages.PayloadBound
	revoked   *revocation.List // nil where no tokens are verified
	publisher *stages.LogPublisher
	webhooks  *webhooks.Runner
	guard     *httpserver.Guard // of all requests, whoever serves them

	addresses *connlimit.Addresses // what each client address holds
	users     *connlimit.Users     // what each user does
	pace      *rate.Limiter        // of new connections; nil: they are not bounded

	// Written before Run.
	hook   ConnectFunc // of the public mount
	hooked bool        // it is the application's
	mounts []*Mount    // all there are

	inForce inForce
	stream  stages.Stream // opened by Run
}

// inForce is what says who may do what and is replaced while the service runs.
type inForce struct {
	topics       atomic.Pointer[topicRules]
	hooks        atomic.Pointer[hookSet]
	webhooks     atomic.Pointer[webhookSet]
	certificates [2]atomic.Pointer[reload.Value[*tls.Certificate]] // of Config.certificates; nil: no TLS, or not listening yet
}

// ErrNewEpoch is returned by [Service.Run] when the log has begun a new epoch:
// the database was failed over to a standby, or restored, and may give offsets
// out again that clients have seen with other events. All that a service knows
// of the log is void then. Make a new one, with the same [Config], and run that:
// clients come back, and are told whether they can resume.
var ErrNewEpoch = stages.ErrNewEpoch

// New makes a service. It checks the configuration, and says all that is wrong with
// it: each a [*FieldError], joined. Besides the key files that are named it reads and
// writes nothing.
func New(config Config) (*Service, error) { return newOn(config, nil) }

// newOn is New with the bus that a test has; nil: that of the configuration.
func newOn(config Config, bus cluster.Bus) (*Service, error) {
	config = config.withDefaults()
	s := &Service{
		config: config,
		tail:   logtail.New("connection refused"),
		guard:  httpserver.New(httpserver.Deadlines{Write: config.WriteTimeout}),
	}
	s.logger = slog.New(s.tail.Handler(config.logger().Handler()))
	var f faults
	config.validate(&f)
	s.makeAuthenticator(&f)
	full, read := config.adminTokens(&f, s.logger)
	joins := config.readCluster(&f, s.logger)
	secrets := config.readHookSecrets(&f, s.logger)
	sending := config.readWebhookSecrets(&f, nil, s.logger)
	if err := f.join(); err != nil {
		return nil, err
	}
	s.readiness = stages.NewReadiness(s.logger)
	s.payload = stages.NewPayloadBound(int64(config.MaxPayloadBytes), writeBytes, s.logger)
	s.hook = s.Authenticate
	if i := slices.IndexFunc(config.Topics, func(r TopicRule) bool { return r.Access == AccessToken }); i >= 0 && !s.auth.Judges() {
		s.logger.Warn("a rule lets in tokens only, and without --jwt-secret-file or --jwt-keys-file nobody has one: its topics are closed", "match", config.Topics[i].Match)
	}
	proxies, err := connlimit.ParseProxies(config.TrustedProxies)
	if err != nil {
		return nil, err // Validate has seen it
	}
	s.addresses, s.users = connlimit.NewAddresses(config.MaxConnectionsPerIP, proxies), connlimit.NewUsers(config.MaxConnectionsPerUser)
	if n := config.MaxConnectionsPerSecond; n > 0 {
		s.pace = rate.NewLimiter(rate.Limit(n), n)
	}
	if s.metrics, err = metrics.New(metrics.Config{
		StatsD:   config.StatsD,
		Prefix:   *config.StatsDPrefix,
		TagStyle: config.StatsDTags,
		Tags:     tags(config),
		Logger:   s.logger,
	}); err != nil {
		return nil, err
	}
	if s.admin, err = admin.NewTokens(full, read, s.metrics, s.logger); err != nil {
		return nil, err
	}
	if config.Topics != nil && len(config.Topics) == 0 {
		s.logger.Warn("the list of topic rules is empty: nobody may join anything")
	}
	if s.bus = bus; bus == nil {
		s.bus = s.newBus(joins)
	}
	s.inForce.topics.Store(newTopicRules(config.Topics))
	if err := s.makeHooks(secrets); err != nil {
		return nil, err
	}
	s.makeWebhooks(sending)
	s.encoders.New = func() any { return stages.NewEncoder(s.encoder(), s.hub, s.segments()) }
	if err := s.makeSockets(); err != nil {
		return nil, err
	}
	s.measureRevocations()
	s.metrics.Process(func() bool { return s.readiness.Reason() == nil })
	s.guard.Measure(httpMetrics(s.metrics))
	s.metrics.GaugeFunc(metrics.LogLag, func() int64 { head, position := s.headAndPosition(); return head - position })
	return s, s.joinCluster()
}

// tags are the node's name and what the configuration adds, in a fixed order.
func tags(config Config) []metrics.Tag {
	tags := []metrics.Tag{{Key: "node", Value: config.Node}}
	for key, value := range config.Tags {
		tags = append(tags, metrics.Tag{Key: key, Value: value})
	}
	slices.SortFunc(tags[1:], func(a, b metrics.Tag) int {
		if a.Key < b.Key {
			return -1
		}
		return 1
	})
	return tags
}

// headAndPosition are the log's last known offset and the one up to which this node
// has routed everything.
func (s *Service) headAndPosition() (head, position int64) {
	position = s.stream.Position()
	return max(s.monitor.Extent().Offset, s.hub.Head(), position), position
}

// Handle has the channels that factory makes serve the topics that match
// pattern: a topic, or the beginning of topics followed by *. Patterns are
// tried in the order of the calls; for topics that match none, Config.Topics
// says who may do what: see [TopicRule]. Call it before Run.
func (s *Service) Handle(pattern string, factory Factory) error {
	return s.public.Handle(pattern, factory)
}

// Sockets describes open connections of this node, the oldest ones and at most
// limit of them, and says how many there are.
func (s *Service) Sockets(limit int) (oldest []SocketInfo, total int) {
	oldest = []SocketInfo{} // in JSON a list, also with nobody there
	for _, m := range s.mounts {
		list := m.endpoint.List()
		total += len(list)
		oldest = append(oldest, list[:min(limit, len(list))]...)
	}
	slices.SortFunc(oldest, func(a, b SocketInfo) int { return a.Opened.Compare(b.Opened) })
	return oldest[:min(limit, len(oldest))], total
}

// Publish appends events to the log, all or none, and returns once they are durable.
// Each then reaches all that have joined its topic, on every node, in its turn. It may
// be called concurrently; calls share commits. Errors are an [*InvalidError] for an event
// that the log cannot hold, with its index, [ErrNotOpen], what ctx ended with (then they may
// be in the log all the same), or that the store is away.
//
// An application that has a transaction of its own inserts into sluice_outbox instead:
// then events are published if that commits.
func (s *Service) Publish(ctx context.Context, events ...Event) error {
	messages := make([]*channels.Message, len(events))
	for i, e := range events {
		m, err := channels.NewMessage(e.Topic, e.Event, e.Payload)
		if err == nil && m.Binary {
			err = &InvalidError{Index: i, Field: "payload", Reason: "is binary: the log holds JSON objects only"}
		}
		if err != nil {
			return fmt.Errorf("publish event %d of %d: %w", i+1, len(events), err)
		}
		m.Key = e.Key
		messages[i] = m
	}
	if len(messages) == 0 {
		return nil
	}
	if err := s.publisher.PublishAll(ctx, messages); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// Authenticate is the connect hook that a service has by itself: it lets in
// clients with a token, those that the hook connect of Config.Hooks lets in, and others
// where Config allows that. A hook of
// your own may ask it first.
func (s *Service) Authenticate(ctx context.Context, r *ConnectRequest) (*Socket, error) {
	return s.auth.Authenticate(ctx, r)
}

// ruled has topics served by what the rules say.
func (s *Service) ruled(rules func() *topicRules) Factory {
	all := &ruleSet{rules: rules, hooks: s.inForce.hooks.Load, holds: s.auth.HoldsLater, node: s.config.Node, metrics: s.metrics, logger: s.logger}
	return func() Channel { return &ruleChannel{ruleSet: all} }
}

// rules are the rules for topics in force.
func (s *Service) rules() *topicRules { return s.inForce.topics.Load() }

// rereads read what comes from files.
func (s *Service) rereads() []func() (func(), error) {
	list := append(s.admin.Rereads(), s.auth.Reread, s.inForce.hooks.Load().secrets.Reread)
	for _, secrets := range s.inForce.webhooks.Load().secrets {
		list = append(list, secrets.Reread)
	}
	for i := range s.inForce.certificates {
		list = append(list, s.inForce.certificates[i].Load().Reread)
	}
	return list
}

// watchAccess looks at the files that access depends on until ctx ends: what a
// key or token that has been taken away let in is closed without anybody asking.
func (s *Service) watchAccess(ctx context.Context) error {
	fetching := make(chan struct{}) // closed by the goroutine that fetches keys
	go func() {
		defer close(fetching)
		s.auth.Run(ctx)
	}()
	defer func() { <-fetching }()
	ticker := time.NewTicker(reload.Interval)
	defer ticker.Stop()
	for seen := s.reads(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if reads := s.reads(); reads != seen {
			seen = reads
			s.review()
		}
	}
}

// reads counts how often what lets sockets in has been read again.
func (s *Service) reads() int {
	return s.admin.Changes() + s.auth.Changes()
}

// review judges all sockets and their channels again.
func (s *Service) review() {
	for _, m := range s.mounts {
		m.endpoint.Review()
	}
}

// adminView is the service as the admin API sees it.
type adminView struct{ *Service }

// Extent implements [admin.Node].
func (v adminView) Extent() (head, position int64) { return v.headAndPosition() }

// CountSockets implements [admin.Node].
func (v adminView) CountSockets() int {
	n := 0
	for _, m := range v.mounts {
		n += m.endpoint.Sockets()
	}
	return n
}

// Run serves until ctx ends, then drains: on the listeners of [Config], and what comes
// through [Service.Handler] and [Service.AdminHandler]. It returns nil after a clean drain,
// and an error if it could not start, a part of it failed, or the drain took
// longer than Config.DrainTimeout.
func (s *Service) Run(ctx context.Context) error {
	if err := s.public.Handle("*", s.ruled(s.rules)); err != nil { // after the application's own
		return err
	}
	life, fail := context.WithCancelCause(ctx) // ends when it is time to stop, for whatever reason
	defer fail(nil)

	measuring := start(ctx, "metrics", s.measure, fail)
	defer measuring.stop() // last, when nothing is left to measure

	servers, err := s.listen(ctx)
	if err != nil {
		return err
	}
	serving := start(ctx, "http", servers.run, fail)
	sockets := start(ctx, "sockets", s.runMounts, fail)
	access := start(ctx, "access", s.watchAccess, fail)
	replays := start(ctx, "replays", s.replays.Run, fail)
	positions := start(ctx, "positions", channels.NewPositions(s.hub, s.stream.Position, s.config.Retention).Run, fail)
	line, log, err := s.deliver(life, fail)
	bus := s.startBus(ctx, log != nil, fail)

	if err == nil {
		<-life.Done()
		s.logger.Info("stopping", "drain_timeout", s.config.DrainTimeout)
	}
	s.readiness.Drain()
	serving.cancel() // nobody new; its last requests may be long-polls, which end with their sockets
	errs := []error{err, line.stop(), access.stop(), sockets.stop(), positions.stop(), replays.stop(), serving.stop(), bus.stop(), log.stop()}
	if ctx.Err() == nil {
		errs = append(errs, context.Cause(life)) // a part's own failure, unless it is among them
	}
	if err := join(errs); err != nil {
		return err
	}
	s.logger.Info("stopped")
	return nil
}

// join is errors.Join, with each error once.
func join(errs []error) error {
	var distinct []error
	for _, err := range errs {
		if err != nil && !slices.Contains(distinct, err) {
			distinct = append(distinct, err)
		}
	}
	return errors.Join(distinct...)
}

// deliver opens the log and sets the line in motion. It returns what is
// running, both nil if life ended before the log could be opened.
func (s *Service) deliver(life context.Context, fail context.CancelCauseFunc) (line, running *task, err error) {
	unlock, err := s.lockFolder()
	if err != nil {
		return nil, nil, err
	}
	log, err := s.openRelayed(life)
	if err != nil {
		if life.Err() != nil {
			err = nil
		}
		return nil, nil, errors.Join(err, unlock())
	}
	name, at, err := s.enter(life, log)
	if err != nil {
		if life.Err() != nil {
			err = nil
		}
		return nil, nil, errors.Join(err, log.Close(), unlock())
	}
	s.openHandover()
	delivery := s.newDelivery(nodeLog{log, name}, at.Offset, at.Epoch)
	s.stream.Open(log, delivery)
	s.logger.Info("log open", "epoch", at.Epoch, "after", at.Offset)
	running = start(life, "log", func(ctx context.Context) error {
		return errors.Join(s.runAs(ctx, life, name, log, fail), log.Close(), unlock())
	}, fail)
	line = start(life, "line", func(ctx context.Context) error {
		watching := start(ctx, "pulse", func(ctx context.Context) error {
			return s.monitor.Watch(ctx, log, delivery.Position)
		}, fail)
		return errors.Join(delivery.Run(ctx), watching.stop())
	}, fail)
	return line, running, nil
}

// task is something that runs for as long as the service does, in a goroutine
// that start begins and stop joins.
type task struct {
	name   string
	cancel context.CancelFunc
	ended  chan struct{} // closed by the goroutine when run has returned
	err    error         // what run returned; read after ended
}

// start runs a task until stop. The end of ctx does not stop it: the service
// stops its tasks in an order. A task that ends by itself calls fail.
func start(ctx context.Context, name string, run func(context.Context) error, fail context.CancelCauseFunc) *task {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t := &task{name: name, cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(t.ended)
		t.err = run(ctx)
		switch {
		case t.err != nil:
			t.err = fmt.Errorf("%s: %w", name, t.err)
			fail(t.err)
		case ctx.Err() == nil:
			fail(fmt.Errorf("%s: ended by itself", name))
		}
	}()
	return t
}

// stop ends the task and waits for it. Stopping a nil task, or one that has
// been stopped, does nothing.
func (t *task) stop() error {
	if t == nil {
		return nil
	}
	t.cancel()
	<-t.ended
	return t.err
}
