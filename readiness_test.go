package sluice

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/store"
)

// stalling is a log that events do not get into.
type stalling struct {
	chronicle
	err error
}

func (s *stalling) Sequencing(context.Context) error { return s.err }

// TestReasonsAreToldEveryMinute has nobody sequence for some minutes.
func TestReasonsAreToldEveryMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &stalling{chronicle: chronicle{extent: epochs(1, "a")}}
		h := newHealth()
		var lines bytes.Buffer
		h.logger = slog.New(slog.NewTextHandler(&lines, nil))
		h.open(log.extent)
		log.err = &store.StalledError{For: 7 * time.Second, Err: errors.New("permission denied: grant it")}
		began := time.Now()
		for time.Since(began) < 5*time.Minute {
			if err := h.beat(t.Context(), log, func() int64 { return 1 }); err != nil {
				t.Fatal(err)
			}
			if h.reason() == nil || h.ownReason() != nil {
				t.Fatalf("not ready because of %v, and of its own for %v", h.reason(), h.ownReason())
			}
			time.Sleep(pulseInterval)
		}
		if told := strings.Count(lines.String(), "grant it"); told != 5 {
			t.Errorf("told %d times in five minutes:\n%s", told, &lines)
		}
		log.err = nil
		if err := h.beat(t.Context(), log, func() int64 { return 1 }); err != nil || h.reason() != nil || !strings.Contains(lines.String(), "ready again") {
			t.Errorf("%v, %v, and it said:\n%s", err, h.reason(), &lines)
		}
	})
}

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
		{"draining", true, errDraining, 503, 503, "shutting down", "shutting down"},
		{"standing", true, &lineError{1, 9, time.Minute}, 503, 503, "offset 1", "offset 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			config := DefaultConfig()
			config.DataDir, config.AdminToken, config.Logger = t.TempDir(), token, slog.New(slog.DiscardHandler)
			s, err := New(config)
			if err != nil {
				t.Fatal(err)
			}
			if test.begun {
				s.health.open(epochs(9, "a"))
				s.health.see(store.Head{Epoch: "a", Offset: 9}, 9, time.Now())
			}
			switch line := new(lineError); {
			case errors.Is(test.reason, errDraining):
				s.health.drain()
			case errors.As(test.reason, &line):
				s.health.see(store.Head{Epoch: "a", Offset: 9}, 1, time.Now())
				s.health.see(store.Head{Epoch: "a", Offset: 9}, 1, time.Now().Add(time.Minute))
			case test.reason != nil:
				s.health.fail(test.reason)
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
				s.adminHandler().ServeHTTP(answer, request)
				body := answer.Body.String()
				if answer.Code != ask.status || !strings.Contains(body, ask.words) {
					t.Errorf("%q with token %q: %d %s; want %d and %q", ask.query, ask.token, answer.Code, body, ask.status, ask.words)
				}
				if ask.token != token && (strings.Contains(body, "db.internal") || strings.Contains(body, "sluice_app")) {
					t.Errorf("%q with token %q names host or user: %s", ask.query, ask.token, body)
				}
			}
		})
	}
}
