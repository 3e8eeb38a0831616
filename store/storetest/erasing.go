package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sluicehq/sluice/store"
)

// testErasingEmptiesPayloads erases by every choice there is, more than one
// transaction takes, and looks at every event after each.
func testErasingEmptiesPayloads(t *testing.T, h Harness) {
	log := openAndRun(t, h)
	const each = 1300
	var drafts []store.Draft
	for i := range 2 * each {
		d := store.Draft{Topic: []string{"t", "u"}[i%2], Name: "e", Payload: fmt.Appendf(nil, `{"n":%d}`, i)}
		if i%4 == 0 {
			d.Key = []byte("k")
		}
		drafts = append(drafts, d)
	}
	mustAppend(t, log, drafts...)
	fetch(t, log, 0, len(drafts))
	key, none := "k", "nobody's"
	erased := map[int64]bool{} // offsets
	for _, step := range []struct {
		name   string
		which  store.Selection
		erased func(offset int64) bool
	}{
		{"of another key", store.Selection{Topic: "t", Key: &none}, func(int64) bool { return false }},
		{"of long ago", store.Selection{Topic: "t", BeforeTime: time.Unix(1, 0)}, func(int64) bool { return false }},
		{"of another topic", store.Selection{Topic: "v"}, func(int64) bool { return false }},
		{"of no topic that can be", store.Selection{Topic: "\x00"}, func(int64) bool { return false }},
		{"before the first", store.Selection{Topic: "t", BeforeOffset: 1}, func(int64) bool { return false }},
		{"before an offset", store.Selection{Topic: "t", BeforeOffset: 12}, func(o int64) bool { return o%2 == 1 && o < 12 }},
		{"of a key, before an offset", store.Selection{Topic: "t", BeforeOffset: 100, Key: &key}, func(o int64) bool { return o%4 == 1 && o < 100 }},
		{"of a key", store.Selection{Topic: "t", Key: &key}, func(o int64) bool { return o%4 == 1 }},
		{"before now", store.Selection{Topic: "t", BeforeTime: time.Now().Add(time.Hour)}, func(o int64) bool { return o%2 == 1 }},
		{"again", store.Selection{Topic: "t"}, func(o int64) bool { return o%2 == 1 }},
	} {
		want := int64(0)
		for o := int64(1); o <= int64(len(drafts)); o++ {
			if step.erased(o) && !erased[o] {
				erased[o] = true
				want++
			}
		}
		step.which.Limit = 1000 // a call's, in more than one transaction each
		var count int64
		for more := true; more; {
			var some int64
			var err error
			if some, step.which.AfterOffset, more, err = log.Erase(t.Context(), step.which); err != nil {
				t.Fatal(err)
			}
			count += some
		}
		if count != want {
			t.Fatalf("%s: erased %d, want %d", step.name, count, want)
		}
		for i, e := range fetch(t, log, 0, len(drafts)) {
			payload := string(drafts[i].Payload)
			if erased[e.Offset] {
				payload = "{}"
			}
			if e.Offset != int64(i+1) || string(e.Payload) != payload || e.Topic != drafts[i].Topic || string(e.Key) != string(drafts[i].Key) {
				t.Fatalf("%s: event %d is %+v, want the payload %s", step.name, i+1, e, payload)
			}
		}
	}
	events, _, err := log.Replay(t.Context(), "t", 0, int64(len(drafts)), store.Limit{Events: 10})
	if err != nil || len(events) != 10 || slices.ContainsFunc(events, func(e store.Event) bool { return string(e.Payload) != "{}" }) {
		t.Errorf("replayed %+v, %v", events, err)
	}
}

// testErasuresAreTold has one process learn what another has erased.
func testErasuresAreTold(t *testing.T, h Harness) {
	log, other := openAndRun(t, h), open(t, h, polling)
	mustAppend(t, log, numbered("t", 0, 5)...)
	fetch(t, log, 0, 5)
	if head := fetchHead(t, other); head.Erased != 0 {
		t.Fatal(head)
	}
	for _, which := range []store.Selection{{Topic: "t", BeforeOffset: 3}, {Topic: "none"}, {Topic: "t"}} {
		if _, _, more, err := log.Erase(t.Context(), which); err != nil || more {
			t.Fatal(err)
		}
	}
	if head := fetchHead(t, other); head.Erased != 3 {
		t.Fatal(head)
	}
	if extent, err := other.Extent(t.Context()); err != nil || extent.Erased != 3 {
		t.Fatal(extent, err)
	}
	all := []store.Erasure{{Number: 1, Topic: "t", UpTo: 2}, {Number: 2, Topic: "none", UpTo: 5}, {Number: 3, Topic: "t", UpTo: 5}}
	for after := range int64(4) {
		if list, err := other.Erasures(t.Context(), after); err != nil || !slices.Equal(list, all[after:]) {
			t.Errorf("after %d: %v, %v", after, list, err)
		}
	}
	if events := fetch(t, other, 0, 5); string(events[4].Payload) != "{}" {
		t.Error(events)
	}
}
