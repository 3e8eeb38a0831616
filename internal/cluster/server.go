package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// maxPending is what a server of our own keeps for another node that is slow, in
	// bytes. Beyond, the connection is closed and begun anew, and what was in it is lost.
	maxPending    = 16 << 20
	maxPayload    = 1 << 20 // of NATS, also by default: a message of MaxData fits
	writeDeadline = 5 * time.Second
	startPoll     = 5 * time.Millisecond
	routeUser     = "sluice"
)

// startServer starts a server that finds those of the other nodes. Nobody connects to it
// but this process, by the token that is returned: it is random, and the port for it is one
// of loopback. It returns nil if ctx ends before it is up.
func (b *NATS) startServer(ctx context.Context, installation string) (running *server.Server, token string, err error) {
	token = rand.Text()
	options, err := b.serverOptions(installation, token)
	if err != nil {
		return nil, "", err
	}
	s, err := server.NewServer(options)
	if err != nil {
		return nil, "", fmt.Errorf("make the cluster's server: %w", err)
	}
	failed := make(chan string, 1) // sent to, without waiting, by the server's goroutines: they cannot go on
	s.SetLogger(&serverLog{logger: b.config.Logger, alarm: b.alarm, failed: failed}, false, false)
	s.Start()
	stop := func() {
		s.Shutdown()
		s.WaitForShutdown()
	}
	ticker := time.NewTicker(startPoll)
	defer ticker.Stop()
	for !s.ReadyForConnections(time.Millisecond) {
		select {
		case text := <-failed:
			stop()
			return nil, "", &ListenError{b.config.Listen, errors.New(text)}
		case <-ctx.Done():
			stop()
			return nil, "", nil
		case <-ticker.C:
		}
	}
	b.config.Logger.Info("listening for the cluster's other nodes", "addr", s.ClusterAddr().String(), "name", b.config.Name, "routes", b.config.Routes)
	return s, token, nil
}

// Addr is where this process's server listens for the others; nil while it has none.
func (b *NATS) Addr() net.Addr {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.server == nil || b.server.ClusterAddr() == nil {
		return nil
	}
	return b.server.ClusterAddr()
}

func (b *NATS) serverOptions(installation, token string) (*server.Options, error) {
	host, portText, err := net.SplitHostPort(b.config.Listen)
	if err != nil {
		return nil, &ListenError{b.config.Listen, err}
	}
	port, err := net.LookupPort("tcp", portText)
	if err != nil {
		return nil, &ListenError{b.config.Listen, err}
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	options := &server.Options{
		ServerName:          b.config.Self.Name + "-" + b.config.Self.ID,
		Host:                "127.0.0.1",
		Port:                server.RANDOM_PORT, // DontListen would keep the routes from being begun
		Authorization:       token,
		NoSigs:              true,
		NoSystemAccount:     true,
		MaxPayload:          maxPayload,
		MaxPending:          maxPending,
		WriteDeadline:       writeDeadline,
		NoFastProducerStall: true, // a slow node loses messages, and makes nobody wait
		Cluster: server.ClusterOpts{
			Name:         "sluice-" + b.config.Name + "-" + installation,
			Host:         host,
			Port:         port,
			Advertise:    b.config.Advertise,
			PoolSize:     -1, // there is one account: more connections would stay idle
			PingInterval: b.config.pingEvery(),
			MaxPingsOut:  pingsMissed,
			TLSConfig:    b.config.TLS,
			TLSTimeout:   b.config.dialTimeout().Seconds(),
			AuthTimeout:  b.config.dialTimeout().Seconds(),
		},
	}
	var user *url.Userinfo
	if len(b.config.Secret) > 0 {
		options.Cluster.Username, options.Cluster.Password = routeUser, hex.EncodeToString(derive(b.config.Secret, "routes"))
		user = url.UserPassword(options.Cluster.Username, options.Cluster.Password)
	}
	for _, route := range b.config.Routes {
		options.Routes = append(options.Routes, &url.URL{Scheme: "nats-route", Host: route, User: user})
	}
	return options, nil
}

// serverLog is where the server says what it has to say. It implements [server.Logger].
type serverLog struct {
	logger *slog.Logger
	alarm  *alarm
	failed chan<- string
}

// Noticef implements [server.Logger].
func (l *serverLog) Noticef(format string, v ...any) {
	l.logger.Debug("cluster server", "text", fmt.Sprintf(format, v...))
}

// Warnf implements [server.Logger].
func (l *serverLog) Warnf(format string, v ...any) { l.Noticef(format, v...) }

// Debugf implements [server.Logger].
func (l *serverLog) Debugf(string, ...any) {}

// Tracef implements [server.Logger].
func (l *serverLog) Tracef(string, ...any) {}

// Fatalf implements [server.Logger]. It ends nothing by itself: Run does, with an error.
func (l *serverLog) Fatalf(format string, v ...any) {
	select {
	case l.failed <- fmt.Sprintf(format, v...):
	default:
	}
}

// troubles are what the server says when nodes do not fit together.
var troubles = []struct{ part, text string }{
	{"authentication error", "another node was refused: it has another cluster secret than this one, or none; give all nodes the same --cluster-secret-file"},
	{"Authorization Violation", "this node was refused by another one, which has another cluster secret; give all nodes the same --cluster-secret-file"},
	{"handshake error", "TLS with another node failed: see that the --cluster-tls-cert of each is signed by the --cluster-tls-ca of all, and names the host that it is reached by"},
	{"cluster name", "another node was refused: it is of another --cluster-name, or serves another database"},
	{"Error trying to connect to route", "another node of --cluster-routes cannot be reached yet"},
}

// Errorf implements [server.Logger].
func (l *serverLog) Errorf(format string, v ...any) {
	text := strings.TrimSpace(fmt.Sprintf(format, v...))
	for _, trouble := range troubles {
		if strings.Contains(text, trouble.part) {
			l.alarm.warn(trouble.text, "detail", text)
			return
		}
	}
	l.alarm.warn("the cluster's server complains", "detail", text)
}
