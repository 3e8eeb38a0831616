package sluice

import (
	"context"
	"log/slog"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/internal/verdict"
	"github.com/sluicehq/sluice/socket"
	"github.com/sluicehq/sluice/socket/auth"
)

// TestAnAnswerKeepsNoConnection has yes remembered of a client that leaves: of what it had,
// nothing stays in memory, though the yes is still tied to its token. Hooks and functions ask
// by the same question.
func TestAnAnswerKeepsNoConnection(t *testing.T) {
	t.Parallel()
	revoked := make(revocations)
	a, err := auth.Open(auth.Config{
		Connect: func(context.Context, *socket.ConnectRequest) (*auth.Access, error) {
			return auth.Grant("7", nil, false, time.Time{}, []byte(`{"jti":"a","roles":["some"]}`))
		},
		Revocations: revoked, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	asker := verdict.New[struct{}](verdict.Limits{MaxInFlight: 1, Timeout: time.Minute, Cache: time.Hour})
	yes := func(context.Context) (verdict.Verdict[struct{}], error) {
		return verdict.Verdict[struct{}]{Allowed: true}, nil
	}
	key := verdict.Key{1}
	channel, client, claims := func() (weak.Pointer[ruleChannel], weak.Pointer[channels.Socket], weak.Pointer[auth.Access]) {
		s, err := a.Authenticate(t.Context(), new(socket.ConnectRequest))
		if err != nil {
			t.Fatal(err)
		}
		c := &ruleChannel{ruleSet: &ruleSet{holds: a.HoldsLater}}
		q := c.question(s, false)
		if q.Bytes == 0 {
			t.Error("what a question keeps is not counted")
		}
		q.Key, q.Group = key, "7"
		if _, _, err := asker.Ask(t.Context(), q, yes); err != nil {
			t.Fatal(err)
		}
		return weak.Make(c), weak.Make(s), weak.Make(auth.Of(s))
	}()
	deadline := time.Now().Add(2 * time.Minute)
	for channel.Value() != nil || client.Value() != nil || claims.Value() != nil {
		if time.Now().After(deadline) {
			t.Fatalf("still there: the channel %v, the socket %v, its access %v", channel.Value() != nil, client.Value() != nil, claims.Value() != nil)
		}
		runtime.GC()
		time.Sleep(time.Millisecond) // to look again then: nothing tells that all is gone
	}
	for _, c := range []struct{ revoked, remembered bool }{{false, true}, {true, false}} {
		revoked["a"] = c.revoked
		if _, remembered, err := asker.Ask(t.Context(), verdict.Question{Key: key, Group: "7"}, yes); err != nil || remembered != c.remembered {
			t.Errorf("revoked %v: remembered %v, %v", c.revoked, remembered, err)
		}
	}
}

// revocations are tokens by their jti.
type revocations map[string]bool

func (r revocations) Check(_, id string, _ time.Time) (bool, error) { return r[id], nil }
