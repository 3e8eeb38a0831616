package sluice_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/sluicetest"
)

// mounted is a service in servers of the application's own, with an admin token or "".
func mounted(token string, logger *slog.Logger, begin func(*httptest.Server)) func(context.Context, sluice.Config) error {
	return func(ctx context.Context, config sluice.Config) error {
		tell := config.OnListen
		config.OnListen = nil
		config.Listen, config.AdminListen, config.AdminToken = sluice.NoListener, sluice.NoListener, token
		config.Anonymous, config.Logger = new(true), logger
		service, err := sluice.New(config)
		if err != nil {
			return err
		}
		public := httptest.NewUnstartedServer(service.Handler())
		begin(public)
		defer public.Close()
		private := httptest.NewServer(service.AdminHandler())
		defer private.Close()
		tell(public.Listener.Addr(), private.Listener.Addr())
		return service.Run(ctx)
	}
}

func TestHandlersInServersOfOnesOwn(t *testing.T) {
	t.Parallel()
	node := sluicetest.Run(t, mounted(adminToken, slog.New(slog.DiscardHandler), (*httptest.Server).Start))
	client := node.Connect("/socket", "")
	client.Send(`["1","1","a","phx_join",{}]`)
	client.Expect(`["1","1","a","phx_reply",{"status":"ok","response":{}}]`)
	with := map[string]string{"Authorization": "Bearer " + adminToken}
	if status, body := node.Request("POST", node.Admin, "/api/events", with, `{"topic":"a","event":"e"}`); status != 202 {
		t.Errorf("%d %s", status, body)
	}
	client.Expect(`[null,null,"a","e",{}]`)
	if status, _ := node.Request("GET", node.Public, "/healthz", nil, ""); status != 200 {
		t.Errorf("GET /healthz: %d", status)
	}
	if status, _ := node.Request("GET", node.Public, "/elsewhere", nil, ""); status != 404 {
		t.Errorf("GET /elsewhere: %d", status)
	}
}

// Without a token, whoever reaches the handler might be anybody.
func TestAdminHandlerWithoutAToken(t *testing.T) {
	t.Parallel()
	node := sluicetest.Run(t, mounted("", slog.New(slog.DiscardHandler), (*httptest.Server).Start))
	for _, path := range []string{"/api/sockets", "/api/stats", "/metrics", "/console/websocket"} {
		if status, body := node.Request("GET", node.Admin, path, map[string]string{"Authorization": "Bearer x"}, ""); status == 200 || status == 101 {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, _ := node.Request("POST", node.Admin, "/api/events", nil, `{"topic":"a","event":"e"}`); status != 401 {
		t.Errorf("published: %d", status)
	}
}

// shared is a log that goroutines write and the test reads.
type shared struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

// Connections that are no plain TCP are served all the same, and the log says once what
// they cost.
func TestHandlerUnderTLS(t *testing.T) {
	t.Parallel()
	var log shared
	var server *httptest.Server
	node := sluicetest.Run(t, mounted("", slog.New(slog.NewTextHandler(&log, nil)), func(s *httptest.Server) {
		s.StartTLS()
		server = s
	}))
	dialer := ws.Dialer{TLSConfig: server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()}
	dialer.TLSConfig.NextProtos = nil
	for range 2 {
		conn, _, _, err := dialer.Dial(t.Context(), "wss://"+node.Public+"/socket/websocket?vsn=2.0.0")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := wsutil.WriteClientText(conn, []byte(`["1","1","a","phx_join",{}]`)); err != nil {
			t.Fatal(err)
		}
		if got, err := wsutil.ReadServerText(conn); err != nil || string(got) != `["1","1","a","phx_reply",{"status":"ok","response":{}}]` {
			t.Errorf("%s, %v", got, err)
		}
	}
	node.Stop()
	if n := strings.Count(log.text.String(), "a goroutine each"); n != 1 {
		t.Errorf("told %d times:\n%s", n, &log.text)
	}
}
