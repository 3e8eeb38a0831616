package storetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/store"
)

// never is a term that no test outlasts, and soon one that passes by itself.
const (
	never = time.Hour
	soon  = time.Millisecond
)

// acquire takes a lease that can be had, waiting for one whose term is to pass.
func acquire(t *testing.T, log store.Log, claim store.Claim) store.Lease {
	t.Helper()
	for {
		lease, err := log.Acquire(t.Context(), claim)
		if held := new(store.HeldError); errors.As(err, &held) && held.Left <= soon {
			continue
		}
		if err != nil {
			t.Fatalf("%s acquires %q: %v", claim.Holder, claim.Name, err)
		}
		if lease.Name != claim.Name || lease.Holder != claim.Holder || lease.Term != claim.Term || lease.Fence <= 0 || lease.Since.IsZero() {
			t.Errorf("%+v was given %+v", claim, lease)
		}
		return lease
	}
}

// wantHeld has an error say that a lease is another's.
func wantHeld(t *testing.T, err error, by store.Lease) *store.HeldError {
	t.Helper()
	held := new(store.HeldError)
	if !errors.As(err, &held) || held.Name != by.Name || held.Holder != by.Holder || held.Fence != by.Fence || !held.Since.Equal(by.Since) || held.Left <= 0 || held.Left > by.Term {
		t.Fatalf("%v, want that %+v has it", err, by)
	}
	return held
}

func renew(t *testing.T, log store.Log, lease store.Lease) {
	t.Helper()
	if err := log.Renew(t.Context(), lease); err != nil {
		t.Fatalf("%s renews: %v", lease.Holder, err)
	}
}

func release(t *testing.T, log store.Log, lease store.Lease) {
	t.Helper()
	if err := log.Release(t.Context(), lease); err != nil {
		t.Fatalf("%s releases: %v", lease.Holder, err)
	}
}

func testLeasesAreExclusive(t *testing.T, h Harness) {
	log := open(t, h, polling)
	claim := store.Claim{Name: "node:a", Holder: "one", Term: never}
	one := acquire(t, log, claim)
	another := acquire(t, log, store.Claim{Name: "node:b", Holder: "one", Term: never})
	claim.Holder = "two"
	_, err := log.Acquire(t.Context(), claim)
	first := wantHeld(t, err, one)
	renew(t, log, one)
	_, err = log.Acquire(t.Context(), claim)
	if second := wantHeld(t, err, one); first.Same(second) || !second.Until.After(first.Until) || !second.Same(second) || first.Same(nil) {
		t.Errorf("renewed, it goes from %+v to %+v", first, second)
	}

	claim.Holder = "one" // whose answer was lost
	again := acquire(t, log, claim)
	if again.Fence <= one.Fence {
		t.Errorf("the fence went from %d to %d", one.Fence, again.Fence)
	}
	claim.Holder = "two"
	_, err = log.Acquire(t.Context(), claim)
	wantHeld(t, err, again)
	wantHeld(t, log.Renew(t.Context(), one), again)
	renew(t, log, again)
	renew(t, log, another)
}

func testLeasesExpire(t *testing.T, h Harness) {
	log := open(t, h, polling)
	one := acquire(t, log, store.Claim{Name: "node:a", Holder: "one", Term: soon})
	two := acquire(t, log, store.Claim{Name: "node:a", Holder: "two", Term: never})
	if two.Fence <= one.Fence {
		t.Errorf("the fence went from %d to %d", one.Fence, two.Fence)
	}
	one.Term = never
	wantHeld(t, log.Renew(t.Context(), one), two) // it hung, and goes on
	release(t, log, one)                          // which is not its own any more
	renew(t, log, two)
	_, err := log.Acquire(t.Context(), store.Claim{Name: "node:a", Holder: "one", Term: never})
	wantHeld(t, err, two)
}

// testLeasesAreRenewedLate has a term pass, and nobody come.
func testLeasesAreRenewedLate(t *testing.T, h Harness) {
	log := open(t, h, polling)
	claim := store.Claim{Name: "node:a", Holder: "one", Term: soon}
	one := acquire(t, log, claim)
	acquire(t, log, store.Claim{Name: "node:b", Holder: "one", Term: soon})
	acquire(t, log, store.Claim{Name: "node:b", Holder: "two", Term: never}) // a term has passed that began later
	one.Term = never
	renew(t, log, one)
	_, err := log.Acquire(t.Context(), store.Claim{Name: "node:a", Holder: "two", Term: never})
	wantHeld(t, err, one)
}

func testLeasesAreReleased(t *testing.T, h Harness) {
	log := open(t, h, polling)
	one := acquire(t, log, store.Claim{Name: "node:a", Holder: "one", Term: never})
	two := one
	two.Holder = "two"
	release(t, log, two) // of somebody else
	older := one
	older.Fence--
	release(t, log, older) // of one's own, that was before
	renew(t, log, one)
	release(t, log, one)
	release(t, log, one)
	held := new(store.HeldError)
	if err := log.Renew(t.Context(), one); !errors.As(err, &held) || held.Holder != "" || held.Fence <= one.Fence {
		t.Errorf("renewed after it was released: %v", err)
	}
	two = acquire(t, log, store.Claim{Name: "node:a", Holder: "two", Term: never})
	if two.Fence <= held.Fence {
		t.Errorf("the fence went from %d to %d", held.Fence, two.Fence)
	}
	wantHeld(t, log.Renew(t.Context(), one), two)
}

// testLeasesKnownToBeOver has a claimant know better than the store's clock, and one
// who no longer does.
func testLeasesKnownToBeOver(t *testing.T, h Harness) {
	log := open(t, h, polling)
	one := acquire(t, log, store.Claim{Name: "node:a", Holder: "one", Term: never})
	claim := store.Claim{Name: "node:a", Holder: "two", Term: never}
	_, err := log.Acquire(t.Context(), claim)
	claim.Over = wantHeld(t, err, one)
	renew(t, log, one) // it is there after all
	_, err = log.Acquire(t.Context(), claim)
	claim.Over = wantHeld(t, err, one)
	two := acquire(t, log, claim)
	claim.Holder = "three"
	_, err = log.Acquire(t.Context(), claim) // two has come first
	wantHeld(t, err, two)
	wantHeld(t, log.Renew(t.Context(), one), two)
}

// testLeasesAreUnheardOf has a store be put back to before a lease was acquired: it is
// its holder's still.
func testLeasesAreUnheardOf(t *testing.T, h Harness) {
	log := open(t, h, polling)
	before := acquire(t, log, store.Claim{Name: "node:a", Holder: "before", Term: never})
	since := store.Lease{Name: "node:a", Holder: "since", Term: never, Since: before.Since.Add(time.Minute), Fence: before.Fence + 60_000_000}
	renew(t, log, since)
	wantHeld(t, log.Renew(t.Context(), before), since)
	since.Name = "node:b"
	renew(t, log, since)
	_, err := log.Acquire(t.Context(), store.Claim{Name: "node:b", Holder: "two", Term: never})
	wantHeld(t, err, since)
	release(t, log, since)
	if two := acquire(t, log, store.Claim{Name: "node:b", Holder: "two", Term: never}); two.Fence <= since.Fence {
		t.Errorf("the fence went from %d to %d", since.Fence, two.Fence)
	}
}

// testLeasesAreRaced has many want one name at once, again and again.
func testLeasesAreRaced(t *testing.T, h Harness) {
	const claimants, rounds = 6, 20
	log := open(t, h, polling)
	var last store.Lease
	for round := range rounds {
		won := make(chan store.Lease, claimants)
		var wait sync.WaitGroup
		for _, holder := range []string{"a", "b", "c", "d", "e", "f"} {
			wait.Go(func() {
				lease, err := log.Acquire(t.Context(), store.Claim{Name: "role", Holder: holder, Term: never})
				if held := new(store.HeldError); errors.As(err, &held) {
					return
				}
				if err != nil {
					t.Error(err)
				}
				won <- lease
			})
		}
		wait.Wait()
		if len(won) != 1 {
			t.Fatalf("round %d was won by %d", round, len(won))
		}
		lease := <-won
		if lease.Fence <= last.Fence {
			t.Errorf("round %d has fence %d, after %d", round, lease.Fence, last.Fence)
		}
		if round > 0 {
			wantHeld(t, log.Renew(t.Context(), store.Lease{Name: "role", Holder: last.Holder, Fence: last.Fence, Since: last.Since, Term: never}), lease)
		}
		release(t, log, lease)
		last = lease
	}
}

func leasesOfAClosedLog(t *testing.T, log store.Log) {
	t.Helper()
	_, acquired := log.Acquire(context.Background(), store.Claim{Name: "n", Holder: "h", Term: never})
	lease := store.Lease{Name: "n", Holder: "h", Term: never, Fence: 1}
	for name, err := range map[string]error{"Acquire": acquired, "Renew": log.Renew(context.Background(), lease), "Release": log.Release(context.Background(), lease)} {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s: %v, want ErrClosed", name, err)
		}
	}
}

func testLeasesAreListed(t *testing.T, h Harness) {
	log := open(t, h, polling)
	const expired = time.Nanosecond
	for name, term := range map[string]time.Duration{"node:b": never, "node:a": never, "node:": never, "node:over": expired, "node": never, "NODE:c": never, "role:node:d": never, "node%": never} {
		acquire(t, log, store.Claim{Name: name, Holder: "one", Term: term})
	}
	release(t, log, acquire(t, log, store.Claim{Name: "node:back", Holder: "one", Term: never}))
	for _, each := range []struct {
		prefix string
		want   []string
	}{
		{"node:", []string{"node:", "node:a", "node:b"}},
		{"node%", []string{"node%"}},
		{"", []string{"NODE:c", "node", "node%", "node:", "node:a", "node:b", "role:node:d"}},
		{"none", nil},
	} {
		names, err := log.Held(t.Context(), each.prefix)
		if err != nil || !slices.Equal(names, each.want) {
			t.Errorf("with %q: %q, %v, want %q", each.prefix, names, err, each.want)
		}
	}
}
