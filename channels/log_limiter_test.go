package channels

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestFailuresDoNotFloodTheLog has a client bring about what fails, by every way that is
// logged, as often as it can.
func TestFailuresDoNotFloodTheLog(t *testing.T) {
	for name, fails := range map[string]*script{
		"handlers that panic": {in: func(*Context, string) Result { panic("in") }},
		"handlers that fail":  {in: func(*Context, string) Result { return Stop(errors.New("enough")) }},
		"joins that fail":     {join: func(*Context) (any, error) { return nil, errors.New("no store") }},
		"joins that panic":    {join: func(*Context) (any, error) { panic("join") }},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, s *stage) {
				var log strings.Builder // written to by one goroutine at a time
				s.host.logger = slog.New(slog.NewTextHandler(&log, nil))
				try := func() {
					a := s.joinWith(fails, Payload{}, nil)
					synctest.Wait()
					a.Receive(Inbound{Event: "x"})
					synctest.Wait()
				}
				for range 1000 {
					try()
				}
				if n := strings.Count(log.String(), "level=ERROR"); n != logLines {
					t.Errorf("%d lines for 1000 failures, want %d", n, logLines)
				}
				log.Reset()
				time.Sleep(logPeriod) // of the test's own clock
				try()
				if want := fmt.Sprintf("not_logged_before=%d", 1000-logLines); !strings.Contains(log.String(), want) {
					t.Errorf("logged %q, want %s", log.String(), want)
				}
			})
		})
	}
}
