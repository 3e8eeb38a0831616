package admin

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/stages"
	"github.com/sluicehq/sluice/store"
)

// TestReadinessTellsWhoMayKnow asks with a token and without, for the installation
// and for the node alone.
func TestReadinessTellsWhoMayKnow(t *testing.T) {
	t.Parallel()
	const token = "a-token-of-the-admins"
	lost := &store.UnavailableError{Op: "postgres: read the log's head", Addr: "db.internal:5432", Err: errors.New(`password authentication failed for user "sluice_app"`)}
	stalled := &store.StalledError{For: 9 * time.Second, Err: lost}
	for _, test := range []struct {
		name        string
		begun       bool
		reason      error
		all, node   int
		told, outer string // to who brings the token, and who does not
	}{
		{"ready", true, nil, 200, 200, "ready", "ready"},
		{"lost", true, lost, 503, 200, "db.internal", "cannot be read or written"},
		{"stalled", true, stalled, 503, 200, "sluice_app", "for 9s, events of the outbox have not been sequenced"},
		{"starting", false, lost, 503, 503, "db.internal", "cannot be read or written"},
		{"draining", true, stages.ErrDraining, 503, 503, "shutting down", "shutting down"},
		{"standing", true, errStanding, 503, 503, "offset 1", "offset 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				set, err := metrics.New(metrics.Config{})
				if err != nil {
					t.Fatal(err)
				}
				logger := slog.New(slog.DiscardHandler)
				tokens, err := NewTokens(FixedToken(token, logger), nil, set, logger)
				if err != nil {
					t.Fatal(err)
				}
				readiness := stages.NewReadiness(logger)
				monitor := stages.NewMonitor(readiness, nil, nil)
				handler := New(Config{Tokens: tokens, Stream: &stages.Stream{}, Readiness: readiness, Metrics: set, Logger: logger, Console: http.NotFoundHandler(), View: http.NotFoundHandler()})
				if test.begun {
					monitor.Open(standing{}.extent())
					watch(t, monitor, errors.Is(test.reason, errStanding))
				}
				switch {
				case errors.Is(test.reason, stages.ErrDraining):
					readiness.Drain()
				case test.reason != nil && !errors.Is(test.reason, errStanding):
					readiness.Fail(test.reason)
				}
				for _, ask := range []struct {
					query, token string
					status       int
					words        string
				}{
					{"", token, test.all, test.told},
					{"", "", test.all, test.outer},
					{"", "another", test.all, test.outer},
					{"?scope=node", token, test.node, ""},
					{"?scope=node", "", test.node, ""},
					{"?scope=world", "", 400, "scope=node"},
				} {
					request := httptest.NewRequest(http.MethodGet, "http://127.0.0.1/readyz"+ask.query, nil)
					if ask.token != "" {
						request.Header.Set("Authorization", "Bearer "+ask.token)
					}
					answer := httptest.NewRecorder()
					handler.ServeHTTP(answer, request)
					body := answer.Body.String()
					if answer.Code != ask.status || !strings.Contains(body, ask.words) {
						t.Errorf("%q with token %q: %d %s; want %d and %q", ask.query, ask.token, answer.Code, body, ask.status, ask.words)
					}
					if ask.token != token && (strings.Contains(body, "db.internal") || strings.Contains(body, "sluice_app")) {
						t.Errorf("%q with token %q names host or user: %s", ask.query, ask.token, body)
					}
				}
			})
		})
	}
}

// errStanding stands for a line that does not move.
var errStanding = errors.New("the line stands")

// standing is a log of which a monitor asks the head.
type standing struct{ store.Log }

func (standing) extent() store.Extent {
	return store.Extent{Head: store.Head{Epoch: "a", Offset: 9}, Epochs: []store.Epoch{{ID: "a", First: 1}}}
}

func (s standing) Head(context.Context) (store.Head, error) { return s.extent().Head, nil }

func (standing) Sequencing(context.Context) error { return nil }

// watch has the monitor see the log for long enough to tell whether the line moves.
func watch(t *testing.T, m *stages.Monitor, stands bool) {
	t.Helper()
	routed := int64(9)
	if stands {
		routed = 1
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := m.Watch(ctx, standing{}, func() int64 { return routed }); err != nil {
		t.Fatal(err)
	}
}
