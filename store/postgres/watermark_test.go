package postgres

import (
	"testing"
	"time"
)

// TestFloorRisesPastNobody tells a floor of rounds and writers, and checks
// after each where the next round begins.
func TestFloorRisesPastNobody(t *testing.T) {
	t.Parallel()
	now := time.Now()
	type step struct {
		drawn   int64    // the writers are listed, unless it is 0
		writers []string // with it
		cached  bool     // ids are not in order
		file    uint32   // of the sequence
		last    int64    // else a round moves up to this
		drained bool     // or all
		floor   int64    // comes of it
	}
	for _, test := range []struct {
		name  string
		steps []step
	}{
		{"nobody writes", []step{{drawn: 10, floor: 0}, {drained: true, floor: 10}, {drained: true, floor: 10}}},
		{"a backlog", []step{{drawn: 100, floor: 0}, {last: 30, floor: 30}, {last: 60, floor: 60}, {drained: true, floor: 100}}},
		{"a backlog that grows", []step{{drawn: 40, floor: 0}, {last: 30, floor: 30}, {last: 60, floor: 40}, {last: 90, floor: 40}, {drawn: 120, floor: 40}, {last: 110, floor: 110}}},
		{"a writer is open", []step{
			{drawn: 10, writers: []string{"3/1"}, floor: 0}, {drained: true, floor: 0},
			{drawn: 20, writers: []string{"3/1", "4/1"}, floor: 0}, {drained: true, floor: 0},
			{drawn: 30, writers: []string{"4/1"}, floor: 0}, {drained: true, floor: 10}, // whatever 3/1 has committed is moved
		}},
		{"another transaction of the same session", []step{
			{drawn: 10, writers: []string{"3/1"}, floor: 0}, {drawn: 20, writers: []string{"3/2", "3/11"}, floor: 0}, {drained: true, floor: 10},
		}},
		{"a writer that prepares", []step{
			{drawn: 10, writers: []string{"3/1"}, floor: 0},
			{drawn: 10, writers: []string{"-1/700"}, floor: 0}, {drained: true, floor: 0},
			{drawn: 10, floor: 0}, {drained: true, floor: 10},
		}},
		{"what was drained before the writers were gone", []step{
			{drawn: 10, writers: []string{"3/1"}, floor: 0}, {drained: true, floor: 0}, {drawn: 10, floor: 0}, {last: 4, floor: 4},
		}},
		{"the sequence is set back", []step{{drawn: 10, floor: 0}, {drained: true, floor: 10}, {drawn: 3, floor: 0}, {drained: true, floor: 3}}},
		{"the sequence is restarted, and draws as many", []step{{drawn: 10, file: 1, floor: 0}, {drained: true, floor: 10}, {drawn: 30, file: 2, floor: 0}, {drained: true, floor: 30}}},
		{"the sequence has a cache", []step{{drawn: 10, floor: 0}, {drained: true, floor: 10}, {drawn: 60, cached: true, floor: 0}, {drained: true, floor: 0}, {drawn: 70, floor: 0}, {drained: true, floor: 0}}},
		{"a row is passed by", []step{{drawn: 10, floor: 0}, {last: 6, floor: 6}, {last: 6, floor: 6}, {drained: true, floor: 10}}},
		{"a sequence not used yet", []step{{floor: 0}, {drained: true, floor: 0}, {drawn: 5, floor: 0}, {drained: true, floor: 5}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var f floor
			for i, step := range test.steps {
				if start := f.start(now); step.drawn == 0 {
					f.moved(now, start, step.last, step.drained)
				} else {
					f.watched(writers{drawn: step.drawn, open: step.writers, ordered: !step.cached, file: step.file})
				}
				if f.id != step.floor {
					t.Fatalf("step %d, %+v: the floor is %d", i+1, step, f.id)
				}
			}
		})
	}
}

// TestFloorPassesOver: nothing, as long as there is no floor, whatever ids are.
func TestFloorPassesOver(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		floor, id int64
		over      bool
	}{{0, -7, false}, {0, 1, false}, {10, 10, true}, {10, -7, true}, {10, 11, false}} {
		f := floor{id: test.floor}
		if f.passedOver(test.id) != test.over {
			t.Errorf("a floor of %d passes over %d: %v", test.floor, test.id, !test.over)
		}
	}
}

func TestFloorIsSwept(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var f floor
	f.start(now)
	f.watched(writers{drawn: 10, ordered: true})
	f.moved(now, beginning, 0, true)
	if got := f.start(now.Add(sweepPause)); got != 10 {
		t.Errorf("a round begins at %d, want 10", got)
	}
	now = now.Add(sweepPause + 1)
	for _, drained := range []bool{false, true} { // sweeps until there is nothing left
		if got := f.start(now); got != beginning {
			t.Errorf("a round begins at %d, want the beginning", got)
		}
		f.moved(now, beginning, 5, drained)
	}
	if got := f.start(now); got != 10 {
		t.Errorf("a round begins at %d after the sweep, want 10", got)
	}
}
