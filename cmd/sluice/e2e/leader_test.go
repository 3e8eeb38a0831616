package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/sluicehq/sluice/internal/pgtest"
)

// leads tells whether a service says that it leads.
func (s *service) leads(t testing.TB) bool {
	t.Helper()
	var stats struct{ Leader *struct{ Self bool } }
	_, body := s.get(t, "/api/stats")
	return json.Unmarshal([]byte(body), &stats) == nil && stats.Leader != nil && stats.Leader.Self
}

// Whoever leads is killed, and stopped and woken, again and again, while a client of
// another node watches: each event comes once, in order.
func TestLeadersGo(t *testing.T) {
	t.Parallel()
	at := pgtest.Schema(t)
	names := 0
	start := func() *service {
		names++
		return serve(t, "--database-url", at, "--node", fmt.Sprintf("node-%d", names)).ready(t)
	}
	watched := start()
	c := connect(t, watched.public, "phoenix18")
	c.join(t, "orders", map[string]any{"after": nil})
	next := 1
	publish := func() {
		t.Helper()
		watched.publish(t, "/api/events", "orders", fmt.Sprintf(`{"id":%d}`, next))
		c.inOrder(t, next, 1)
		next++
	}
	publish()
	others := []*service{start(), start()}
	led := func() (by int) { // by which of the others; the one that is watched hands over
		t.Helper()
		until(t, "one of the others leads", func() bool {
			by = slices.IndexFunc(others, func(s *service) bool { return s.leads(t) })
			if by < 0 && watched.leads(t) {
				stopFor(t, watched, func() {
					until(t, "the one that is stopped does not lead", func() bool { return others[0].leads(t) || others[1].leads(t) })
				})
			}
			return by >= 0
		})
		return by
	}
	for _, signal := range []os.Signal{syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGKILL} {
		i := led()
		if signal == syscall.SIGSTOP {
			stopFor(t, others[i], publish)
		} else {
			if err := others[i].cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			publish()
			others[i] = start()
		}
		publish()
	}
	for range 5 {
		publish()
	}
}

// stopFor has a service be stopped while something is done.
func stopFor(t testing.TB, s *service, do func()) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { // whatever becomes of the test: what is stopped does not end either
		if err := s.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	}()
	do()
}
