package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/sluicehq/sluice"
)

// serveCmd runs the service until it is told to stop.
type serveCmd struct {
	Settings configFlags `embed:""`
	Log      logFlags    `embed:""`
}

// Help says more than the one line of the summary.
func (s *serveCmd) Help() string {
	return `With no flags at all it works: an embedded store, sockets on loopback for clients, and the console and HTTP API beside them.

A flag beats its environment variable, which beats its line in the file that --config names. Rules for topics stand in that file only:

  topics:
  - match: room:*        # the first rule that matches a topic counts; user:{sub} is each user's own
    access: token        # public, token, hook, sql or deny: who may join
    publish: broadcast   # none, broadcast, log or hook: what a client's push does

So do hooks, which ask your own backend (docs/hooks.md), and the functions of the database that access: sql asks (docs/access-sql.md).

SIGTERM drains. SIGHUP reads topic rules, hooks, keys, tokens and certificates again, and has joined channels judged by them. A file in which anything is wrong is refused whole, with all that is wrong in it; the old stays in force.`
}

// Examples implements exemplary.
func (s *serveCmd) Examples() string {
	return `sluice serve
sluice serve --database-url postgres://user:secret@localhost/app
SLUICE_MAX_DEMAND=200 sluice serve --lanes 4 --statsd localhost:8125 --tag env=dev
sluice serve --config sluice.yaml --listen 0.0.0.0:4000 --anonymous`
}

// Run is called by kong.
func (s *serveCmd) Run(ctx context.Context, p process, resolver *configResolver) error {
	logger, err := s.Log.logger(p.stderr)
	if err != nil {
		return s.check(resolver)
	}
	cfg, err := s.Settings.config()
	if err != nil {
		return s.check(resolver)
	}
	cfg.Logger = logger
	cfg.Console = console()
	cfg.OnListen = func(public, admin net.Addr) {
		s.announce(logger, public, admin, isTerminal(p.stderr))
	}
	reloads := &reloader{process: p, resolver: resolver, logger: logger, topics: resolver.file.topics, hooks: resolver.file.hooks, sending: resolver.file.webhooks}
	service, err := reloads.next(cfg)
	if err != nil {
		return err
	}
	if cfg.HeartbeatTimeout < clientHeartbeat {
		logger.Warn("clients send a heartbeat every 30 s unless told otherwise: those that have nothing else to say will be disconnected",
			"heartbeat_timeout", cfg.HeartbeatTimeout)
	}
	defer reloads.start()()
	run := func() error { return service.Run(ctx) }
	return serveOn(ctx, logger, run, func() (err error) {
		cfg.Start = startAnew(cfg.Start)
		service, err = reloads.next(cfg)
		return err
	})
}

// check implements checker.
func (s *serveCmd) check(resolver *configResolver) error {
	_, err := s.Log.logger(io.Discard)
	cfg, zero := s.Settings.config()
	cfg.Topics, cfg.Hooks, cfg.Webhooks = resolver.file.topics, resolver.file.hooks, resolver.file.webhooks
	cfg.Logger = slog.New(slog.DiscardHandler)
	_, wrong := sluice.New(cfg) // nothing runs yet
	return errors.Join(err, zero, wrong)
}

// clientHeartbeat is how often the stock clients send a heartbeat.
const clientHeartbeat = 30 * time.Second

// announce says where the service can be reached and, to people, what to do
// next.
func (s *serveCmd) announce(logger *slog.Logger, public, admin net.Addr, terminal bool) {
	scheme, secure := "ws://", s.Settings.TLSCert != ""
	if secure {
		scheme = "wss://"
	}
	socket, console := sluice.NoListener, sluice.NoListener
	if admin != nil {
		console = "http://" + reachable(admin)
		if s.Settings.AdminTLSCert != "" {
			console = "https://" + reachable(admin)
		}
	}
	if public == nil {
		logger.Info("serving", "socket", socket, "console", console)
		return
	}
	socket = scheme + reachable(public) + s.Settings.SocketPath
	logger.Info("serving", "socket", socket+"/websocket", "console", console)
	if !terminal && s.Log.LogFormat != "text" {
		return
	}
	watch := "sluice watch demo"
	switch {
	case secure: // a certificate names a host, not the address that we listen at
		_, port, _ := net.SplitHostPort(public.String())
		watch = "sluice watch --url wss://NAME-IN-THE-CERTIFICATE:" + port + s.Settings.SocketPath + " demo"
	case socket != defaults().Watch.URL:
		watch = "sluice watch --url " + socket + " demo"
	}
	if s.Settings.JWTSecretFile != "" || s.Settings.JWTKeysFile != "" {
		watch += " --token TOKEN"
	}
	logger.Info("next: open the console, or watch a topic", "open", console, "run", watch)
}

// reachable is an address that this machine can connect to: a listener on all
// interfaces is reached by loopback too.
func reachable(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if ok && tcp.IP.IsUnspecified() {
		tcp = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: tcp.Port}
		return tcp.String()
	}
	return addr.String()
}
