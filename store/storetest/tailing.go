package storetest

import (
	"fmt"
	"testing"

	"github.com/sluicehq/sluice/store"
)

// tailOf is what Tail is to return of a log that keeps these events, and reaches as far
// as the last of them or trimmed.
func tailOf(kept []store.Event, trimmed int64, topic string, count int, upTo int64) int64 {
	head := trimmed
	for _, e := range kept {
		head = e.Offset
	}
	after := min(upTo, head)
	for i := len(kept) - 1; i >= 0 && count > 0; i-- {
		if e := kept[i]; e.Topic == topic && e.Offset <= upTo {
			after, count = e.Offset-1, count-1
		}
	}
	return after
}

// wantTails compares Tail with what is kept, of topics and numbers of all kinds.
func wantTails(t *testing.T, log store.Log, kept []store.Event, trimmed int64, epoch string) {
	t.Helper()
	last := trimmed
	if len(kept) > 0 {
		last = kept[len(kept)-1].Offset
	}
	for topic, counts := range map[string][]int{"every:2": {1, 2, 7, 50, 10_000}, "every:100": {1, 3}, "every": {5}, "t\x00": {5}, "\xff": {5}} {
		for _, upTo := range []int64{last, (trimmed + last) / 2, trimmed, 1<<63 - 1} {
			for _, count := range counts {
				got, err := log.Tail(t.Context(), topic, count, upTo, epoch)
				if want := tailOf(kept, trimmed, topic, count, upTo); err != nil || got != want {
					t.Errorf("the last %d of %q up to %d are after %d, %v; want %d", count, topic, upTo, got, err, want)
				}
			}
		}
	}
}

func mixed(first, count int) (drafts []store.Draft) {
	for n := range count {
		drafts = append(drafts, store.Draft{Topic: fmt.Sprint("every:", []int{2, 3, 100}[(first+n)%7%3]), Name: "e"})
	}
	return drafts
}

// testTailCountsFromTheEnd compares with what Fetch returns, of an empty log and of one
// that grows, is erased and loses its beginning.
func testTailCountsFromTheEnd(t *testing.T, h Harness) {
	log := openAndRun(t, h)
	for _, upTo := range []int64{0, 7} {
		if after, err := log.Tail(t.Context(), "every:2", 5, upTo, ""); err != nil || after != 0 {
			t.Errorf("an empty log's last events up to %d are after %d, %v", upTo, after, err)
		}
	}
	mustAppend(t, log, mixed(0, 100)...)
	kept := fetch(t, log, 0, 100)
	epoch := fetchHead(t, log).Epoch
	wantTails(t, log, kept, 0, epoch)

	if _, _, _, err := log.Erase(t.Context(), store.Selection{Topic: "every:2"}); err != nil {
		t.Fatal(err)
	}
	wantTails(t, log, kept, 0, "") // what is erased has its place

	mustExec(t, h, `UPDATE sluice_meta SET trimmed = 60`) // its rows go later
	wantTails(t, log, kept[60:], 60, epoch)
	mustExec(t, h, `DELETE FROM sluice_log WHERE "offset" <= 60`)
	wantTails(t, log, kept[60:], 60, epoch)

	mustExec(t, h, `UPDATE sluice_meta SET trimmed = 100`)
	wantTails(t, log, nil, 100, epoch)
	mustExec(t, h, `DELETE FROM sluice_log`)
	wantTails(t, log, nil, 100, epoch)
	mustAppend(t, log, mixed(100, 5)...)
	wantTails(t, log, fetch(t, log, 100, 5), 100, epoch)
}

func testTailRefusesNonsense(t *testing.T, h Harness) {
	log := open(t, h, polling)
	for _, test := range []struct {
		count int
		upTo  int64
	}{{0, 1}, {-1, 1}, {1, -1}} {
		if _, err := log.Tail(t.Context(), "t", test.count, test.upTo, ""); err == nil {
			t.Errorf("%+v was taken", test)
		}
	}
}
