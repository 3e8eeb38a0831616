package target

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/benchmarks/swarm"
)

import ()

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

// What a node says that no service should say is kept, however it is cut.
func TestAlarms(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	l := &watchedLog{name: "node-1", out: &out}
	for _, piece := range []string{"all is we", "ll\nWARNING: DATA", " RACE\nand so on\nfatal error: all gorou", "tines are asleep\n"} {
		if _, err := io.WriteString(l, piece); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"node-1: WARNING: DATA RACE", "node-1: fatal error: all goroutines are asleep"}
	if got := l.alarm(); !slices.Equal(got, want) {
		t.Errorf("alarms %q, want %q", got, want)
	}
	if got := out.String(); strings.Count(got, "node-1 ") != 4 {
		t.Errorf("logged %q", got)
	}
}

// A server that is started has the flags that it is given, and no other ones.
func TestEnvironmentOfAServer(t *testing.T) {
	t.Setenv("DATABASE_URL", "postgres://localhost/precious")
	t.Setenv("SLUICE_LANES", "3")
	t.Setenv("SLUICE_TEST_RUNS_MAIN", "yes")
	t.Setenv("HOMELY", "yes")
	got := environment()
	for variable, want := range map[string]bool{
		"DATABASE_URL=postgres://localhost/precious": false, "SLUICE_LANES=3": false, "SLUICE_TEST_RUNS_MAIN=yes": true, "HOMELY=yes": true,
	} {
		if slices.Contains(got, variable) != want {
			t.Errorf("%s is handed on: %v, want %v", variable, !want, want)
		}
	}
}

// An address that is leased is nobody else's, though nobody listens there.
func TestLeasesDoNotMeet(t *testing.T) {
	t.Parallel()
	lease, err := LeaseAddress()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", lease.Address)
	if err != nil {
		t.Fatalf("the server that leased it does not have it: %v", err)
	}
	if err := listener.Close(); err != nil {
		t.Error(err)
	}
	if _, err := leaseOf(lease.Address); err == nil {
		t.Error("it is leased twice")
	}
	if err := lease.Release(); err != nil {
		t.Error(err)
	}
	again, err := leaseOf(lease.Address)
	for end := time.Now().Add(time.Minute); err != nil && time.Now().Before(end); { // a process of another test that is being started may have a copy
		runtime.Gosched()
		again, err = leaseOf(lease.Address)
	}
	if err != nil {
		t.Fatalf("it is not given back: %v", err)
	}
	if err := again.Release(); err != nil {
		t.Error(err)
	}
}

// What others listen on is not leased.
func TestLeaseOfWhatIsTaken(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if _, err := leaseOf(listener.Addr().String()); err == nil {
		t.Error("it is leased")
	}
}
