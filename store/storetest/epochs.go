package storetest

import (
	"errors"
	"regexp"
	"slices"
	"testing"

	"github.com/sluicehq/sluice/store"
)

func extent(t *testing.T, log store.Log) store.Extent {
	t.Helper()
	h, err := log.Extent(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// testEpochsAreAChain begins epochs at 0, at 5 and at 5 again, and has those
// forgotten that nobody can resume from.
func testEpochsAreAChain(t *testing.T, h Harness) {
	log := openAndRun(t, h)
	names := []string{fetchHead(t, log).Epoch}
	begin := func() {
		t.Helper()
		mustExec(t, h, h.BeginEpoch)
		names = append(names, fetchHead(t, log).Epoch)
	}
	want := func(epochs ...store.Epoch) {
		t.Helper()
		if got := extent(t, log); got.Head != fetchHead(t, log) || !slices.Equal(got.Epochs, epochs) {
			t.Errorf("the extent is %+v, want epochs %v", got, epochs)
		}
	}
	want(store.Epoch{ID: names[0], First: 1})
	begin()
	mustAppend(t, log, numbered("t", 1, 5)...)
	fetch(t, log, 0, 5)
	begin()
	begin()
	want(store.Epoch{ID: names[0], First: 1}, store.Epoch{ID: names[1], First: 1}, store.Epoch{ID: names[2], First: 6}, store.Epoch{ID: names[3], First: 6})
	mustAppend(t, log, numbered("t", 6, 5)...)
	fetch(t, log, 5, 5) // offsets go on
	for _, test := range []struct {
		at    store.Cursor
		after int64
		whole bool
	}{
		{store.Cursor{Epoch: names[0], Offset: 0}, 0, true},
		{store.Cursor{Epoch: names[1], Offset: 5}, 5, true},
		{store.Cursor{Epoch: names[1], Offset: 6}, 5, false},
		{store.Cursor{Epoch: names[3], Offset: 10}, 10, true},
		{store.Cursor{Epoch: names[3], Offset: 11}, 10, false},
	} {
		h := extent(t, log)
		if after, whole := h.Resume(test.at); after != test.after || whole != test.whole {
			t.Errorf("%+v resumes after %d, whole %v; want %d, %v", test.at, after, whole, test.after, test.whole)
		}
	}
	if slices.Sort(names); len(slices.Compact(names)) != 4 {
		t.Errorf("the epochs are %v, want four", names)
	}
	mustExec(t, h, `UPDATE sluice_meta SET trimmed = 10`)
	mustExec(t, h, h.BeginEpoch)
	if got := extent(t, log); len(got.Epochs) != 2 || got.Epochs[1].First != 11 {
		t.Errorf("the epochs are %v, want the one that reaches back to 10, and a new one", got.Epochs)
	}
}

// testInstallationStays has all logs of a store say the same, for ever.
func testInstallationStays(t *testing.T, h Harness) {
	log := openAndRun(t, h)
	want := extent(t, log).Installation
	if !installation.MatchString(want) {
		t.Errorf("the installation is %q, which is no UUID of random digits", want)
	}
	mustAppend(t, log, numbered("t", 1, 5)...)
	fetch(t, log, 0, 5)
	mustExec(t, h, h.BeginEpoch)
	for _, each := range []store.Log{log, open(t, h, polling)} {
		if got := extent(t, each).Installation; got != want {
			t.Errorf("the installation was %s and is %s", want, got)
		}
	}
}

// installation is as RFC 9562, section 5.4, has it.
var installation = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func testInstallationsDiffer(t *testing.T, one, other Harness) {
	if a, b := extent(t, open(t, one, polling)).Installation, extent(t, open(t, other, polling)).Installation; a == b {
		t.Errorf("two stores are of one installation, %s", a)
	}
}

// testReadersKeepToTheirEpoch begins an epoch while somebody reads the one
// before: what the new one has given out is not read for the old one's.
func testReadersKeepToTheirEpoch(t *testing.T, h Harness) {
	log := openAndRun(t, h)
	mustAppend(t, log, numbered("t", 1, 5)...)
	fetch(t, log, 0, 5)
	old := store.Limit{Events: 100, Epoch: fetchHead(t, log).Epoch}
	read := func(after int64, limit store.Limit) (fetched, replayed int, errs [2]error) {
		events, err := log.Fetch(t.Context(), after, limit)
		again, _, errReplay := log.Replay(t.Context(), "t", after, after+100, limit)
		return len(events), len(again), [2]error{err, errReplay}
	}
	want := func(after int64, limit store.Limit, events int) {
		t.Helper()
		if fetched, replayed, errs := read(after, limit); fetched != events || replayed != events || errs != [2]error{} {
			t.Errorf("after %d: fetched %d and replayed %d events, want %d: %v", after, fetched, replayed, events, errs)
		}
	}
	wantNone := func(after int64) {
		t.Helper()
		fetched, replayed, errs := read(after, old)
		if fetched+replayed > 0 || !errors.Is(errs[0], store.ErrNewEpoch) || !errors.Is(errs[1], store.ErrNewEpoch) {
			t.Errorf("after %d: fetched %d and replayed %d events of another epoch: %v", after, fetched, replayed, errs)
		}
		if at, err := log.Tail(t.Context(), "t", 3, after+100, old.Epoch); !errors.Is(err, store.ErrNewEpoch) {
			t.Errorf("the last events in another epoch are after %d, %v", at, err)
		}
	}
	want(2, old, 3)
	want(5, old, 0)
	mustExec(t, h, h.BeginEpoch)
	see(t, h, log)
	wantNone(2)
	wantNone(5)
	mustAppend(t, log, numbered("t", 6, 5)...)
	fetch(t, log, 5, 5)
	wantNone(5)
	want(5, store.Limit{Events: 100}, 5)
	want(5, store.Limit{Events: 100, Epoch: fetchHead(t, log).Epoch}, 5)
}
