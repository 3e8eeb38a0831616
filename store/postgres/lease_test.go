package postgres_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
)

func holderOf(t *testing.T, err error) *store.HeldError {
	t.Helper()
	held := new(store.HeldError)
	if !errors.As(err, &held) {
		t.Fatalf("%v, want that another has it", err)
	}
	return held
}

// TestLeasesAreAnothers has two processes meet, one of them through a pooler.
func TestLeasesAreAnothers(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	one, two := mustOpen(t, postgres.Config{DatabaseURL: url}), mustOpen(t, postgres.Config{DatabaseURL: url, Pooled: true})
	claim := store.Claim{Name: "node:a", Holder: "one", Term: time.Hour}
	lease, err := one.Acquire(t.Context(), claim)
	if err != nil {
		t.Fatal(err)
	}
	claim.Holder = "two"
	_, err = two.Acquire(t.Context(), claim)
	if held := holderOf(t, err); held.Holder != "one" || held.Fence != lease.Fence {
		t.Errorf("two hears of %+v, which is %+v", held, lease)
	}
	if err := one.Release(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	next, err := two.Acquire(t.Context(), claim)
	if err != nil || next.Fence <= lease.Fence {
		t.Errorf("two has %+v after %+v, %v", next, lease, err)
	}
	holderOf(t, one.Renew(t.Context(), lease))
}

// TestLeasesOutliveTheServersClock sets it, as far as leases can see, forth and back.
func TestLeasesOutliveTheServersClock(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: url})
	conn := connect(t, url)
	one, err := log.Acquire(t.Context(), store.Claim{Name: "n", Holder: "one", Term: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	two := store.Claim{Name: "n", Holder: "two", Term: time.Hour}

	mustExec(t, conn, `UPDATE sluice_leases SET since = since + interval '10 years', until = until + interval '10 years', fence = fence + 315360000000000`)
	one.Fence += 315360000000000 // it was acquired before the clock went back
	_, err = log.Acquire(t.Context(), two)
	two.Over = holderOf(t, err)
	if err := log.Renew(t.Context(), one); err != nil { // it is there, and does not wait for ten years
		t.Fatal(err)
	}
	_, err = log.Acquire(t.Context(), two)
	if held := holderOf(t, err); held.Left > time.Hour {
		t.Errorf("renewed, it has another %v", held.Left)
	} else {
		two.Over = held
	}
	next, err := log.Acquire(t.Context(), two)
	if err != nil || next.Fence <= one.Fence {
		t.Fatalf("the next has %+v after %+v, %v", next, one, err)
	}
	holderOf(t, log.Renew(t.Context(), one))

	mustExec(t, conn, `UPDATE sluice_leases SET until = until - interval '10 years'`) // the clock goes forth
	three, err := log.Acquire(t.Context(), store.Claim{Name: "n", Holder: "three", Term: time.Hour})
	if err != nil || three.Fence <= next.Fence {
		t.Fatalf("another has %+v after %+v, %v", three, next, err)
	}
	holderOf(t, log.Renew(t.Context(), next))
}

// TestLeasesOfARestoredDatabase puts the table back to what it was: who has acquired
// a lease since then has it still, and who had it before has not.
func TestLeasesOfARestoredDatabase(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: url})
	conn := connect(t, url)
	claim := store.Claim{Name: "n", Holder: "before", Term: time.Hour}
	before, err := log.Acquire(t.Context(), claim)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, conn, `CREATE TEMPORARY TABLE backup AS SELECT * FROM sluice_leases`)
	_, err = log.Acquire(t.Context(), store.Claim{Name: "n", Holder: "since", Term: time.Hour})
	since, err := log.Acquire(t.Context(), store.Claim{Name: "n", Holder: "since", Term: time.Hour, Over: holderOf(t, err)})
	if err != nil {
		t.Fatal(err)
	}
	for _, restore := range []string{`TRUNCATE sluice_leases`, `TRUNCATE sluice_leases; INSERT INTO sluice_leases SELECT * FROM pg_temp.backup`} {
		for statement := range strings.SplitSeq(restore, "; ") {
			mustExec(t, conn, statement)
		}
		if err := log.Renew(t.Context(), since); err != nil {
			t.Errorf("after %s: %v", restore, err)
		}
		if held := holderOf(t, log.Renew(t.Context(), before)); held.Holder != "since" || held.Fence != since.Fence {
			t.Errorf("after %s it is held by %+v", restore, held)
		}
	}

	// A fence that was given out and forgotten is not given out again.
	mustExec(t, conn, `TRUNCATE sluice_leases`)
	next, err := log.Acquire(t.Context(), store.Claim{Name: "n", Holder: "next", Term: time.Hour})
	if err != nil || next.Fence <= since.Fence {
		t.Errorf("the next has %+v after %+v, %v", next, since, err)
	}
	holderOf(t, log.Renew(t.Context(), since))
}

// TestLeasesWhileTheServerIsAway has a holder learn nothing, and keep its lease.
func TestLeasesWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: server.Schema(t)})
	lease, err := log.Acquire(t.Context(), store.Claim{Name: "n", Holder: "one", Term: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	server.Kill(t)
	_, acquired := log.Acquire(t.Context(), store.Claim{Name: "n", Holder: "one", Term: time.Hour})
	for name, err := range map[string]error{"Acquire": acquired, "Renew": log.Renew(t.Context(), lease), "Release": log.Release(t.Context(), lease)} {
		if !store.RetrySafe(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	server.Start(t)
	for store.RetrySafe(log.Renew(t.Context(), lease)) { // connections of before are found to be dead, one by one
	}
	if err := log.Renew(t.Context(), lease); err != nil {
		t.Error(err)
	}
}
