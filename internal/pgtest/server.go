package pgtest

import (
	"testing"

	"github.com/sluicehq/sluice/internal/pgserver"
)

// Server is a PostgreSQL server that belongs to one test. Its methods are for
// one goroutine at a time.
type Server struct{ server *pgserver.Server }

// NewServer starts a server of the test's own, on which nothing exists, with more
// settings if it is given some ("name=value"). It is removed when the test ends. The test
// binary's TestMain must call [Main].
func NewServer(t testing.TB, settings ...string) *Server {
	t.Helper()
	server, err := newServer(settings...)
	check(t, err)
	t.Cleanup(func() {
		if err := server.Remove(); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	return &Server{server}
}

// URL connects to the server as its superuser, in a form that parameters can
// be appended to with &. It changes with a promotion.
func (s *Server) URL() string { return s.server.URL() }

// Stop shuts the server down as an administrator does: connections are cut,
// what has been committed is kept.
func (s *Server) Stop(t testing.TB) { t.Helper(); check(t, s.server.Stop()) }

// Kill ends the server as a crash does. It recovers at the next Start.
func (s *Server) Kill(t testing.TB) { t.Helper(); check(t, s.server.Kill()) }

// Start starts a server that is down, on the port that it had.
func (s *Server) Start(t testing.TB) { t.Helper(); check(t, s.server.Start()) }

// Mirror gives the server a standby that has all that is committed from then on.
func (s *Server) Mirror(t testing.TB) { t.Helper(); check(t, s.server.Mirror()) }

// StandbyURL connects to the standby that Mirror has made.
func (s *Server) StandbyURL() string { return s.server.StandbyURL() }

// Promote kills the server and makes its standby the server, at another URL.
func (s *Server) Promote(t testing.TB) { t.Helper(); check(t, s.server.Promote()) }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
}
