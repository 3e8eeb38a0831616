package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/store"
)

func testAppendedIsFetched(t *testing.T, h Harness) {
	log := openAndRun(t, h)
	before := time.Now().Add(-time.Minute)
	drafts := []store.Draft{
		{Topic: "orders:eu", Name: "created", Payload: []byte(`{"id":  7, "b":1, "a":2}`), Key: []byte("7")},
		{Topic: "orders:us", Name: "deleted", Payload: []byte(`{}`), Key: []byte{}},
		{Topic: "orders:eu", Name: "created"},
	}
	mustAppend(t, log, drafts...)
	mustAppend(t, log) // of nothing does nothing
	events := fetch(t, log, 0, 3)
	drafts[2].Payload = []byte("{}")
	for i, e := range events {
		d := drafts[i]
		if e.Topic != d.Topic || e.Name != d.Name || !bytes.Equal(e.Payload, d.Payload) || !bytes.Equal(e.Key, d.Key) || (e.Key == nil) != (d.Key == nil) {
			t.Errorf("event %d is %+v, want %+v", i, e, d)
		}
		if e.InsertedAt.Before(before) || e.InsertedAt.After(time.Now().Add(time.Minute)) || e.InsertedAt.Location() != time.UTC {
			t.Errorf("event %d was inserted at %v, it is %v", i, e.InsertedAt, time.Now().UTC())
		}
	}
	if more, err := log.Fetch(t.Context(), 3, store.Limit{Events: 10}); err != nil || len(more) != 0 {
		t.Errorf("after the last: %v, %v; want nothing", more, err)
	}
	head, err := log.Head(t.Context())
	if err != nil || head.Offset != 3 || head.Trimmed != 0 || head.Epoch == "" {
		t.Errorf("head is %+v, %v", head, err)
	}
}

func testFetchKeepsToItsLimits(t *testing.T, h Harness) {
	log := openAndRun(t, h)
	const count, size = 50, 1000
	payload := []byte(fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", size-len(`{"text":""}`))))
	var drafts []store.Draft
	for range count {
		drafts = append(drafts, store.Draft{Topic: "t", Name: "e", Payload: payload})
	}
	mustAppend(t, log, drafts...)
	fetch(t, log, 0, count)
	for _, test := range []struct {
		limit store.Limit
		most  int
	}{
		{store.Limit{Events: 1}, 1},
		{store.Limit{Events: 7}, 7},
		{store.Limit{Events: 1000}, count},
		{store.Limit{Events: 1000, Bytes: 1}, 1},
		{store.Limit{Events: 1000, Bytes: 2*size + 1}, 3},
		{store.Limit{Events: 2, Bytes: 10 * size}, 2},
		{store.Limit{Events: 1000, Bytes: 1000 * size}, count},
	} {
		after := int64(0)
		for reads := 0; after < count; reads++ {
			events, err := log.Fetch(t.Context(), after, test.limit)
			if err != nil {
				t.Fatal(err)
			}
			if len(events) == 0 || len(events) > test.most {
				t.Fatalf("%+v: %d events, want 1 to %d", test.limit, len(events), test.most)
			}
			for _, e := range events {
				if after++; e.Offset != after || !bytes.Equal(e.Payload, payload) {
					t.Fatalf("%+v: offset %d with %d bytes, want offset %d", test.limit, e.Offset, len(e.Payload), after)
				}
			}
		}
	}
}

func testFetchRefusesNonsense(t *testing.T, h Harness) {
	log := open(t, h, polling)
	for _, limit := range []store.Limit{{}, {Events: -1}, {Events: 1, Bytes: -1}} {
		if _, err := log.Fetch(t.Context(), 0, limit); err == nil {
			t.Errorf("limit %+v was taken", limit)
		}
	}
	if _, err := log.Fetch(t.Context(), -1, store.Limit{Events: 1}); err == nil {
		t.Error("offset -1 was taken")
	}
	const last = 1<<63 - 1
	if events, err := log.Fetch(t.Context(), last, store.Limit{Events: 10}); err != nil || len(events) != 0 {
		t.Errorf("after the greatest offset: %v, %v; want nothing", events, err)
	}
}

func testFetchOfTrimmedEvents(t *testing.T, h Harness) {
	log := openAndRun(t, h)
	mustAppend(t, log, numbered("t", 1, 10)...)
	fetch(t, log, 0, 10)
	mustExec(t, h, `DELETE FROM sluice_log WHERE "offset" <= 4`)
	mustExec(t, h, `UPDATE sluice_meta SET trimmed = 4`)
	see(t, h, log)
	for after := range int64(4) {
		if _, err := log.Fetch(t.Context(), after, store.Limit{Events: 5}); !errors.Is(err, store.ErrTrimmed) {
			t.Errorf("fetch after %d: %v, want ErrTrimmed", after, err)
		}
	}
	fetch(t, log, 4, 6)

	mustExec(t, h, `DELETE FROM sluice_log`)
	mustExec(t, h, `UPDATE sluice_meta SET trimmed = 10`)
	if head, err := log.Head(t.Context()); err != nil || head.Offset != 10 || head.Trimmed != 10 {
		t.Errorf("head of a log whose events are all trimmed is %+v, %v; want 10", head, err)
	}
	if _, err := log.Fetch(t.Context(), 9, store.Limit{Events: 5}); !errors.Is(err, store.ErrTrimmed) {
		t.Errorf("fetch after 9: %v, want ErrTrimmed", err)
	}
	mustAppend(t, log, numbered("t", 11, 1)...)
	fetch(t, log, 10, 1) // offsets are not used again
}

func testFetchNoticesAGap(t *testing.T, h Harness) {
	log := openAndRun(t, h)
	mustAppend(t, log, numbered("t", 1, 5)...)
	fetch(t, log, 0, 5)
	mustExec(t, h, `DELETE FROM sluice_log WHERE "offset" = 3`)
	if h.Remembers { // what was read before is: another log has read nothing
		log = open(t, h, polling)
	}
	for _, after := range []int64{0, 1, 2} {
		if events, err := log.Fetch(t.Context(), after, store.Limit{Events: 5}); !errors.Is(err, store.ErrTrimmed) {
			t.Errorf("fetch after %d over a gap at 3: %d events, error %v; want ErrTrimmed", after, len(events), err)
		}
	}
	fetch(t, log, 3, 2)
}

// testWhatIsRemovedCountsAsTrimmed has somebody remove rows of the log, before it is
// run and while it is: who misses some of them cannot resume, who has seen them all
// can, and offsets go on.
func testWhatIsRemovedCountsAsTrimmed(t *testing.T, h Harness) {
	log := open(t, h, polling)
	for turn, test := range []struct {
		where string // n counts from 1
		last  int64  // n of the last that is removed
	}{{`n <= 4`, 4}, {`n = 4`, 4}, {`n IN (2, 4)`, 4}, {`n > 6`, 10}, {`n > 0`, 10}} {
		stop := run(t, log)
		before := fetchHead(t, log)
		base := before.Offset
		mustAppend(t, log, numbered("t", 1, 10)...)
		fetch(t, log, base, 10)
		if turn%2 == 1 { // nobody looks
			stop()
		}
		mustExec(t, h, fmt.Sprintf(`DELETE FROM sluice_log WHERE "offset" > %d AND %s`, base, strings.ReplaceAll(test.where, "n ", fmt.Sprintf(`"offset" - %d `, base))))
		for after := base; after <= base+10; after++ {
			seen := after >= base+test.last
			now := extent(t, log)
			if _, whole := now.Resume(store.Cursor{Epoch: before.Epoch, Offset: after}); whole != seen {
				t.Errorf("%s: %d resumes: %v, of %+v", test.where, after, whole, now)
			}
			if _, _, err := log.Replay(t.Context(), "t", after, base+10, store.Limit{Events: 100}); errors.Is(err, store.ErrTrimmed) == seen {
				t.Errorf("%s: replay after %d: %v", test.where, after, err)
			}
		}
		if turn%2 == 1 {
			stop = run(t, log)
		}
		for turn > 0 && fetchHead(t, log).Epoch == before.Epoch { // the first is the front alone
			if err := log.Wait(t.Context(), base+10); err != nil {
				t.Fatal(err)
			}
		}
		mustAppend(t, log, numbered("t", 11, 1)...)
		if e := fetch(t, log, base+10, 1)[0]; e.Offset != base+11 {
			t.Errorf("%s: the next event has offset %d, want %d", test.where, e.Offset, base+11)
		}
		stop()
	}
	if got := fetchHead(t, log); got.Trimmed != 4*11+10 {
		t.Errorf("the log is %+v", got)
	}
}

// testEventsKeepTheirOffsets has somebody try to give them others, and then change
// what is none.
func testEventsKeepTheirOffsets(t *testing.T, h Harness) {
	log := openAndRun(t, h)
	mustAppend(t, log, numbered("t", 1, 5)...)
	fetch(t, log, 0, 5)
	if _, err := h.DB.ExecContext(t.Context(), `UPDATE sluice_log SET "offset" = 9 WHERE "offset" = 3`); err == nil || !strings.Contains(err.Error(), "keeps its offset") {
		t.Errorf("an event was given another offset, %v", err)
	}
	mustExec(t, h, `UPDATE sluice_log SET payload = '{}' WHERE "offset" = 3`)
	fetch(t, log, 0, 5)
}
