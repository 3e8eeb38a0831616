package benchmarks

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// deafListener takes whatever is posted, and does nothing.
func deafListener() (url string, stop func()) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }))
	return server.URL, server.Close
}

// onTheFloor is the floor in this process.
type onTheFloor struct{ database string }

func (onTheFloor) Name() string { return "floor" }

func (f onTheFloor) Start(context.Context) (*Endpoint, error) {
	var addresses [2]string
	for i := range addresses {
		var err error
		if addresses[i], err = freeAddress(); err != nil {
			return nil, err
		}
	}
	e := Endpoint{Sockets: "ws://" + addresses[0], Admin: "http://" + addresses[1], Database: f.database, Dialect: floorDialect{}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1) // sent once, its capacity
	go func() { ended <- ServeFloor(ctx, e.Sockets, e.Admin, f.database) }()
	stop := func() error {
		cancel()
		return <-ended
	}
	for {
		answer, err := asking.Get(e.Admin + "/readyz")
		if err == nil {
			answer.Body.Close()
			return NewEndpoint(e, stop), nil
		}
		select {
		case err := <-ended:
			return nil, err
		default:
		}
	}
}

// The floor serves what the scenarios that it is a floor of ask for.
func TestFloor(t *testing.T) {
	t.Parallel()
	for _, b := range []*Bulk{DefaultFanout(), DefaultSingle(), DefaultTopics()} {
		small(b)
		b.Server = onTheFloor{}
		for _, payload := range []int{64, 1000, 70_000} {
			b.Payload, b.Events, b.WarmUp, b.Batch = payload, 30, 3, min(b.Batch, 10)
			r, err := b.Run(t.Context(), nil)
			if err != nil || !r.Sound() || r.Events != b.Events {
				t.Errorf("%s of %d bytes: %+v, %v", b.Called, payload, r, err)
			}
		}
	}
}

func TestFloorNeedsItsAddresses(t *testing.T) {
	t.Parallel()
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	for _, addresses := range [][2]string{{"ws://127.0.0.1:-1", "http://" + address}, {"ws://" + address, "http://127.0.0.1:-1"}} {
		if err := ServeFloor(t.Context(), addresses[0], addresses[1], ""); err == nil {
			t.Errorf("%v are served", addresses)
		}
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for pid, known := range map[int]bool{os.Getpid(): true, 0: false, -1: false, 1 << 22: false} {
		if u := UsageOf(pid); (u.CPU > 0) != known {
			t.Errorf("process %d has used %+v", pid, u)
		}
	}
}

// A child that ends, or never gets ready, is an error that says what it said.
func TestChildThatDoesNotServe(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho \"no, not at $1\" >&2\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	child := &Child{Called: "child", Program: program, Args: []string{"{listen}"}, Dialect: swarm.Phoenix{}}
	if _, err := child.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "no, not at 127.0.0.1:") {
		t.Errorf("%v", err)
	}
}

func TestSearchPath(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"postgres://u:p@h/db":                   "postgres://u:p@h/db?search_path=s",
		"postgresql://h/db?sslmode=disable":     "postgresql://h/db?search_path=s&sslmode=disable",
		"postgres://h/db?search_path=elsewhere": "postgres://h/db?search_path=s",
		"host=h dbname=db":                      "host=h dbname=db search_path=s",
	} {
		if got, err := withSearchPath(given, "s"); err != nil || got != want {
			t.Errorf("%q becomes %q, %v; want %q", given, got, err, want)
		}
	}
	if _, err := withSearchPath("postgres://h:port/", "s"); err == nil || strings.Contains(err.Error(), "h:port") {
		t.Errorf("a URL that is none gives %v", err)
	}
}

// With events without end, a run ends with its time.
func TestBulkEndsInTime(t *testing.T) {
	t.Parallel()
	b := DefaultFanout()
	small(b)
	b.Events, b.For = 1<<40, 50*time.Millisecond
	r, err := b.Run(t.Context(), nil)
	if err != nil || !r.Sound() || r.Events == b.Events {
		t.Errorf("%+v, %v", r, err)
	}
}
