package channels

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/metrics"
)

// ours tells whether an offset is of the topic "t": each fifth is another's.
func ours(offset int64) bool { return offset%5 != 0 }

// memory is a History in which every offset that is ours is an event of "t".
type memory struct {
	mu      sync.Mutex
	head    int64
	trimmed int64
	reads   int
	tails   int
	fail    int     // how many reads fail from now on
	away    bool    // nothing can be asked
	lags    []int64 // what the reads from now on have seen of it, each of its own

	event func(offset int64) Message // immutable
}

func (m *memory) append(n int64) (first, last int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.head += n
	return m.head - n + 1, m.head
}

func (m *memory) Replay(_ context.Context, topic string, after, upTo int64, limit, _ int) ([]Message, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	switch {
	case m.fail > 0:
		m.fail--
		return nil, 0, errors.New("away")
	case after < m.trimmed:
		return nil, 0, ErrGone
	}
	seen := m.head
	if len(m.lags) > 0 {
		seen, m.lags = m.lags[0], m.lags[1:]
	}
	var list []Message
	through := max(after, min(upTo, seen, after+int64(limit)))
	for offset := after + 1; offset <= through; offset++ {
		if ours(offset) {
			list = append(list, m.event(offset))
		}
	}
	return list, through, nil
}

func (m *memory) Tail(_ context.Context, topic string, count int, upTo int64) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tails++
	if m.fail > 0 {
		m.fail--
		return 0, errors.New("away")
	}
	after := min(upTo, m.head)
	for offset := after; offset > m.trimmed && count > 0; offset-- {
		if ours(offset) {
			after, count = offset-1, count-1
		}
	}
	return after, nil
}

func (m *memory) Resume(_ context.Context, epoch string, after int64) (int64, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away {
		return 0, false, errors.New("away")
	}
	if epoch != "" {
		return m.trimmed, false, nil
	}
	return max(m.trimmed, min(after, m.head)), m.trimmed <= after && after <= m.head, nil
}

func (m *memory) readsOf() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reads
}

func event(offset int64) Message {
	return Message{Offset: offset, Topic: "t", Event: "e", Payload: []byte("{}"), InsertedAt: time.Unix(offset, 0)}
}

// world is a hub that replays, and the one who routes to it.
type world struct {
	*stage
	log      *memory
	builder  *outbound.Builder
	replayer *Replayer
}

func newWorld(t testing.TB, recentBytes int) *world {
	w := &world{stage: newStage(t), log: &memory{event: event}, builder: outbound.NewBuilder(plain{})}
	w.host.history = w.log
	replayer := NewReplayer(w.hub, w.log, plain{}, recentBytes)
	w.replayer = replayer
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = replayer.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return w
}

// publish appends n events to the log and routes them in one segment, as the
// line does.
func (w *world) publish(n int64) {
	w.route(w.log.append(n))
}

// route routes what is in the log, in one segment.
func (w *world) route(first, last int64) {
	w.hub.Advance(last)
	to := w.hub.Watched("t")
	if to.Formats == 0 {
		return
	}
	w.builder.Start(to)
	for offset := first; offset <= last; offset++ {
		if m := w.log.event(offset); ours(offset) {
			if err := w.builder.Add(&m); err != nil {
				w.t.Error(err)
			}
		}
	}
	if segment := w.builder.Segment(); segment != nil {
		w.hub.Route(segment)
	}
}

// client is a connection with one channel, that reads when it is told to.
type client struct {
	*line
	actor *Actor
	group sync.WaitGroup
	out   []byte // what it got
}

// got is what the client got, frame after frame.
func (c *client) got() string { return string(c.out) }

func (w *world) join(size, bytes int, rule Overflow, resume *Resume, channel Channel) *client {
	return w.joinFor(Options{Overflow: rule, MailboxSize: size}, bytes, resume, channel)
}

func (w *world) joinFor(d Options, bytes int, resume *Resume, channel Channel) *client {
	c := &client{line: newLine(w.hub, d.MailboxSize, bytes)}
	c.actor = w.host.Join(JoinRequest{
		To:         outbound.Address{Topic: "t", JoinRef: "1", Ref: "1"},
		Factory:    func() Channel { return channel },
		Options:    d,
		Resume:     resume,
		Socket:     func() *Socket { return &Socket{} },
		Connection: c.Connection,
		Context:    context.Background(),
		Group:      &c.group,
		Ended:      func(*Actor) {},
	})
	return c
}

// read takes one batch of what is queued.
func (c *client) read() bool {
	more := c.Take(&c.batch, 1<<10, 4)
	c.batch.Written()
	for _, frame := range c.batch.Frames {
		c.out = append(c.out, frame...)
	}
	return more
}

// readUntil reads, without a pause, until what it got ends in that.
func (c *client) readUntil(end string) {
	for !bytes.HasSuffix(c.out, []byte(end)) {
		if !c.read() {
			runtime.Gosched()
		}
	}
}

// settle reads until nothing more comes.
func (c *client) settle() {
	for idle := 0; idle < 3; idle++ {
		time.Sleep(2 * replayPause) // of the test's own clock: reads may fail, and are tried again
		synctest.Wait()
		for c.read() {
			idle = 0
			synctest.Wait()
		}
	}
}

// offsets is what the client got of the log, without the answer to its join.
func (c *client) offsets(t *testing.T) []int64 {
	t.Helper()
	var list []int64
	for frame := range strings.SplitSeq(strings.TrimSuffix(c.got(), ";"), ";") {
		if strings.HasPrefix(frame, "reply") {
			continue
		}
		_, rest, _ := strings.Cut(frame, ":e ")
		number, _, _ := strings.Cut(rest, " ")
		offset, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			t.Fatalf("frame %q: %v", frame, err)
		}
		list = append(list, offset)
	}
	return list
}

// expect checks that the client got each offset of ours from first to last,
// once and in order.
func (c *client) expect(t *testing.T, first, last int64) {
	t.Helper()
	list := c.offsets(t)
	at := 0
	for due := first; due <= last; due++ {
		switch {
		case !ours(due):
			continue
		case at == len(list):
			t.Fatalf("got %d events up to %v, %d is missing, the last is %d", len(list), list[max(0, at-3):], due, last)
		case list[at] != due:
			t.Fatalf("got %d where %d was due: %v", list[at], due, list[max(0, at-3):min(len(list), at+4)])
		}
		at++
	}
	if at != len(list) {
		t.Fatalf("got more than was due: %v", list[at:min(len(list), at+5)])
	}
}

type accepts struct{}

func (accepts) Join(*Context, Payload) (any, error) { return nil, nil }

// sees lets all events pass, after a look at them.
type sees struct{ accepts }

func (sees) Intercepts() []string { return []string{"e"} }

func (sees) HandleOut(_ *Context, _ string, p Payload) (any, bool) { return p, true }

// TestNothingLostNothingTwice joins clients of all speeds at all positions of a
// log that grows meanwhile, with little memory for what was recent, and now
// and then a history that fails.
func TestNothingLostNothingTwice(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			w := newWorld(t, random.IntN(4000))
			var clients []*client
			var firsts []int64
			for range 60 + random.IntN(60) {
				switch what := random.IntN(20); {
				case what < 8:
					w.publish(1 + random.Int64N(30))
				case what == 8:
					w.log.mu.Lock()
					w.log.fail = random.IntN(3)
					w.log.lags = nil
					for range random.IntN(3) {
						w.log.lags = append(w.log.lags, random.Int64N(w.log.head+1))
					}
					w.log.mu.Unlock()
				case what == 9 && len(clients) < 8:
					after := int64(-1)
					if w.log.head > 0 && random.IntN(4) > 0 {
						after = random.Int64N(w.log.head + 1)
					}
					var channel Channel = accepts{}
					if random.IntN(4) == 0 {
						channel = sees{}
					}
					c := w.join(1+random.IntN(50), 50+random.IntN(2000), CatchUp, &Resume{After: after}, channel)
					synctest.Wait()
					if after < 0 {
						after = w.log.head
					}
					clients, firsts = append(clients, c), append(firsts, after+1)
				case len(clients) > 0:
					clients[random.IntN(len(clients))].read()
				}
			}
			for i, c := range clients {
				c.settle()
				if c.overflowed > 0 {
					t.Fatalf("seed %d: client %d was disconnected", seed, i)
				}
				c.expect(t, firsts[i], w.log.head)
				if boxOf(c.actor).catchingUp {
					t.Errorf("seed %d: client %d has all and is still behind", seed, i)
				}
				c.actor.End(ErrDisconnected)
				c.group.Wait()
			}
		})
	}
}

// TestGoingLiveMissesNothing has clients fall behind and catch up again and again
// while events are routed without a pause.
func TestGoingLiveMissesNothing(t *testing.T) {
	t.Parallel()
	const events, readers = 6000, 4
	w := newWorld(t, 4000)
	var clients []*client
	for range readers {
		c := w.join(8, 1<<20, CatchUp, nil, accepts{})
		for !strings.Contains(c.got(), "reply") {
			c.read()
		}
		clients = append(clients, c)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for range events / 4 {
			w.publish(4)
		}
	})
	for _, c := range clients {
		group.Go(func() { c.readUntil(fmt.Sprintf("e %d {};", events-1)) })
	}
	group.Wait()
	for _, c := range clients {
		c.expect(t, 1, events)
		c.actor.End(ErrDisconnected)
		c.group.Wait()
	}
}

// TestNotHavingSeenIsNoProgress has reads answered by a standby that lags behind.
func TestNotHavingSeenIsNoProgress(t *testing.T) {
	t.Parallel()
	for _, after := range []int64{0, 7, 20} {
		for _, lags := range [][]int64{{0}, {after}, {after, after, 12, 12, 20}, {12, 3, 40}, {19, 20, 21}} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 0)
				w.publish(50)
				w.log.lags = lags
				c := w.join(100, 1<<20, CatchUp, &Resume{After: after}, accepts{})
				c.settle()
				c.expect(t, after+1, 50)
				c.actor.End(ErrDisconnected)
				c.group.Wait()
			})
		}
	}
}

func TestAStormReadsThePageAHandfulOfTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const storm = 2000
		w := newWorld(t, 1<<20)
		w.publish(400) // nobody is there
		var clients []*client
		for range storm {
			clients = append(clients, w.join(1024, 1<<20, CatchUp, &Resume{After: 100}, accepts{}))
		}
		for _, c := range clients {
			c.settle()
			c.expect(t, 101, 400)
			c.actor.End(ErrDisconnected)
			c.group.Wait()
		}
		if reads := w.log.readsOf(); reads > 2*replayWorkers {
			t.Errorf("%d clients read the history %d times", storm, reads)
		}
	})
}

// Who cannot be told whether it can resume is not told that it cannot: it would
// begin anew, and get twice what it has.
func TestResumeIsRefusedWhileTheHistoryIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		w.log.away = true
		c := w.join(50, 1<<20, CatchUp, &Resume{After: 7}, accepts{})
		c.settle()
		if want := `reply 1 error {"reason":"unavailable"};`; c.got() != want {
			t.Errorf("got %s, want %s", c.got(), want)
		}
		if n := w.set.Counter(metrics.Joins, metrics.Status("rejected"), metrics.Reason("unavailable")).Value(); n != 1 {
			t.Errorf("counted %d times", n)
		}
		c.group.Wait()
	})
}

func TestWhatIsGoneEndsTheChannel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		w.publish(5000)
		c := w.join(50, 1<<20, CatchUp, &Resume{After: 0}, accepts{})
		c.settle()
		c.out = nil
		w.log.mu.Lock()
		w.log.trimmed = 5000
		w.log.mu.Unlock()
		w.publish(1000) // more than the mailbox holds: it falls behind what is kept
		w.log.mu.Lock()
		w.log.trimmed = 6000
		w.log.mu.Unlock()
		c.settle()
		if !strings.Contains(c.got(), "phx_error") {
			t.Errorf("got %.300s", c.got())
		}
		c.group.Wait()
	})
}

func TestOverflowRules(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		rule     Overflow
		resume   *Resume
		want     string // offsets got when 6 of ours come for a mailbox of 4, and one more later
		overflow bool
	}{
		{CatchUp, nil, "[1 2 3 4 6 7 8]", false},
		{CatchUp, &Resume{After: -1}, "[1 2 3 4 6 7 8]", false},
		{DropOldest, nil, "[3 4 6 7 8]", false},
		{DropOldest, &Resume{After: -1}, "[1 2 3 4 6 7 8]", false}, // who resumes gets all
		{DropNewest, nil, "[1 2 3 4 8]", false},
		{DropNewest, &Resume{After: -1}, "[1 2 3 4 6 7 8]", false},
		{Latest, nil, "[3 4 6 7 8]", false}, // without keys
		{Latest, &Resume{After: -1}, "[1 2 3 4 6 7 8]", false},
		{Disconnect, nil, "", true},
		{Disconnect, &Resume{After: -1}, "", true},
	} {
		t.Run(fmt.Sprint(test.rule, test.resume != nil), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1<<20)
				c := w.join(4, 1<<20, test.rule, test.resume, accepts{})
				c.settle()
				for range 7 {
					w.publish(1)
				}
				c.settle()
				w.publish(1)
				c.settle()
				if (c.overflowed > 0) != test.overflow {
					t.Errorf("disconnected %d times", c.overflowed)
				}
				if got := fmt.Sprint(c.offsets(t)); !test.overflow && got != test.want {
					t.Errorf("got %s, want %s", got, test.want)
				}
				c.actor.End(ErrDisconnected)
				c.group.Wait()
			})
		})
	}
}

func TestGoingLiveOnlyWithAllThatWasRouted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1<<20)
	subscribe(w.hub, "t", outbound.Formats(0), newLine(w.hub, 1, 1).mailbox(Options{}))
	w.publish(4)
	m := newLine(w.hub, 10, 1000).mailbox(Options{})
	catchingUp, pushed := private[bool](m, "catchingUp"), private[int64](m, "pushed")
	*private[bool](m, "open"), *catchingUp, *pushed = true, true, 3
	if w.hub.goLive("t", 3, m) || !*catchingUp {
		t.Error("live at 3, and 4 has been routed")
	}
	*pushed = 4
	if w.hub.goLive("t", 3, m) || !*catchingUp {
		t.Error("live at 3, when the mailbox has got to 4")
	}
	if !w.hub.goLive("t", 4, m) || *catchingUp {
		t.Error("still behind with all that was routed")
	}
}

// few is a context that ends after so many questions.
type few struct {
	context.Context
	left int
}

func (f *few) Err() error {
	if f.left--; f.left < 0 {
		return context.DeadlineExceeded
	}
	return nil
}

// A channel that has left its topic, and whose mailbox has not ended yet, is never live
// again: nobody reads for it.
func TestNobodyReadsForWhoIsLeaving(t *testing.T) {
	t.Parallel()
	for name, recent := range map[string]int{"from memory": 1 << 20, "from the log": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, recent)
				c := w.join(100, 1<<20, CatchUp, &Resume{After: -1}, accepts{})
				w.publish(4)
				c.settle()
				*private[bool](&c.actor.mailbox, "catchingUp") = true
				c.actor.subscription.Cancel()
				ctx := &few{context.Background(), 3}
				reads := w.log.reads
				w.replayer.serve(ctx, c.actor, w.builder)
				if ctx.left < 0 || w.log.reads > reads {
					t.Errorf("turned in place, reading %d times", w.log.reads-reads)
				}
				c.actor.End(ErrDisconnected)
				c.group.Wait()
			})
		})
	}
}

// Who resumes while an event is between the encoder, which did not know of its
// format, and the router, gets that event from the log.
func TestResumeBetweenEncodingAndRouting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20)
		watcher := w.join(100, 1<<20, CatchUp, &Resume{After: -1}, accepts{})
		w.publish(4)
		watcher.settle()

		_, head := w.log.append(2)
		w.hub.Advance(head)
		w.builder.Start(w.hub.Watched("t"))
		m := event(head)
		if err := w.builder.Add(&m); err != nil {
			t.Fatal(err)
		}
		late := &client{line: newLine(w.hub, 100, 1<<20)}
		late.actor = w.host.Join(JoinRequest{
			To: outbound.Address{Topic: "t", JoinRef: "1", Ref: "1"}, Format: 1,
			Factory: func() Channel { return accepts{} }, Options: Options{Overflow: CatchUp, MailboxSize: 100}, Resume: &Resume{After: 4},
			Socket: func() *Socket { return &Socket{} }, Connection: late.Connection, Context: context.Background(),
			Group: &late.group, Ended: func(*Actor) {},
		})
		late.settle()
		w.hub.Route(w.builder.Segment())
		late.settle()
		if got := late.offsets(t); len(got) != 1 || got[0] != head {
			t.Errorf("got %v, want %d", got, head)
		}
		for _, c := range []*client{watcher, late} {
			c.actor.End(ErrDisconnected)
			c.group.Wait()
		}
	})
}

// TestReplaysHaveNoDeliveryTime has a client, whose channel looks at what goes to it or does
// not, resume far back, and then get what comes: how long ago that was inserted is told of
// the latter alone.
func TestReplaysHaveNoDeliveryTime(t *testing.T) {
	t.Parallel()
	for name, channel := range map[string]Channel{"as it is": accepts{}, "looked at": sees{}} {
		for from, remembered := range map[string]int{"history": 0, "memory": 1 << 20} {
			t.Run(name+" from "+from, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, remembered)
					other := w.join(1024, 1<<20, CatchUp, &Resume{After: 0}, accepts{}) // so that the topic is remembered
					w.publish(400)
					other.settle()
					c := w.join(1024, 1<<20, CatchUp, &Resume{After: 0}, channel)
					read := func() (told int) {
						for synctest.Wait(); c.read(); synctest.Wait() {
							told += len(c.batch.Inserted)
						}
						return told
					}
					if told := read(); told != 0 || boxOf(c.actor).catchingUp {
						t.Errorf("the replay has %d delivery times, behind: %v", told, boxOf(c.actor).catchingUp)
					}
					c.expect(t, 1, 400)
					w.publish(100)
					if told := read(); told == 0 {
						t.Error("what came live has no delivery time")
					}
					for _, each := range []*client{c, other} {
						each.actor.End(ErrDisconnected)
						each.group.Wait()
					}
				})
			})
		}
	}
}
