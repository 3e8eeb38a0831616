package auth

import (
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/socket"
)

// TestAuthenticate connects with tokens and without, where they are needed and not.
func TestAuthenticate(t *testing.T) {
	t.Parallel()
	path := write(t, filepath.Join(t.TempDir(), "secret"), secret)
	good := sign(t, jwt.SigningMethodHS256, []byte(secret), "", jwt.MapClaims{"sub": "7"})
	for _, test := range []struct {
		name          string
		keys, anybody bool
		header, query string // tokens
		id            string
		granted, ok   bool
	}{
		{"nothing at all", false, false, "", "", "", false, false},
		{"anybody", false, true, "", "", "", false, true},
		{"anybody, with a token that nobody can verify", false, true, good, "", "", false, true},
		{"a token is needed", true, false, "", "", "", false, false},
		{"a token in the header", true, false, good, "", "user:7", true, true},
		{"a token in the query", true, false, "", good, "user:7", true, true},
		{"the header's counts", true, false, "bad", good, "", false, false},
		{"with keys, anybody without", true, true, "", "", "", false, true},
		{"with keys, nobody with a bad one", true, true, "bad", "", "", false, false},
	} {
		config := Config{Anonymous: test.anybody, Logger: slog.New(slog.DiscardHandler)}
		if test.keys {
			config.SecretFile = path
		}
		a, err := Open(config)
		if err != nil || a.HasKeys() != test.keys {
			t.Fatalf("%s: %v", test.name, err)
		}
		s, err := a.Authenticate(t.Context(), &socket.ConnectRequest{Token: test.header, Params: socket.Params{"token": test.query}})
		if !test.ok {
			refusal := new(socket.Refusal)
			if !errors.As(err, &refusal) || refusal.Status != http.StatusForbidden {
				t.Errorf("%s: %v, %v", test.name, s, err)
			}
			continue
		}
		if err != nil || s.ID != test.id || (Of(s) != nil) != test.granted {
			t.Errorf("%s: %+v, %v", test.name, s, err)
		}
	}
}

// TestRenew brings tokens to a socket that is connected: its own one is taken, with
// what else the socket was assigned.
func TestRenew(t *testing.T) {
	t.Parallel()
	path := write(t, filepath.Join(t.TempDir(), "secret"), secret)
	a, err := Open(Config{SecretFile: path, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	token := func(subject string, topics ...string) string {
		return sign(t, jwt.SigningMethodHS256, []byte(secret), "", jwt.MapClaims{"sub": subject, "topics": topics})
	}
	old := &channels.Socket{ID: "user:7", Assigns: map[string]any{"colour": "red"}}
	renewed, err := a.Renew(t.Context(), old, token("7", "room:*"))
	if err != nil || renewed.Assigns["colour"] != "red" || !Of(renewed).Allows("room:7") || Of(old) != nil {
		t.Fatalf("%+v, %v", renewed, err)
	}
	if !a.Holds(old) || !a.Holds(renewed) {
		t.Error("what let them in would not any more")
	}
	for name, text := range map[string]string{"another's": token("8"), "bad": "bad", "nobody's": token("")} {
		if s, err := a.Renew(t.Context(), old, text); err == nil {
			t.Errorf("%s token: %+v", name, s)
		}
	}
	write(t, path, secret+", another")
	accept, err := a.Reread()
	if err != nil {
		t.Fatal(err)
	}
	accept()
	if !a.Holds(old) || a.Holds(renewed) || a.Changes() != 1 {
		t.Errorf("without a token: %v, with one of the old key: %v; read again %d times", a.Holds(old), a.Holds(renewed), a.Changes())
	}
}
