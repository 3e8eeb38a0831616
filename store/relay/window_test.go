package relay

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/store"
)

// received is a page as a node gets it: of events from an offset on, whose payloads
// have so many bytes.
func received(t testing.TB, from int64, events, payload int) *page {
	t.Helper()
	p := &page{epoch: "e", prev: from - 1, head: from + int64(events)}
	for i := range int64(events) {
		p.events = append(p.events, store.Event{Offset: from + i, Topic: "t", Name: "n", Payload: bytes.Repeat([]byte("x"), payload)})
	}
	got, err := parsePage(bytes.Clone(appendPage(nil, p)))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestWindowAgainstModel plays random pages against a window and a list of offsets.
func TestWindowAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		w := window{limit: rapid.IntRange(2000, 20000).Draw(rt, "limit")}
		next, forgotten := int64(1), int64(0)
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			switch rapid.IntRange(0, 9).Draw(rt, "step") {
			case 0:
				w.empty()
				next += rapid.Int64Range(0, 5).Draw(rt, "gap")
			case 1:
				forgotten = max(0, next-rapid.Int64Range(0, 10).Draw(rt, "forget"))
				w.forget(forgotten)
				if first := w.first(); first > 0 && first <= forgotten {
					rt.Fatalf("first is %d after %d was forgotten", first, forgotten)
				}
			default:
				from := next
				if last := w.last(); last > 0 {
					from = max(w.first(), next-rapid.Int64Range(0, 3).Draw(rt, "overlap"))
				}
				n := int(next-from) + rapid.IntRange(1, 8).Draw(rt, "events")
				w.append(received(t, from, n, rapid.IntRange(0, 200).Draw(rt, "bytes")))
				next = from + int64(n)
			}
			if w.bytes > w.limit {
				rt.Fatalf("%d bytes, the limit is %d", w.bytes, w.limit)
			}
			after := rapid.Int64Range(0, next+2).Draw(rt, "after")
			limit := store.Limit{Events: rapid.IntRange(1, 30).Draw(rt, "at most"), Bytes: rapid.IntRange(0, 500).Draw(rt, "bytes at most")}
			checkTaken(rt, &w, after, limit)
		}
	})
}

// checkTaken holds what a window gives to what [store.Log.Fetch] promises.
func checkTaken(t *rapid.T, w *window, after int64, limit store.Limit) {
	got := w.take(after, limit)
	if holds := w.first() > 0 && w.first() <= after+1 && after+1 <= w.last(); holds != (len(got) > 0) {
		t.Fatalf("after %d of [%d, %d]: %d events", after, w.first(), w.last(), len(got))
	}
	sum := 0
	for i, e := range got {
		if e.Offset != after+1+int64(i) {
			t.Fatalf("event %d after %d has offset %d", i, after, e.Offset)
		}
		if limit.Bytes > 0 && sum >= limit.Bytes {
			t.Fatalf("%d events, though %d bytes are reached before the last", len(got), limit.Bytes)
		}
		sum += len(e.Payload)
	}
	if len(got) > limit.Events {
		t.Fatalf("%d events, the limit is %d", len(got), limit.Events)
	}
	if n := len(got); n > 0 && n < limit.Events && (limit.Bytes == 0 || sum < limit.Bytes) && got[n-1].Offset < w.last() {
		t.Fatalf("%d events after %d, the limit %+v allows more", n, after, limit)
	}
	_ = append(slices.Clip(got), store.Event{}) // whoever adds to them changes nothing here
}

// TestWindowKeepsToItsMemory measures what the process takes for windows that were given
// many times their limit, in pages of every kind: it is not parallel.
func TestWindowKeepsToItsMemory(t *testing.T) {
	const limit = 8 << 20
	heap := func() uint64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	for _, kind := range []struct{ events, payload int }{{1, 2}, {1, 700 << 10}, {maxPageEvents, 2}, {3, 80 << 10}, {100, 200}} {
		t.Run(fmt.Sprintf("events=%d,payload=%d", kind.events, kind.payload), func(t *testing.T) {
			before := heap()
			w := window{limit: limit}
			next := int64(1)
			for given := 0; given < 5*limit; {
				p := received(t, next, kind.events, kind.payload)
				next += int64(kind.events)
				given += p.bytes
				w.append(p)
			}
			after := heap()
			taken := int64(after) - int64(before)
			if w.bytes > limit || taken > limit+limit/8 || w.bytes < limit/2 {
				t.Errorf("it takes %d bytes and says %d, the limit is %d", taken, w.bytes, limit)
			}
			runtime.KeepAlive(&w)
		})
	}
}
