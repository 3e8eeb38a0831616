package socket

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/channels"
)

// TestRefusalsAreTold has a hundred clients be refused for each reason: the log has one line of it
// at a time, with where the last of them came from and what would let it in, and never a token.
func TestRefusalsAreTold(t *testing.T) {
	t.Parallel()
	const secret = "eyJ-this-is-a-token"
	for reason, test := range map[rejectReason]struct {
		query string
		words []string
	}{
		rejectReason(TokenMissing): {"", []string{`fault="what is wrong"`, "--anonymous"}},
		rejectReason(TokenInvalid): {"", []string{`fault="what is wrong"`, "sluice token --check"}},
		rejectReason(TokenExpired): {"", []string{`fault="what is wrong"`, "--jwt-leeway"}},
		rejectReason(TokenRevoked): {"", []string{`fault="what is wrong"`, "issued after"}},
		rejectReason(Unavailable):  {"", []string{`fault="what is wrong"`, "/readyz"}},
		rejectedHook:               {"", []string{`fault="what is wrong"`, "connect hook"}},
		rejectedVersion:            {"&vsn=7", []string{"unsupported protocol version", "2.0.x"}},
		rejectedCapacity:           {"&stay=yes", []string{tooMany, "--max-connections"}},
	} {
		t.Run(string(reason), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				r := newRig(t, func(c *Config) {
					c.Logger = slog.New(slog.NewTextHandler(&log, nil))
					c.MaxConnections = 1
					c.Connect = func(_ context.Context, r *ConnectRequest) (*channels.Socket, error) {
						if r.Params.Get("stay") != "" {
							return &channels.Socket{}, nil
						}
						return nil, &Refusal{Status: http.StatusForbidden, Reason: "what is wrong", Cause: Cause(reason)}
					}
				})
				ask := func() {
					req := httptest.NewRequest(http.MethodGet, "/socket/longpoll?token="+secret+test.query, nil)
					if test.query != "&vsn=7" {
						req.URL.RawQuery += "&vsn=2.0.0"
					}
					r.endpoint.ServeHTTP(httptest.NewRecorder(), req)
				}
				if reason == rejectedCapacity {
					ask() // has the place
				}
				for range 100 {
					ask()
				}
				time.Sleep(logEvery) // of the test's own clock
				ask()
				lines := strings.Split(strings.TrimSpace(log.String()), "\n")
				if len(lines) != 2 || strings.Contains(log.String(), secret) {
					t.Fatalf("%s", log.String())
				}
				for _, word := range append(test.words, "level=INFO", "connection refused", "reason="+string(reason), "remote_addr=192.0.2.1:1234", "refused_since=99") {
					if !strings.Contains(lines[1], word) {
						t.Errorf("no %q in %s", word, lines[1])
					}
				}
				_ = r.stop()
			})
		})
	}
}

// TestRefusalsNameWhatHelps: whatever a connection is refused for, there is a word about it.
func TestRefusalsNameWhatHelps(t *testing.T) {
	t.Parallel()
	for reason := range newEndpointMetrics(nil).rejected {
		if letsIn[reason] == "" && reason != rejectedOrigin {
			t.Errorf("%s: nothing is said to let it in", reason)
		}
	}
}
