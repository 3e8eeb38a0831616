package channels

import (
	"math"
	"sync"
	"testing"
	"time"
)

// A steady stream has its rate told, whenever one asks, and none is told once it has ended.
func TestMeterOfASteadyStream(t *testing.T) {
	t.Parallel()
	for _, perSecond := range []int{1, 10, 500} {
		var m meter
		at := meterBegan.Add(7 * time.Hour)
		step := time.Second / time.Duration(perSecond)
		for i := range 20 * perSecond {
			m.add(1, at)
			if got := m.perSecond(at); i > 12*perSecond && math.Abs(got-float64(perSecond)) > 0.2*float64(perSecond)+0.2 {
				t.Fatalf("after %v of %d/s it tells %.2f/s", at.Sub(meterBegan), perSecond, got)
			}
			at = at.Add(step)
		}
		if got := m.perSecond(at.Add(2 * rateWindow)); got != 0 {
			t.Errorf("%.2f/s two windows after the end of %d/s", got, perSecond)
		}
	}
}

func TestMeterFallsQuiet(t *testing.T) {
	t.Parallel()
	var m meter
	at := meterBegan.Add(3 * rateWindow)
	m.add(100, at)
	last := m.perSecond(at)
	for range 12 {
		at = at.Add(rateWindow / 5)
		now := m.perSecond(at)
		if now > last {
			t.Errorf("the rate rises from %.2f to %.2f with nothing counted", last, now)
		}
		last = now
	}
	if last != 0 {
		t.Errorf("%.2f/s at the end", last)
	}
	m.add(5, at.Add(time.Hour))
	if got := m.perSecond(at.Add(time.Hour)); got != 1 {
		t.Errorf("after an hour's silence %.2f/s, want those 5 in 5s", got)
	}
	if got := new(meter).perSecond(at); got != 0 {
		t.Errorf("nothing was ever counted, and the rate is %.2f", got)
	}
}

func TestMeterCountsConcurrently(t *testing.T) {
	t.Parallel()
	var m meter
	var group sync.WaitGroup
	at := meterBegan.Add(4 * rateWindow)
	m.add(0, at) // opens the window: what is counted while one gives way to the next may be lost
	for range 8 {
		group.Go(func() {
			for range 1000 {
				m.add(1, at)
				m.perSecond(at)
			}
		})
	}
	group.Wait()
	if got, want := m.perSecond(at), 8000/rateWindow.Seconds(); got != want {
		t.Errorf("%.1f/s, want %.1f/s", got, want)
	}
}
