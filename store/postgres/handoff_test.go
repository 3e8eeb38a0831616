package postgres_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
)

// TestRowIsReadWithItsRound has somebody wait for a row: the round that moves it
// brings it along, unless rows are too large for that.
func TestRowIsReadWithItsRound(t *testing.T) {
	t.Parallel()
	log := mustOpen(t, postgres.Config{DatabaseURL: pgtest.Schema(t)})
	mustRun(t, log)
	append1 := func(after int64, payload string) {
		t.Helper()
		if err := log.Wait(t.Context(), after); err != nil { // from now on somebody has waited
			t.Fatal(err)
		}
		if err := log.Append(t.Context(), []store.Draft{{Topic: "t", Name: "e", Key: []byte("k"), Payload: []byte(payload)}}); err != nil {
			t.Fatal(err)
		}
		for log.KnownHead() == after {
			if err := log.Wait(t.Context(), after); err != nil {
				t.Fatal(err)
			}
		}
	}
	fetch := func(after int64, payload string) {
		t.Helper()
		events, err := log.Fetch(t.Context(), after, store.Limit{Events: 10, Epoch: epochOf(t, log)})
		if err != nil || len(events) != 1 {
			t.Fatalf("%d events, %v; want one", len(events), err)
		}
		if e := events[0]; e.Offset != after+1 || e.Topic != "t" || e.Name != "e" || string(e.Key) != "k" || string(e.Payload) != payload || e.InsertedAt.IsZero() {
			t.Errorf("got %+v", e)
		}
		if log.HasHandoff() {
			t.Error("it is still kept after it was read")
		}
	}
	append1(0, `{}`) // from now on it knows the head
	fetch(0, `{}`)
	append1(1, `{"a":1}`)
	if !log.HasHandoff() {
		t.Error("the row was not read with its round")
	}
	fetch(1, `{"a":1}`)

	large := fmt.Sprintf(`{"a":"%s"}`, strings.Repeat("x", 1<<19))
	append1(2, large)
	fetch(2, large)
	append1(3, large)
	if log.HasHandoff() {
		t.Error("a large row was read with its round, although those before were large")
	}
	fetch(3, large)
}

// TestRoundsAreTold has each round told once it is committed, in order, without anybody
// waiting here: with its rows if they are wanted, and few.
func TestRoundsAreTold(t *testing.T) {
	t.Parallel()
	var lines syncBuffer
	log := mustOpen(t, postgres.Config{DatabaseURL: pgtest.Schema(t), Logger: textLogger(&lines)})
	// How many sessions have led. A machine may be so busy that the server ends one which
	// does nothing for a while; then the next has to learn where the log ends.
	sessions := func() int { return lines.count("this node leads:") }
	var wanted atomic.Bool
	rounds := make(chan store.Sequenced, 100)
	log.OnSequenced(func(s store.Sequenced) { rounds <- s }, wanted.Load)
	mustRun(t, log)
	through := int64(0)
	appended := func(events int) (told []store.Event) {
		t.Helper()
		drafts := make([]store.Draft, events)
		for i := range drafts {
			drafts[i] = store.Draft{Topic: "t", Name: "e", Payload: []byte(`{}`)}
		}
		if err := log.Append(t.Context(), drafts); err != nil {
			t.Fatal(err)
		}
		led := sessions()
		for end := through + int64(events); through < end; {
			var s store.Sequenced
			select {
			case s = <-rounds:
			case <-time.After(patience):
				t.Fatalf("nothing is told after %d", through)
			}
			if s.After != through && (s.After < through || sessions() == led) || s.Through <= s.After || len(s.Events) > 0 && (s.Events[0].Offset != s.After+1 || s.Epoch != epochOf(t, log)) {
				t.Fatalf("after %d this was told: %+v", through, s)
			}
			if head, err := log.Head(t.Context()); err != nil || head.Offset < s.Through {
				t.Fatalf("told before it was committed: %+v, %v", head, err)
			}
			through = s.Through
			told = append(told, s.Events...)
		}
		return told
	}
	appended(1) // from now on it knows the head
	if told := appended(3); len(told) != 0 {
		t.Errorf("%d events were read that nobody wants", len(told))
	}
	wanted.Store(true)
	for {
		led := sessions()
		appended(1)
		told := appended(3)
		if len(told) == 3 && log.Leads() {
			break
		}
		if sessions() == led && log.Leads() {
			t.Fatalf("%d events were told, want 3", len(told))
		}
	}
}

// TestHandoffIsForWhoAsksForIt offers events 5 to 7.
func TestHandoffIsForWhoAsksForIt(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		after int64
		limit store.Limit
		age   time.Duration
		taken bool
	}{
		{4, store.Limit{Events: 3}, 0, true},
		{4, store.Limit{Events: 500, Bytes: 8 << 20, Epoch: "this"}, 0, true},
		{4, store.Limit{Events: 2}, 0, false},
		{4, store.Limit{Events: 3, Bytes: 100}, 0, false},
		{4, store.Limit{Events: 3, Epoch: "another"}, 0, false},
		{3, store.Limit{Events: 3}, 0, false},
		{5, store.Limit{Events: 3}, 0, false},
		{4, store.Limit{Events: 3}, 2 * time.Hour, false},
	} {
		var log postgres.Log
		log.OfferHandoff("this", 5, 3, test.age)
		if got := log.TakeHandoff(test.after, test.limit); test.taken != (len(got) == 3) {
			t.Errorf("after %d with %+v: %d events", test.after, test.limit, len(got))
		}
		if log.HasHandoff() == test.taken {
			t.Errorf("after %d with %+v: kept is %v", test.after, test.limit, log.HasHandoff())
		}
	}
}

// TestWhatWasReadIsNotKept has a reader be sooner than the round that has moved the rows:
// it reads them from the tables before they are kept for it, or after.
func TestWhatWasReadIsNotKept(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: url})
	insertAll(t, log, url, "a", "b", "c")
	epoch := epochOf(t, log)
	fetch := func(after int64, limit int) {
		t.Helper()
		events, err := log.Fetch(t.Context(), after, store.Limit{Events: limit, Epoch: epoch})
		if err != nil || len(events) == 0 || events[0].Topic == "" {
			t.Fatalf("after %d: %d events that are not of the tables, %v", after, len(events), err)
		}
	}
	log.OfferHandoff(epoch, 1, 3, 0)
	fetch(0, 2)
	if !log.HasHandoff() {
		t.Error("it is gone before all of it was read")
	}
	fetch(1, 9)
	if log.HasHandoff() {
		t.Error("it is kept after all of it was read")
	}
	log.OfferHandoff(epoch, 1, 3, 0)
	if log.HasHandoff() {
		t.Error("it is kept though all of it was read before")
	}
	mustExec(t, connect(t, url), `SELECT sluice_begin_epoch()`)
	if _, err := log.Fetch(t.Context(), 3, store.Limit{Events: 1, Epoch: epoch}); !errors.Is(err, store.ErrNewEpoch) {
		t.Errorf("in another epoch: %v", err)
	}
	if log.OfferHandoff("another", 1, 3, 0); !log.HasHandoff() {
		t.Error("what another epoch gives the same offsets to counts as read")
	}
}
