package channels

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/store"
)

// TestFailuresDoNotFloodTheLog has a client bring about what fails, by every way that is
// logged, as often as it can.
func TestFailuresDoNotFloodTheLog(t *testing.T) {
	away := fmt.Errorf("publish: %w", &store.UnavailableError{Op: "append", Addr: "db"})
	for name, test := range map[string]struct {
		fails  *script
		lines  int
		period time.Duration
	}{
		"handlers that panic": {&script{in: func(*Context, string) Result { panic("in") }}, faultLines, faultPeriod},
		"handlers that fail":  {&script{in: func(*Context, string) Result { return Stop(errors.New("enough")) }}, faultLines, faultPeriod},
		"joins that fail":     {&script{join: func(*Context) (any, error) { return nil, errors.New("no store") }}, faultLines, faultPeriod},
		"joins that panic":    {&script{join: func(*Context) (any, error) { panic("join") }}, faultLines, faultPeriod},
		"joins in an outage":  {&script{join: func(*Context) (any, error) { return nil, away }}, outageLines, outagePeriod},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, s *stage) {
				var log strings.Builder // written to by one goroutine at a time
				s.host.logger = slog.New(slog.NewTextHandler(&log, nil))
				try := func() {
					a := s.joinWith(test.fails, Payload{}, nil)
					synctest.Wait()
					a.Receive(Inbound{Event: "x"})
					synctest.Wait()
				}
				for range 1000 {
					try()
				}
				if n := strings.Count(log.String(), "level=ERROR"); n != test.lines {
					t.Errorf("%d lines for 1000 failures, want %d", n, test.lines)
				}
				log.Reset()
				time.Sleep(test.period) // of the test's own clock
				try()
				if want := fmt.Sprintf("not_logged_before=%d", 1000-test.lines); !strings.Contains(log.String(), want) {
					t.Errorf("logged %q, want %s", log.String(), want)
				}
			})
		})
	}
}
