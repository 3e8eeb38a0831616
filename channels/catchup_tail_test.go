package channels

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/sluicehq/sluice/channels/outbound"
)

// TestLast joins with "last" where nothing is remembered, of a log of 20 events of which
// each fifth is another topic's.
func TestLast(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		trimmed int64
		resume  Resume
		most    int    // MaxLast
		answer  string // in the reply
		first   int64  // that is replayed; all of ours that follow are, too
	}{
		{"one", 0, Resume{After: -1, Last: 1}, 0, `"offset":18,"epoch":"","resumed":true`, 19},
		{"three", 0, Resume{After: -1, Last: 3}, 0, `"offset":16,"epoch":"","resumed":true`, 17},
		{"over others", 0, Resume{After: -1, Last: 5}, 0, `"offset":13,"epoch":"","resumed":true`, 14},
		{"all", 0, Resume{After: -1, Last: 16}, 0, `"offset":0,"epoch":"","resumed":true`, 1},
		{"more than there are", 0, Resume{After: -1, Last: 1000}, 0, `"offset":0,"epoch":"","resumed":true`, 1},
		{"more than are kept", 15, Resume{After: -1, Last: 10}, 0, `"offset":15,"epoch":"","resumed":true`, 16},
		{"of what is kept", 10, Resume{After: -1, Last: 10}, 0, `"offset":10,"epoch":"","resumed":true`, 11},
		{"none is kept", 19, Resume{After: -1, Last: 10}, 0, `"offset":20,"epoch":"","resumed":true`, 21},
		{"nothing is kept", 20, Resume{After: -1, Last: 10}, 0, `"offset":20,"epoch":"","resumed":true`, 21},
		{"none is wanted", 0, Resume{After: -1}, 0, `"offset":20,"epoch":"","resumed":true`, 21},
		{"it is cut", 0, Resume{After: -1, Last: 1 << 62}, 3, `"offset":16,"epoch":"","resumed":true`, 17},
		{"it is at the bound", 0, Resume{After: -1, Last: 3}, 3, `"offset":16,"epoch":"","resumed":true`, 17},
		{"it is forbidden", 0, Resume{After: -1, Last: 1}, -1, `error {"reason":"forbidden"}`, 0},
		{"it is forbidden to who resumes", 0, Resume{After: 12, Last: 1}, -1, `error {"reason":"forbidden"}`, 0},
		{"none may be wanted", 0, Resume{After: -1}, -1, `"offset":20,"epoch":"","resumed":true`, 21},
		{"the number wins", 0, Resume{After: 12, Last: 3}, 0, `"offset":20,"epoch":"","resumed":true`, 13},
		{"the number wins at the head", 0, Resume{After: 20, Last: 3}, 0, `"offset":20,"epoch":"","resumed":true`, 21},
		{"the number is trimmed", 10, Resume{After: 9, Last: 3}, 0, `"offset":16,"epoch":"","resumed":false`, 17},
		{"the number is beyond the head", 0, Resume{After: 99, Last: 3}, 0, `"offset":16,"epoch":"","resumed":false`, 17},
		{"the epoch is another", 0, Resume{After: 12, Epoch: "other", Last: 3}, 0, `"offset":16,"epoch":"","resumed":false`, 17},
		{"the epoch of no number is another", 0, Resume{After: -1, Epoch: "other", Last: 3}, 0, `"offset":16,"epoch":"","resumed":true`, 17},
		{"none is wanted where the number is trimmed", 10, Resume{After: 9}, 0, `"offset":20,"epoch":"","resumed":false`, 21},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1<<20)
				w.publish(20)
				w.log.trimmed = test.trimmed
				c := w.joinFor(Options{MailboxSize: 50, MaxLast: test.most}, 1<<20, &test.resume, accepts{})
				c.settle()
				if reply, _, _ := strings.Cut(c.got(), ";"); !strings.Contains(reply, test.answer) {
					t.Errorf("answered %q, want %q", reply, test.answer)
				}
				if test.first > 0 {
					w.publish(7)
					c.settle()
					c.expect(t, test.first, 27)
				}
				c.actor.End(ErrDisconnected)
				c.group.Wait()
			})
		})
	}
}

// TestLastLosesNothingOnTheWay has a client lose its connection between the answer and
// what it was to get, and come back with the answer's offset.
func TestLastLosesNothingOnTheWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20)
		w.publish(20)
		c := w.join(50, 1<<20, CatchUp, &Resume{After: -1, Last: 4}, accepts{})
		synctest.Wait()
		c.actor.End(ErrDisconnected)
		c.group.Wait()
		var offset int64
		c.Take(&c.batch, 1, 1)
		if _, answer, _ := strings.Cut(string(c.batch.Frames[0]), `"offset":`); answer != "" {
			fmt.Sscan(answer, &offset)
		}
		w.publish(10)
		again := w.join(50, 1<<20, CatchUp, &Resume{After: offset, Last: 4}, accepts{})
		again.settle()
		again.expect(t, 16, 30)
		again.actor.End(ErrDisconnected)
		again.group.Wait()
	})
}

// TestLastIsAnsweredFromMemory has others watch: what they were sent is remembered, and
// says where the last events begin as long as it is kept, and is as many.
func TestLastIsAnsweredFromMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20)
		w.publish(10)
		subscribe(w.hub, "t", outbound.Formats(0), new(ear)) // stays
		join := func(count int64, offset int64, reads int) {
			t.Helper()
			before := w.log.tails
			c := w.join(50, 1<<20, CatchUp, &Resume{After: -1, Last: count}, accepts{})
			c.settle()
			if want := fmt.Sprintf(`"offset":%d,`, offset); !strings.Contains(c.got(), want) || w.log.tails-before != reads {
				t.Errorf("the last %d: %s after %d reads, want %s after %d", count, c.got(), w.log.tails-before, want, reads)
			}
			c.expect(t, offset+1, w.log.head)
			c.actor.End(ErrDisconnected)
			c.group.Wait()
		}
		join(1, 8, 1)
		w.publish(4) // 11 to 14, in a segment
		w.publish(5) // 16 to 19, in another
		join(1, 18, 0)
		join(4, 15, 0)
		join(5, 13, 0)
		join(8, 10, 0)
		join(9, 8, 1)
		w.log.trimmed = 13
		join(5, 13, 0)
		join(6, 13, 1)
		w.hub.Forget("t", 14)
		join(4, 15, 0)
		join(5, 13, 1)
		w.log.mu.Lock()
		w.log.fail = 1
		w.log.mu.Unlock()
		c := w.join(50, 1<<20, CatchUp, &Resume{After: -1, Last: 6}, accepts{})
		c.settle()
		if !strings.Contains(c.got(), `error {"reason":"unavailable"}`) {
			t.Errorf("answered %s though nothing can be read", c.got())
		}
		c.group.Wait()
	})
}

// congested is a History whose reads wait at a gate.
type congested struct {
	*memory
	gate chan struct{}

	mu        sync.Mutex
	now, most int // reads under way
}

func (c *congested) Tail(ctx context.Context, topic string, count int, upTo int64) (int64, error) {
	c.mu.Lock()
	c.now++
	c.most = max(c.most, c.now)
	c.mu.Unlock()
	<-c.gate
	c.mu.Lock()
	c.now--
	c.mu.Unlock()
	return c.memory.Tail(ctx, topic, count, upTo)
}

// TestStormOfLast has many clients ask for the last events at once: reads are as many at
// a time as there are workers, one for all who ask for the same, and none for those who
// have left before it began.
func TestStormOfLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20)
		w.publish(20)
		log := &congested{memory: w.log, gate: make(chan struct{})}
		w.host.history, w.replayer.history = log, log
		var clients []*client
		join := func(n int, count func(i int) int64) []*client {
			first := len(clients)
			for i := range n {
				clients = append(clients, w.join(50, 1<<20, CatchUp, &Resume{After: -1, Last: count(i)}, accepts{}))
			}
			synctest.Wait()
			return clients[first:]
		}
		alike := func(int) int64 { return 3 }
		join(replayWorkers, func(i int) int64 { return int64(50 + i) }) // all workers are busy
		join(200, alike)
		for range 3 { // 100 others come and go
			for _, c := range join(100, func(i int) int64 { return int64(10 + i%30) }) {
				c.actor.End(ErrDisconnected)
				c.group.Wait()
			}
		}
		w.replayer.mu.Lock()
		queued, asked := len(w.replayer.queue), len(w.replayer.tails.asked)
		w.replayer.mu.Unlock()
		if queued > 3 || asked != 1 {
			t.Errorf("%d errands and %d tails are in the queue, where one is wanted", queued, asked)
		}
		close(log.gate)
		for _, c := range clients[:replayWorkers+200] {
			c.settle()
		}
		for _, c := range clients[replayWorkers : replayWorkers+200] {
			c.expect(t, 17, 20)
		}
		if log.most != replayWorkers || w.log.tails != replayWorkers+1 {
			t.Errorf("%d reads, %d of them at once; want %d and %d", w.log.tails, log.most, replayWorkers+1, replayWorkers)
		}
		for _, c := range clients {
			c.actor.End(ErrDisconnected)
			c.group.Wait()
		}
	})
}

// TestLastWhenReplayingEnds has joins be answered that nobody reads for any more.
func TestLastWhenReplayingEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20)
		w.publish(20)
		log := &congested{memory: w.log, gate: make(chan struct{})}
		replayer := NewReplayer(w.hub, log, plain{}, 1<<20)
		w.host.history = log
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = replayer.Run(ctx) })
		var clients []*client
		for i := range 2 * replayWorkers {
			clients = append(clients, w.join(50, 1<<20, CatchUp, &Resume{After: -1, Last: int64(1 + i)}, accepts{}))
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(log.gate)
		running.Wait()
		clients = append(clients, w.join(50, 1<<20, CatchUp, &Resume{After: -1, Last: 1}, accepts{}))
		synctest.Wait()
		answered, refused := 0, 0
		for _, c := range clients {
			for c.read() {
			}
			switch reply, _, _ := strings.Cut(c.got(), ";"); {
			case strings.Contains(reply, `"offset"`):
				answered++
			case strings.Contains(reply, "unavailable"):
				refused++
			}
			c.actor.End(ErrDisconnected)
			c.group.Wait()
		}
		if answered != replayWorkers || refused != replayWorkers+1 {
			t.Errorf("%d joins were answered and %d refused", answered, refused)
		}
	})
}
