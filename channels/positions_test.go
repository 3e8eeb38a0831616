package channels

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const day = 24 * time.Hour

// tellPositions has positions told until the test ends, of a log that keeps events for
// that long, with everything routed up to the given offset.
func (w *world) tellPositions(t *testing.T, routed *atomic.Int64, retention time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = NewPositions(w.hub, routed.Load, retention).Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
}

// positions takes what the client is sent, and returns the positions among it.
func (c *client) positions(t *testing.T) (list []int64) {
	t.Helper()
	for c.read() {
	}
	for frame := range strings.SplitSeq(string(c.out), ";") {
		if rest, ok := strings.CutPrefix(frame, `push 1 sluice_position {"offset":`); ok {
			offset, err := strconv.ParseInt(strings.TrimSuffix(rest, "}"), 10, 64)
			if err != nil {
				t.Fatalf("frame %q", frame)
			}
			list = append(list, offset)
		}
	}
	c.out = nil
	return list
}

// TestPositions lets eight days pass in which the log goes on, hour by hour, and keeps a
// day: who resumes on a quiet topic is told a position about each quarter of that, never
// one that has not been routed, and always in time.
func TestPositions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20)
		var routed atomic.Int64
		w.tellPositions(t, &routed, day)
		w.publish(7)
		plainly := w.join(50, 1<<20, CatchUp, nil, accepts{})
		resumes := w.join(50, 1<<20, CatchUp, &Resume{After: 3}, accepts{})
		last := w.join(50, 1<<20, CatchUp, &Resume{After: -1, Last: 2}, accepts{})
		synctest.Wait()
		for _, c := range []*client{plainly, resumes, last} {
			c.positions(t)
		}
		at := map[*client]int64{resumes: 7, last: 7}
		told := map[*client]int{}
		for hour := range int64(8 * 24) {
			routed.Store(100 + 10*hour)
			w.hub.Advance(105 + 10*hour) // more is under way
			time.Sleep(time.Hour)        // of the test's own clock
			synctest.Wait()
			for _, c := range []*client{plainly, resumes, last} {
				for _, offset := range c.positions(t) {
					if c == plainly || offset <= at[c] || offset > 100+10*hour {
						t.Errorf("in hour %d: told %d after %d", hour, offset, at[c])
					}
					at[c] = offset
					told[c]++
				}
				if kept := 100 + 10*(hour-8); c != plainly && hour > 8 && at[c] < kept {
					t.Errorf("in hour %d the position is %d", hour, at[c])
				}
			}
		}
		if told[resumes] < 30 || told[resumes] > 33 || told[last] < 30 || told[last] > 33 {
			t.Errorf("%d and %d positions in 32 quarters", told[resumes], told[last])
		}
		for _, c := range []*client{plainly, resumes, last} {
			c.actor.End(ErrDisconnected)
			c.group.Wait()
		}
	})
}

// TestPositionsWhereNoneIsDue lets days pass for those who are to be told nothing.
func TestPositionsWhereNoneIsDue(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name      string
		retention time.Duration
		moves     bool // the log goes on
		hold      func(w *world, c *client)
		then      int // positions once nothing holds them back any more
		release   func(w *world, c *client)
	}{
		{name: "the log stands still", retention: day},
		{name: "the log keeps all", retention: 0, moves: true},
		{name: "something waits for the client", retention: day, moves: true,
			hold: func(w *world, c *client) { _ = c.actor.push("p", emptyObject) }, release: func(*world, *client) {}, then: 1},
		{name: "it is behind", retention: 10 * time.Second, moves: true,
			hold: func(w *world, c *client) { w.log.lags = slices.Repeat([]int64{2}, 1000); w.stuff(c) }, release: func(w *world, _ *client) { w.log.mu.Lock(); w.log.lags = nil; w.log.mu.Unlock() }, then: 1},
		{name: "its connection is full", retention: day, moves: true,
			hold: func(w *world, c *client) { _ = c.Reply(make([]byte, 700)) }, release: func(*world, *client) {}, then: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 0)
				var routed atomic.Int64
				w.tellPositions(t, &routed, test.retention)
				w.publish(2)
				routed.Store(2)
				c := w.join(5, 1000, CatchUp, &Resume{After: 2}, accepts{})
				synctest.Wait()
				c.positions(t)
				if test.hold != nil {
					test.hold(w, c)
				}
				pass := func() {
					for range 48 {
						if test.moves {
							routed.Add(10)
							w.hub.Advance(routed.Load())
						}
						time.Sleep(cmp.Or(test.retention, day) / 24) // of the test's own clock
					}
					synctest.Wait()
				}
				pass()
				if test.release != nil {
					test.release(w, c)
				}
				if got := c.positions(t); len(got) > 0 {
					t.Errorf("told %v", got)
				}
				c.settle()
				if pass(); (len(c.positions(t)) > 0) != (test.then > 0) {
					t.Errorf("told none, or some, where %d is wanted", test.then)
				}
				c.actor.End(ErrDisconnected)
				c.group.Wait()
			})
		})
	}
}

// stuff has more routed than the client's mailbox takes.
func (w *world) stuff(c *client) {
	for range 10 {
		w.publish(2)
	}
	for c.read() {
	}
}

// TestPositionsAreSpread has many be told on one topic: not all at once.
func TestPositionsAreSpread(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const count = 4*positionBatch + 10
		w := newWorld(t, 1<<20)
		w.publish(2)
		var clients []*client
		for range count {
			clients = append(clients, w.join(5, 1000, CatchUp, &Resume{After: 2}, accepts{}))
		}
		synctest.Wait()
		for _, c := range clients {
			c.positions(t)
		}
		p := NewPositions(w.hub, func() int64 { return 50 }, day)
		shard := -1
		for i := range w.hub.shards {
			p.marks[i] = 40
			if w.hub.shard("t") == &w.hub.shards[i] {
				shard = i
			}
		}
		began := time.Now()
		p.look(t.Context(), shard)
		if took := time.Since(began); took != 4*positionPause { // of the test's own clock
			t.Errorf("%d were told within %v", count, took)
		}
		for _, c := range clients {
			if got := c.positions(t); fmt.Sprint(got) != "[50]" {
				t.Fatalf("told %v", got)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		p.routed = func() int64 { return 90 }
		p.marks[shard] = 80
		p.look(ctx, shard) // the pauses are cut short
		told := 0
		for _, c := range clients {
			told += len(c.positions(t))
			c.actor.End(ErrDisconnected)
			c.group.Wait()
		}
		if told != positionBatch {
			t.Errorf("%d were told after the end", told)
		}
	})
}

// TestAPositionIsResumedFrom has a client come back with a position that it was told,
// when the last event of its topic is no longer kept.
func TestAPositionIsResumedFrom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20)
		var routed atomic.Int64
		w.tellPositions(t, &routed, day)
		w.publish(4)
		c := w.join(50, 1<<20, CatchUp, &Resume{After: 0}, accepts{})
		c.settle()
		c.expect(t, 1, 4)
		c.out = nil
		w.log.append(6) // none of them routed to it: as if they were of other topics
		w.hub.Advance(10)
		routed.Store(10)
		time.Sleep(day / 2) // of the test's own clock
		synctest.Wait()
		told := c.positions(t)
		c.actor.End(ErrDisconnected)
		c.group.Wait()
		w.log.trimmed = 9
		if len(told) == 0 {
			t.Fatal("told nothing")
		}
		for after, resumed := range map[int64]bool{4: false, told[len(told)-1]: true} {
			again := w.join(50, 1<<20, CatchUp, &Resume{After: after}, accepts{})
			again.settle()
			if want := fmt.Sprintf(`"resumed":%v`, resumed); !strings.Contains(again.got(), want) {
				t.Errorf("after %d: %s, want %s", after, again.got(), want)
			}
			again.actor.End(ErrDisconnected)
			again.group.Wait()
		}
	})
}
