package relay

import (
	"sort"

	"github.com/sluicehq/sluice/internal/ring"
	"github.com/sluicehq/sluice/store"
)

// window is the newest part of the log, in pages, within a number of bytes: events
// that follow one another without a gap, all of one epoch. It is for one goroutine at a
// time. What was taken from it stays as it is.
type window struct {
	limit int

	pages ring.Ring[*page] // each has an event at least
	bytes int
}

// first and last are the offsets of what it holds; both are 0 while it is empty.
func (w *window) first() int64 {
	if w.pages.Len() == 0 {
		return 0
	}
	return (*w.pages.At(0)).events[0].Offset
}

func (w *window) last() int64 {
	if w.pages.Len() == 0 {
		return 0
	}
	return (*w.pages.At(w.pages.Len() - 1)).last()
}

// holds tells whether it has the event after an offset.
func (w *window) holds(after int64) bool {
	return w.pages.Len() > 0 && w.first() <= after+1 && after < w.last()
}

// append takes the events of a page that follow what it holds, which there are, or all of
// them if it is empty. It forgets the oldest pages for it.
func (w *window) append(p *page) {
	if last := w.last(); last > 0 {
		p.events = p.events[last+1-p.events[0].Offset:]
	}
	w.pages.Push(p)
	w.bytes += p.bytes
	for w.bytes > w.limit {
		w.pop()
	}
}

func (w *window) pop() { w.bytes -= w.pages.Pop().bytes }

// empty forgets all.
func (w *window) empty() { w.pages, w.bytes = ring.Ring[*page]{}, 0 }

// forget lets go of what is at an offset or before it.
func (w *window) forget(upTo int64) {
	for w.pages.Len() > 0 && (*w.pages.At(0)).last() <= upTo {
		w.pop()
	}
	if first := w.first(); first > 0 && first <= upTo {
		p := *w.pages.At(0)
		p.events = p.events[upTo+1-first:]
	}
}

// take returns events after an offset, as [store.Log.Fetch] does; none if it does not
// hold the next one.
func (w *window) take(after int64, limit store.Limit) []store.Event {
	if !w.holds(after) {
		return nil
	}
	var events []store.Event
	bytes := 0
	next := sort.Search(w.pages.Len(), func(i int) bool { return (*w.pages.At(i)).last() > after })
	for full := false; next < w.pages.Len() && !full; next++ {
		rest := (*w.pages.At(next)).events
		if len(events) == 0 {
			rest = rest[after+1-rest[0].Offset:]
		}
		left := limit
		left.Events -= len(events)
		var n int
		n, full = within(rest, left, &bytes)
		if len(events) == 0 {
			events = rest[:n:n] // where they are: to add others copies them
		} else {
			events = append(events, rest[:n]...)
		}
	}
	return events
}

// within is how many of the events the limit allows, bytes of whose payloads have been
// taken already, and whether it allows no more then.
func within(events []store.Event, limit store.Limit, bytes *int) (n int, full bool) {
	for n < len(events) && !full {
		*bytes += len(events[n].Payload)
		n++
		full = n == limit.Events || limit.Bytes > 0 && *bytes >= limit.Bytes
	}
	return n, full
}
