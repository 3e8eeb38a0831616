package postgres

import (
	"testing"
	"time"
)

// TestWatermarkRisesPastNobody tells a watermark of rounds and writers, and checks
// after each where the next round begins.
func TestWatermarkRisesPastNobody(t *testing.T) {
	t.Parallel()
	now := time.Now()
	type step struct {
		drawn   int64    // the writers are listed, unless it is 0
		writers []string // with it
		cached  bool     // ids are not in order
		file    uint32   // of the sequence
		last    int64    // else a round moves up to this
		drained bool     // or all
		id      int64    // comes of it
	}
	for _, test := range []struct {
		name  string
		steps []step
	}{
		{"nobody writes", []step{{drawn: 10, id: 0}, {drained: true, id: 10}, {drained: true, id: 10}}},
		{"a backlog", []step{{drawn: 100, id: 0}, {last: 30, id: 30}, {last: 60, id: 60}, {drained: true, id: 100}}},
		{"a backlog that grows", []step{{drawn: 40, id: 0}, {last: 30, id: 30}, {last: 60, id: 40}, {last: 90, id: 40}, {drawn: 120, id: 40}, {last: 110, id: 110}}},
		{"a writer is open", []step{
			{drawn: 10, writers: []string{"3/1"}, id: 0}, {drained: true, id: 0},
			{drawn: 20, writers: []string{"3/1", "4/1"}, id: 0}, {drained: true, id: 0},
			{drawn: 30, writers: []string{"4/1"}, id: 0}, {drained: true, id: 10}, // whatever 3/1 has committed is moved
		}},
		{"another transaction of the same session", []step{
			{drawn: 10, writers: []string{"3/1"}, id: 0}, {drawn: 20, writers: []string{"3/2", "3/11"}, id: 0}, {drained: true, id: 10},
		}},
		{"a writer that prepares", []step{
			{drawn: 10, writers: []string{"3/1"}, id: 0},
			{drawn: 10, writers: []string{"-1/700"}, id: 0}, {drained: true, id: 0},
			{drawn: 10, id: 0}, {drained: true, id: 10},
		}},
		{"what was drained before the writers were gone", []step{
			{drawn: 10, writers: []string{"3/1"}, id: 0}, {drained: true, id: 0}, {drawn: 10, id: 0}, {last: 4, id: 4},
		}},
		{"the sequence is set back", []step{{drawn: 10, id: 0}, {drained: true, id: 10}, {drawn: 3, id: 0}, {drained: true, id: 3}}},
		{"the sequence is restarted, and draws as many", []step{{drawn: 10, file: 1, id: 0}, {drained: true, id: 10}, {drawn: 30, file: 2, id: 0}, {drained: true, id: 30}}},
		{"the sequence has a cache", []step{{drawn: 10, id: 0}, {drained: true, id: 10}, {drawn: 60, cached: true, id: 0}, {drained: true, id: 0}, {drawn: 70, id: 0}, {drained: true, id: 0}}},
		{"a row is passed by", []step{{drawn: 10, id: 0}, {last: 6, id: 6}, {last: 6, id: 6}, {drained: true, id: 10}}},
		{"a sequence not used yet", []step{{id: 0}, {drained: true, id: 0}, {drawn: 5, id: 0}, {drained: true, id: 5}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var m lowWatermark
			for i, step := range test.steps {
				if start := m.start(now); step.drawn == 0 {
					m.moved(now, start, step.last, step.drained)
				} else {
					m.watched(writers{drawn: step.drawn, open: step.writers, ordered: !step.cached, file: step.file})
				}
				if m.id != step.id {
					t.Fatalf("step %d, %+v: the watermark is %d", i+1, step, m.id)
				}
			}
		})
	}
}

// TestWatermarkPassesOver: nothing, as long as there is no watermark, whatever ids are.
func TestWatermarkPassesOver(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		at, id int64
		over   bool
	}{{0, -7, false}, {0, 1, false}, {10, 10, true}, {10, -7, true}, {10, 11, false}} {
		m := lowWatermark{id: test.at}
		if m.passedOver(test.id) != test.over {
			t.Errorf("a watermark of %d passes over %d: %v", test.at, test.id, !test.over)
		}
	}
}

func TestWatermarkIsSwept(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var m lowWatermark
	m.start(now)
	m.watched(writers{drawn: 10, ordered: true})
	m.moved(now, beginning, 0, true)
	if got := m.start(now.Add(sweepPause)); got != 10 {
		t.Errorf("a round begins at %d, want 10", got)
	}
	now = now.Add(sweepPause + 1)
	for _, drained := range []bool{false, true} { // sweeps until there is nothing left
		if got := m.start(now); got != beginning {
			t.Errorf("a round begins at %d, want the beginning", got)
		}
		m.moved(now, beginning, 5, drained)
	}
	if got := m.start(now); got != 10 {
		t.Errorf("a round begins at %d after the sweep, want 10", got)
	}
}
