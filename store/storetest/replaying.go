package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/sluicehq/sluice/store"
)

// replay pages through one topic as its callers do.
func replay(t *testing.T, log store.Log, topic string, after, upTo int64, limit store.Limit) (events []store.Event, end int64) {
	t.Helper()
	for after < upTo {
		page, through, err := log.Replay(t.Context(), topic, after, upTo, limit)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) > limit.Events {
			t.Fatalf("%d events with limit %+v", len(page), limit)
		}
		for i, e := range page {
			if e.Offset <= after || e.Offset > through || i > 0 && e.Offset <= page[i-1].Offset {
				t.Fatalf("offset %d in a page after %d through %d", e.Offset, after, through)
			}
		}
		events = append(events, page...)
		if through > upTo || through < after {
			t.Fatalf("replay after %d up to %d is through %d", after, upTo, through)
		}
		if through == after {
			break
		}
		after = through
	}
	return events, after
}

func sameEvent(a, b store.Event) bool {
	return a.Offset == b.Offset && a.Topic == b.Topic && a.Name == b.Name && a.InsertedAt.Equal(b.InsertedAt) &&
		bytes.Equal(a.Payload, b.Payload) && bytes.Equal(a.Key, b.Key) && (a.Key == nil) == (b.Key == nil)
}

// testReplayReadsOneTopic compares with what Fetch returns of the topic.
func testReplayReadsOneTopic(t *testing.T, h Harness) {
	log := openAndRun(t, h)
	const count = 200
	var drafts []store.Draft
	for n := range count {
		d := store.Draft{Topic: fmt.Sprint("every:", []int{2, 3, 100}[n%7%3]), Name: "e", Payload: fmt.Appendf(nil, `{"n":%d}`, n)}
		if n%5 == 0 {
			d.Key = fmt.Append(nil, n)
		}
		drafts = append(drafts, d)
	}
	mustAppend(t, log, drafts...)
	all := fetch(t, log, 0, count)
	for _, span := range [][2]int64{{0, count}, {0, 1}, {17, 18}, {50, 150}, {count - 1, count}, {count, count}} {
		for _, topic := range []string{"every:2", "every:3", "every:100", "every", "every:2 "} {
			var want []store.Event
			for _, e := range all[span[0]:span[1]] {
				if e.Topic == topic {
					want = append(want, e)
				}
			}
			for _, limit := range []store.Limit{{Events: 1}, {Events: 7}, {Events: len(want) + 1}, {Events: 1000, Bytes: 1}, {Events: 1000, Bytes: 30}, {Events: 1000, Bytes: 1 << 20}} {
				got, end := replay(t, log, topic, span[0], span[1], limit)
				if !slices.EqualFunc(got, want, sameEvent) || end != span[1] {
					t.Errorf("%s after %d up to %d with %+v: got %v through %d, want %v", topic, span[0], span[1], limit, got, end, want)
				}
			}
		}
	}
}

func testReplayEndsWithTheLog(t *testing.T, h Harness) {
	log := openAndRun(t, h)
	want := func(topic string, after, upTo int64, events int, through int64) {
		t.Helper()
		got, reached, err := log.Replay(t.Context(), topic, after, upTo, store.Limit{Events: 100, Bytes: 1 << 20})
		if err != nil || len(got) != events || reached != through {
			t.Errorf("%q after %d up to %d: %d events through %d, %v; want %d through %d", topic, after, upTo, len(got), reached, err, events, through)
		}
	}
	want("t", 0, 0, 0, 0)
	want("t", 0, 10, 0, 0)
	mustAppend(t, log, numbered("t", 1, 3)...)
	fetch(t, log, 0, 3)
	const last = 1<<63 - 1
	want("t", 0, 3, 3, 3)
	want("t", 0, last, 3, 3) // what comes later has not been seen
	want("t", 2, last, 1, 3)
	want("t", 3, last, 0, 3)
	want("t", 7, last, 0, 7)
	want("t", last, last, 0, last)
	for _, topic := range []string{"absent", "", "t\x00", "\xff", "phoenix"} {
		want(topic, 0, 2, 0, 2)
		want(topic, 0, last, 0, 3)
	}
	mustAppend(t, log, numbered("t", 4, 2)...)
	fetch(t, log, 3, 2)
	want("t", 3, 5, 2, 5)
}

func testReplayRefusesNonsense(t *testing.T, h Harness) {
	log := open(t, h, polling)
	for _, test := range []struct {
		after, upTo int64
		limit       store.Limit
	}{
		{0, 1, store.Limit{}},
		{0, 1, store.Limit{Events: -1}},
		{0, 1, store.Limit{Events: 1, Bytes: -1}},
		{-1, 1, store.Limit{Events: 1}},
		{2, 1, store.Limit{Events: 1}},
	} {
		if _, _, err := log.Replay(t.Context(), "t", test.after, test.upTo, test.limit); err == nil {
			t.Errorf("%+v was taken", test)
		}
	}
}

// testReplayOfTrimmedEvents says so also to a topic that has lost nothing: it
// cannot be known any more.
func testReplayOfTrimmedEvents(t *testing.T, h Harness) {
	log := openAndRun(t, h)
	mustAppend(t, log, numbered("t", 1, 10)...)
	fetch(t, log, 0, 10)
	mustExec(t, h, `UPDATE sluice_meta SET trimmed = 4`) // its rows go later
	for _, topic := range []string{"t", "absent"} {
		for after := range int64(4) {
			for _, limit := range []store.Limit{{Events: 1}, {Events: 100, Bytes: 1}} {
				if _, _, err := log.Replay(t.Context(), topic, after, 10, limit); !errors.Is(err, store.ErrTrimmed) {
					t.Errorf("replay %s after %d: %v, want ErrTrimmed", topic, after, err)
				}
			}
		}
	}
	if events, _ := replay(t, log, "t", 4, 10, store.Limit{Events: 4}); len(events) != 6 {
		t.Errorf("%d events, want 6", len(events))
	}
	mustExec(t, h, `DELETE FROM sluice_log`)
	mustExec(t, h, `UPDATE sluice_meta SET trimmed = 10`)
	if _, end := replay(t, log, "t", 10, 20, store.Limit{Events: 4}); end != 10 {
		t.Errorf("a log whose events are all trimmed is replayed through %d, want 10", end)
	}
}
