package channels

import (
	"sync/atomic"
	"time"
)

// rateWindow is over how long the rate of a topic's messages is taken: the window that
// is open, and of the one before as much as still counts.
const rateWindow = 5 * time.Second

// meter estimates how many messages a second go to a topic. It is small, as there may
// be a million of them, and may be used concurrently: what is counted while one
// window gives way to the next may be counted in either, or lost.
type meter struct {
	window atomic.Uint32 // number of the one that is open, since the program began
	now    atomic.Uint32 // counted in it
	before atomic.Uint32 // counted in the one before it
}

var meterBegan = time.Now()

// windowOf is the number of the window that a time falls into, from 2 on, and how much
// of it, from 0 to 1, is over by then.
func windowOf(at time.Time) (number uint32, over float64) {
	since := max(at.Sub(meterBegan), 0)
	return uint32(since/rateWindow) + 2, float64(since%rateWindow) / float64(rateWindow)
}

// add counts messages.
func (m *meter) add(n int, at time.Time) {
	number, _ := windowOf(at)
	if open := m.window.Load(); open < number && m.window.CompareAndSwap(open, number) {
		last := m.now.Swap(0)
		if number-open > 1 {
			last = 0
		}
		m.before.Store(last)
	}
	m.now.Add(uint32(n))
}

// perSecond is the rate at a time.
func (m *meter) perSecond(at time.Time) float64 {
	number, over := windowOf(at)
	now, before := m.now.Load(), m.before.Load()
	switch open := m.window.Load(); {
	case number <= open: // or a moment earlier
	case number == open+1:
		now, before = 0, now
	default:
		return 0
	}
	return (float64(now) + float64(before)*(1-over)) / rateWindow.Seconds()
}
