package sluice_test

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/internal/sluicetest"
	"github.com/sluicehq/sluice/internal/testmain"
)

func TestMain(m *testing.M) {
	testmain.AtOnce(8)
	os.Exit(pgtest.Main(m))
}

func TestStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	event := `{"topic":"a","event":"b"}` + "\n"
	lines := map[string]string{"Content-Type": "application/x-ndjson"}

	first := sluicetest.Run(t, sluicetest.With(func(c *sluice.Config) { c.DataDir = dir }))
	first.Request("POST", first.Admin, "/api/events", lines, strings.Repeat(event, 10))
	first.Eventually("routed", func() bool { return first.Stats().Position == 10 })
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
		n := sluicetest.Run(t, sluicetest.With(func(c *sluice.Config) { c.DataDir, c.Node, c.Start = dir, test.node, test.start }))
		n.Eventually("at the head", func() bool { return n.Stats().Position == 10 })
		if got := n.Stats().Fetched; got != test.fetched {
			t.Errorf("--start %s of node %q fetched %d events, want %d", test.start, test.node, got, test.fetched)
		}
		n.Stop()
	}
}

func TestNotReadyWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	const address = "127.0.0.1:1" // nobody serves it, and no other test is given it
	n := sluicetest.Start(t, sluicetest.With(func(c *sluice.Config) { c.DatabaseURL = "postgres://user:hidden@" + address + "/app" }))
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
	first := sluicetest.Run(t, sluicetest.With(func(c *sluice.Config) { c.DataDir, c.Node = dir, "first" }))
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
	sluicetest.Run(t, sluicetest.With(func(c *sluice.Config) { c.DataDir, c.Node = dir, "second" }))
}
