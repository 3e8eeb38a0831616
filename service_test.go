package sluice_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluicehq/sluice"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client keeps no connections: none outlives the test that made it.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// node is a running service.
type node struct {
	admin, public string // http://host:port
	stop          func() error
}

// embedded is a configuration with free ports and an embedded store in dir.
func embedded(dir string) sluice.Config {
	config := sluice.DefaultConfig()
	config.Listen, config.AdminListen = "127.0.0.1:0", "127.0.0.1:0"
	config.DataDir = dir
	config.Logger = slog.New(slog.DiscardHandler)
	return config
}

// run runs a service until the test ends, or stop is called.
func run(t *testing.T, config sluice.Config, handle ...func(*sluice.Service) error) *node {
	t.Helper()
	n := &node{}
	listening := make(chan struct{}) // closed by the service once it listens
	config.OnListen = func(public, admin net.Addr) {
		n.public, n.admin = "http://"+public.String(), "http://"+admin.String()
		close(listening)
	}
	service, err := sluice.New(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, with := range handle {
		if err := with(service); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended, result := make(chan struct{}), error(nil) // closed when result is set
	go func() {
		defer close(ended)
		result = service.Run(ctx)
	}()
	n.stop = func() error {
		cancel()
		<-ended
		return result
	}
	t.Cleanup(func() {
		if err := n.stop(); err != nil {
			t.Errorf("the service ended with %v", err)
		}
	})
	select {
	case <-listening:
	case <-ended:
		t.Fatalf("the service ended before it listened: %v", result)
	}
	return n
}

// ready waits until the node says that it is ready.
func (n *node) ready(t *testing.T) *node {
	t.Helper()
	n.eventually(t, "ready", func() bool {
		status, _ := n.ask(t, "GET", n.admin+"/readyz", nil, "")
		return status == http.StatusOK
	})
	return n
}

// eventually asks until what was expected has come true.
func (n *node) eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	late := time.After(time.Minute)
	for !happened() {
		select {
		case <-again.C:
		case <-late:
			t.Fatalf("after a minute still not %s", what)
		}
	}
}

// ask makes a request and returns its status and body. A header "Host" names
// the host that is asked for.
func (n *node) ask(t *testing.T, method, url string, header map[string]string, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range header {
		if key == "Host" {
			request.Host = value
		}
		request.Header.Set(key, value)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// stats is some of what GET /api/stats answers.
type stats struct{ Head, Position, Fetched, Routed int64 }

func (n *node) stats(t *testing.T) (s stats) {
	t.Helper()
	if _, body := n.ask(t, "GET", n.admin+"/api/stats", nil, ""); json.Unmarshal([]byte(body), &s) != nil {
		t.Fatalf("stats: %s", body)
	}
	return s
}

func TestAdminAPI(t *testing.T) {
	t.Parallel()
	config := embedded(t.TempDir())
	config.MaxBodyBytes = 1 << 10
	n := run(t, config).ready(t)
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
	} {
		t.Run(test.name, func(t *testing.T) {
			status, body := n.ask(t, test.method, n.admin+test.path, test.header, test.body)
			if status != test.status || !strings.Contains(body, test.want) {
				t.Errorf("got %d %s, want %d with %s", status, body, test.status, test.want)
			}
		})
	}
	n.eventually(t, "routed", func() bool { return n.stats(t).Position == 3 }) // of the refused ones, nothing
	if status, body := n.ask(t, "GET", n.public+"/nowhere", nil, ""); status != 404 || !strings.Contains(body, "/socket/websocket") {
		t.Errorf("public: %d %s", status, body)
	}
}

func TestAdminToken(t *testing.T) {
	t.Parallel()
	config := embedded(t.TempDir())
	config.AdminToken = "s3cret"
	config.Console = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "the page") })
	n := run(t, config).ready(t)
	bearer := func(token string) map[string]string { return map[string]string{"Authorization": "Bearer " + token} }
	for _, test := range []struct {
		path   string
		header map[string]string
		status int
	}{
		{"/", nil, 200},
		{"/healthz", nil, 200},
		{"/readyz", nil, 200},
		{"/api/stats", nil, 401},
		{"/api/stats", bearer("wrong"), 401},
		{"/api/stats", bearer("s3cret"), 200},
		{"/metrics", nil, 401},
		{"/metrics", bearer("s3cret"), 200},
		{"/console/websocket?vsn=2.0.0", nil, 400}, // not an upgrade: that is checked first
	} {
		if status, body := n.ask(t, "GET", n.admin+test.path, test.header, ""); status != test.status {
			t.Errorf("%s with %v: got %d %s, want %d", test.path, test.header, status, body, test.status)
		}
	}
}

func TestStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	event := `{"topic":"a","event":"b"}` + "\n"
	lines := map[string]string{"Content-Type": "application/x-ndjson"}

	first := run(t, embedded(dir)).ready(t)
	first.ask(t, "POST", first.admin+"/api/events", lines, strings.Repeat(event, 10))
	first.eventually(t, "routed", func() bool { return first.stats(t).Position == 10 })
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}

	for _, test := range []struct {
		node, start string
		fetched     int64
	}{
		{sluice.DefaultConfig().Node, "committed", 0}, // where the first run ended
		{"another", "committed", 10},                  // it has no cursor yet
		{"yet another", "head", 0},
		{sluice.DefaultConfig().Node, "earliest", 10},
		{sluice.DefaultConfig().Node, "7", 3},
	} {
		config := embedded(dir)
		config.Node, config.Start = test.node, test.start
		n := run(t, config).ready(t)
		n.eventually(t, "at the head", func() bool { return n.stats(t).Position == 10 })
		if got := n.stats(t).Fetched; got != test.fetched {
			t.Errorf("--start %s of node %q fetched %d events, want %d", test.start, test.node, got, test.fetched)
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
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
	config := embedded(t.TempDir())
	config.DatabaseURL = "postgres://user:hidden@" + address + "/app"
	n := run(t, config)
	n.eventually(t, "telling why", func() bool {
		status, body := n.ask(t, "GET", n.admin+"/readyz", nil, "")
		if strings.Contains(body, "hidden") {
			t.Errorf("the password shows: %s", body)
		}
		return status == 503 && strings.Contains(body, address)
	})
	if status, _ := n.ask(t, "GET", n.admin+"/healthz", nil, ""); status != 200 {
		t.Errorf("not alive: %d", status)
	}
	if status, body := n.ask(t, "POST", n.admin+"/api/events", nil, `{"topic":"a","event":"b"}`); status != 503 {
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
	config := embedded(filepath.Join(t.TempDir(), "data"))
	config.AdminListen = taken.Addr().String()
	service, err := sluice.New(config)
	if err != nil {
		t.Fatal(err)
	}
	wrong := new(sluice.FieldError)
	if err := service.Run(t.Context()); !errors.As(err, &wrong) || wrong.Field != "AdminListen" {
		t.Errorf("got %v", err)
	}
}
