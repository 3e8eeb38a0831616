package e2e

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// A service that is told to stop closes its sockets so that clients come back,
// and ends cleanly.
func TestStop(t *testing.T) {
	t.Parallel()
	s := serve(t, "--data-dir", t.TempDir()).ready(t)
	c := connect(t, s.public, "phoenix18")
	c.join(t, "orders", nil)
	if code := s.stop(t); code != 0 {
		t.Errorf("the service ended with status %d", code)
	}
	if closed := c.next(t, "close"); closed.Code != 1012 {
		t.Errorf("the client saw close %d, not 1012", closed.Code)
	}
}

// Thousands of sockets join a topic at the same moment, and get what is sent to
// it. Then the service is told to stop: all are told to come back, 1012, and it
// ends in time and by itself. The figures are logged.
func TestThousandsJoinThenDrain(t *testing.T) {
	t.Parallel()
	sockets := 8000
	if raceEnabled {
		sockets = 2000 // the race detector takes ten times the memory and time
	}
	s := serve(t, "--data-dir", t.TempDir()).ready(t)

	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(256) // the kernel's queue of connections to accept is bounded
	began := time.Now()
	all := make([]*subscriber, sockets)
	for i := range all {
		group.Go(func() (err error) {
			all[i], err = reach(ctx, s.public, "everyone")
			return err
		})
	}
	err := group.Wait()
	defer func() {
		for _, sub := range all {
			if sub != nil {
				sub.conn.Close()
			}
		}
	}()
	if err != nil {
		t.Fatal(err)
	}
	connected := time.Since(began)

	storm := func(each func(*subscriber) error) (took time.Duration) {
		t.Helper()
		var group errgroup.Group
		began := time.Now()
		for _, sub := range all {
			group.Go(func() error { return each(sub) })
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		return time.Since(began)
	}
	joined := storm(func(sub *subscriber) error { return sub.join(false) })
	s.publish(t, "/api/broadcast", "everyone", `{"id":1}`)
	delivered := storm(func(sub *subscriber) error {
		_, _, err := sub.read()
		return err
	})

	began = time.Now()
	s.terminate(t)
	told := storm(func(sub *subscriber) error {
		_, _, err := sub.read()
		if err == nil || !strings.Contains(err.Error(), "closed with 1012") {
			return err
		}
		return sub.conn.Close()
	})
	if code := s.wait(t); code != 0 { // as it does when --drain-timeout has cut someone
		t.Errorf("the service ended with status %d", code)
	}
	t.Logf("%d sockets: connected in %v, joined at once in %v, a broadcast delivered in %v, all told to come back after %v, service ended after %v (race detector: %v)",
		sockets, connected.Round(time.Millisecond), joined.Round(time.Millisecond), delivered.Round(time.Millisecond),
		told.Round(time.Millisecond), time.Since(began).Round(time.Millisecond), raceEnabled)
}
