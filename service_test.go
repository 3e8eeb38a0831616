package sluice_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/internal/sluicetest"
)

func TestMain(m *testing.M) {
	os.Exit(pgtest.Main(m, func() error { return goleak.Find() }))
}

// with runs a service whose configuration has been changed.
func with(change func(*sluice.Config)) func(context.Context, sluice.Config) error {
	return func(ctx context.Context, config sluice.Config) error {
		change(&config)
		service, err := sluice.New(config)
		if err != nil {
			return err
		}
		return service.Run(ctx)
	}
}

// stats is some of what GET /api/stats answers.
type stats struct{ Head, Position, Fetched, Routed int64 }

func readStats(t *testing.T, n *sluicetest.Node) (s stats) {
	t.Helper()
	decode(t, n, &s)
	return s
}

// decode reads what of GET /api/stats fits into.
func decode(t *testing.T, n *sluicetest.Node, into any) {
	t.Helper()
	if _, body := n.Ask("GET", "/api/stats"); json.Unmarshal([]byte(body), into) != nil {
		t.Fatalf("stats: %s", body)
	}
}

func TestAdminAPI(t *testing.T) {
	t.Parallel()
	n := sluicetest.Run(t, with(func(c *sluice.Config) { c.MaxBodyBytes = 1 << 10 }))
	lines := map[string]string{"Content-Type": "application/x-ndjson"}
	good := `{"topic":"a","event":"b","payload":{"x":1}}`
	for _, test := range []struct {
		name         string
		method, path string
		header       map[string]string
		body         string
		status       int
		want         string
	}{
		{"alive", "GET", "/healthz", nil, "", 200, `"alive"`},
		{"one event", "POST", "/api/events", nil, good, 202, `{"count":1}`},
		{"lines", "POST", "/api/events", lines, good + "\n" + good + "\n", 202, `{"count":2}`},
		{"no lines", "POST", "/api/events", lines, "", 202, `{"count":0}`},
		{"a bad line", "POST", "/api/events", lines, good + "\n{\"topic\":\"a\",\"event\":\"b\",\"payload\":[]}\n", 400, "line 2: payload"},
		{"a broken line", "POST", "/api/events", lines, good + "\n\n" + good[:9], 400, "line 3: "},
		{"too large", "POST", "/api/events", lines, strings.Repeat(good+"\n", 50), 413, "--max-body-bytes"},
		{"broadcast", "POST", "/api/broadcast", nil, good, 202, `{"count":1}`},
		{"a bad broadcast", "POST", "/api/broadcast", nil, `{"topic":"phoenix","event":"b"}`, 400, "topic"},
		{"metrics", "GET", "/metrics", nil, "", 200, "sluice_events_fetched_total"},
		{"no such thing", "GET", "/api/nothing", nil, "", 404, `"hint"`},
		{"not with that method", "GET", "/api/events", nil, "", 404, `"hint"`},
		{"another site's page", "POST", "/api/events", map[string]string{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, good, 403, "another web site"},
		{"another site's name", "GET", "/api/stats", map[string]string{"Host": "evil.example"}, "", 403, "evil.example"},
		{"by name", "GET", "/api/stats", map[string]string{"Host": "localhost:4001"}, "", 200, `"node"`},
		{"the console's own page", "GET", "/console/longpoll?vsn=2.0.0", map[string]string{"Origin": "http://" + n.Admin}, "", 200, `"status":410`},
		{"another port's page at the console", "GET", "/console/longpoll?vsn=2.0.0", map[string]string{"Origin": "http://" + n.Public}, "", 200, `"status":403`},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, body := n.Request(test.method, n.Admin, test.path, test.header, test.body)
			if status != test.status || !strings.Contains(body, test.want) {
				t.Errorf("got %d %s, want %d with %s", status, body, test.status, test.want)
			}
		})
	}
	n.Eventually("routed", func() bool { return readStats(t, n).Position == 3 })                   // of the refused ones, nothing
	for host, want := range map[string]int{"evil.example": 403, "localhost": 200, n.Public: 200} { // anonymous, on loopback
		page := map[string]string{"Host": host, "Origin": "http://" + host}
		if status, body := n.Request("GET", n.Public, "/socket/longpoll?vsn=2.0.0", page, ""); status != want {
			t.Errorf("as %s: %d %s", host, status, body)
		}
		if status, _ := n.Request("GET", n.Public, "/healthz", page, ""); status != 200 {
			t.Errorf("health as %s: %d", host, status)
		}
	}
	if status, body := n.Request("GET", n.Public, "/nowhere", nil, ""); status != 404 || !strings.Contains(body, "/socket/websocket") {
		t.Errorf("public: %d %s", status, body)
	}
}

func TestStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	event := `{"topic":"a","event":"b"}` + "\n"
	lines := map[string]string{"Content-Type": "application/x-ndjson"}

	first := sluicetest.Run(t, with(func(c *sluice.Config) { c.DataDir = dir }))
	first.Request("POST", first.Admin, "/api/events", lines, strings.Repeat(event, 10))
	first.Eventually("routed", func() bool { return readStats(t, first).Position == 10 })
	first.Stop()

	for _, test := range []struct {
		node, start string
		fetched     int64
	}{
		{sluice.DefaultConfig().Node, "committed", 0}, // where the first run ended
		{"another", "committed", 10},                  // it has no cursor yet
		{"yet-another", "head", 0},
		{sluice.DefaultConfig().Node, "earliest", 10},
		{sluice.DefaultConfig().Node, "7", 3},
	} {
		n := sluicetest.Run(t, with(func(c *sluice.Config) { c.DataDir, c.Node, c.Start = dir, test.node, test.start }))
		n.Eventually("at the head", func() bool { return readStats(t, n).Position == 10 })
		if got := readStats(t, n).Fetched; got != test.fetched {
			t.Errorf("--start %s of node %q fetched %d events, want %d", test.start, test.node, got, test.fetched)
		}
		n.Stop()
	}
}

func TestNotReadyWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	nobody, err := net.Listen("tcp", "127.0.0.1:0") // a port that nobody serves
	if err != nil {
		t.Fatal(err)
	}
	address := nobody.Addr().String()
	nobody.Close()
	n := sluicetest.Start(t, with(func(c *sluice.Config) { c.DatabaseURL = "postgres://user:hidden@" + address + "/app" }))
	n.Eventually("telling why", func() bool {
		status, body := n.Ask("GET", "/readyz")
		if strings.Contains(body, "hidden") {
			t.Errorf("the password shows: %s", body)
		}
		return status == 503 && strings.Contains(body, address)
	})
	if status, _ := n.Ask("GET", "/healthz"); status != 200 {
		t.Errorf("not alive: %d", status)
	}
	if status, body := n.Request("POST", n.Admin, "/api/events", nil, `{"topic":"a","event":"b"}`); status != 503 {
		t.Errorf("took an event: %d %s", status, body)
	}
}

func TestRunSaysWhatItCannotDo(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	config := sluice.DefaultConfig()
	config.Listen, config.AdminListen = "127.0.0.1:0", taken.Addr().String()
	config.Logger = slog.New(slog.DiscardHandler)
	service, err := sluice.New(config)
	if err != nil {
		t.Fatal(err)
	}
	wrong := new(sluice.FieldError)
	if err := service.Run(t.Context()); !errors.As(err, &wrong) || wrong.Field != "AdminListen" {
		t.Errorf("got %v", err)
	}
}

// Two services on one folder would each believe that they are alone: the second ends
// with who has it, and gets it once that has ended.
func TestTwoServicesOnOneFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := sluicetest.Run(t, with(func(c *sluice.Config) { c.DataDir, c.Node = dir, "first" }))
	config := sluice.DefaultConfig()
	config.Listen, config.AdminListen, config.DataDir, config.Node = "127.0.0.1:0", "127.0.0.1:0", dir, "second"
	config.Logger = slog.New(slog.DiscardHandler)
	second, err := sluice.New(config)
	if err != nil {
		t.Fatal(err)
	}
	var refusal *sluice.FieldError
	if err := second.Run(t.Context()); !errors.As(err, &refusal) || refusal.Field != "DataDir" || !strings.Contains(refusal.Allowed, "node first") {
		t.Errorf("the second ended with %v", err)
	}
	first.Stop()
	sluicetest.Run(t, with(func(c *sluice.Config) { c.DataDir, c.Node = dir, "second" }))
}
