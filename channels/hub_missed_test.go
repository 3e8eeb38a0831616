package channels

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
)

// skip has the log trimmed up to an offset before the line has read that far.
func (w *world) skip(through int64) {
	w.log.mu.Lock()
	w.log.head = max(w.log.head, through)
	w.log.trimmed = through
	w.log.mu.Unlock()
	w.hub.Skip(through)
}

// TestWhoMissesSomethingIsTold has the line skip what was trimmed, with a channel
// of each kind in its midst: it gets what was before the gap, in order, is ended so
// that its client joins again, and gets nothing from beyond it.
func TestWhoMissesSomethingIsTold(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		delivery Options
		resume   *Resume
		channel  Channel
		publish  int64 // before the gap
		unread   bool  // the client reads nothing before the gap
	}{
		"from now on":      {Options{}, &Resume{After: -1}, accepts{}, 4, false},
		"after an offset":  {Options{}, &Resume{After: 0}, accepts{}, 4, false},
		"a quiet topic":    {Options{}, &Resume{After: -1}, accepts{}, 0, false},
		"plain":            {Options{}, nil, accepts{}, 4, false},
		"one that sheds":   {Options{Overflow: DropOldest}, nil, accepts{}, 4, false},
		"latest":           {Options{Overflow: Latest}, nil, accepts{}, 4, false},
		"disconnect":       {Options{Overflow: Disconnect}, &Resume{After: -1}, accepts{}, 4, false},
		"intercepting":     {Options{}, &Resume{After: -1}, sees{}, 4, false},
		"collecting":       {Options{FlushInterval: time.Hour}, &Resume{After: -1}, accepts{}, 4, true},
		"not read yet":     {Options{}, &Resume{After: -1}, accepts{}, 4, true},
		"behind":           {Options{MailboxSize: 2}, &Resume{After: -1}, accepts{}, 4, true},
		"behind, and sees": {Options{MailboxSize: 2}, &Resume{After: -1}, sees{}, 4, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1<<20)
				d := test.delivery.Or(Options{Overflow: CatchUp, MailboxSize: 100})
				c := w.joinFor(d, 1<<20, test.resume, test.channel)
				c.settle()
				for range test.publish {
					w.publish(1)
				}
				if !test.unread {
					c.settle()
				}
				w.skip(20)
				w.publish(3)
				c.settle()
				c.group.Wait()
				head, told := strings.CutSuffix(c.got(), `push 1 phx_error {"reason":"missed"};`)
				if !told {
					t.Fatalf("got %s", c.got())
				}
				c.out = []byte(head)
				got := c.offsets(t)
				for i, offset := range got {
					if offset != int64(i+1) {
						t.Errorf("got %v", got)
					}
				}
				if !test.unread && len(got) != int(test.publish) {
					t.Errorf("got %v of %d", got, test.publish)
				}
			})
		})
	}
}

// Joins that are under way when the line skips: whatever has happened of them, the
// client is told, by the offset of the answer or by the end of the channel.
func TestJoinsUnderWayAreToldOfAGap(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		after int64
		told  bool // by the end of the channel
	}{"from now on": {-1, false}, "after an offset": {1, true}, "from beyond": {22, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1<<20)
				w.publish(4)
				if test.after > 4 {
					w.log.append(test.after - 4) // other nodes have it
				}
				gate := &gated{log: w.log, open: make(chan struct{})}
				w.host.history = gate
				joining := make(chan struct{})
				c := w.join(100, 1<<20, CatchUp, &Resume{After: test.after}, waits{gate: joining})
				synctest.Wait()
				if test.after < 0 { // within Join; else within Resume
					w.skip(20)
					close(joining)
				} else {
					close(joining)
					synctest.Wait()
					w.skip(20)
				}
				close(gate.open)
				c.settle()
				w.publish(3)
				c.settle()
				if told := strings.Contains(c.got(), "phx_error"); told != test.told {
					t.Errorf("told: %v; got %s", told, c.got())
				}
				if test.after < 0 && !strings.Contains(c.got(), `"offset":20,`) {
					t.Errorf("the answer does not begin beyond the gap: %s", c.got())
				}
				if want := max(test.after, 20) + 1; !test.told {
					c.expect(t, want, w.log.head)
				}
				c.actor.End(ErrDisconnected)
				c.group.Wait()
			})
		})
	}
}

// A node that is behind what the log keeps still routes what its clients have seen
// elsewhere: who cannot resume there begins beyond what it has seen, and beyond
// what is no longer kept, and is not given that again.
func TestWhoBeginsAnewGetsNothingAgain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		resume  Resume
		trimmed int64
		begins  int64
	}{
		"has seen more than is routed":   {Resume{After: 6}, 8, 8},
		"has seen all, and is trimmed":   {Resume{After: 9}, 10, 10},
		"is beyond the log":              {Resume{After: 11}, 3, 10},
		"comes from an epoch of another": {Resume{After: 7, Epoch: "of another"}, 2, 4},
		"the node has routed more":       {Resume{After: 1}, 2, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1<<20)
				w.publish(4)
				w.log.append(6) // other nodes have routed it
				w.log.mu.Lock()
				w.log.trimmed = test.trimmed
				w.log.mu.Unlock()
				c := w.join(100, 1<<20, CatchUp, &test.resume, accepts{})
				c.settle()
				if want := fmt.Sprintf(`"offset":%d,"epoch":"","resumed":false`, test.begins); !strings.Contains(c.got(), want) {
					t.Errorf("answered %s, want %s", c.got(), want)
				}
				for offset := int64(5); offset <= 10; offset++ { // until it skips
					w.route(offset, offset)
				}
				w.publish(2)
				c.settle()
				c.expect(t, test.begins+1, 12)
				c.actor.End(ErrDisconnected)
				c.group.Wait()
			})
		})
	}
}

// gated is a History that lets Resume return when it is open, with what it knew
// before.
type gated struct {
	log  *memory
	open chan struct{}
}

func (g *gated) Replay(ctx context.Context, topic string, after, upTo int64, limit, bytes int) ([]Message, int64, error) {
	return g.log.Replay(ctx, topic, after, upTo, limit, bytes)
}

func (g *gated) Tail(ctx context.Context, topic string, count int, upTo int64) (int64, error) {
	return g.log.Tail(ctx, topic, count, upTo)
}

func (g *gated) Resume(ctx context.Context, epoch string, after int64) (int64, bool, error) {
	from, whole, err := g.log.Resume(ctx, epoch, after)
	<-g.open
	return from, whole, err
}

// trusting is a History that says of all that it can be resumed.
type trusting struct{ *memory }

func (trusting) Resume(_ context.Context, _ string, after int64) (int64, bool, error) {
	return after, true, nil
}

// waits is a Channel whose Join waits.
type waits struct{ gate chan struct{} }

func (w waits) Join(*Context, Payload) (any, error) { <-w.gate; return nil, nil }

// What is remembered is not whole over a gap, for those who resume from before it
// while others watch the topic.
func TestMemoryIsNotWholeOverAGap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20)
		subscribe(w.hub, "t", outbound.Formats(0), new(ear)) // stays
		w.publish(4)
		w.skip(20)
		w.publish(4)
		for after := range int64(24) {
			segments, whole := w.hub.recentAfter("t", after, outbound.Formats(0))
			if whole != (after >= 20) || whole && len(segments) != 1 {
				t.Errorf("after %d: %d segments, whole: %v", after, len(segments), whole)
			}
		}
		for _, after := range []int64{0, 3, 19, 20, 21} {
			w.host.history = trusting{w.log} // as with a pulse that is late
			c := w.join(100, 1<<20, CatchUp, &Resume{After: after}, accepts{})
			c.settle()
			if told := strings.Contains(c.got(), "phx_error"); told != (after < 20) {
				t.Errorf("after %d: %s", after, c.got())
			} else if !told {
				c.expect(t, after+1, 24)
			}
			c.actor.End(ErrDisconnected)
			c.group.Wait()
		}
	})
}

// TestWhatIsWholeOnlyBeginsLater has a topic's last watcher leave and come back
// while a segment from before is under way: forgetting that makes nothing whole
// that is not.
func TestWhatIsWholeOnlyBeginsLater(t *testing.T) {
	t.Parallel()
	for name, between := range map[string]func(*world){
		"nothing":        func(*world) {},
		"a gap":          func(w *world) { w.skip(8) },
		"others' events": func(w *world) { w.log.append(4); w.hub.Advance(w.log.head) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 4*smallSegment)
				gone := subscribe(w.hub, "t", outbound.Formats(0), new(ear))
				w.publish(1)
				first, last := w.log.append(3) // under way: fetched, encoded, and not routed
				w.hub.Advance(last)
				w.builder.Start(w.hub.Watched("t"))
				for offset := first; offset <= last; offset++ {
					m := event(offset)
					if err := w.builder.Add(&m); err != nil {
						t.Fatal(err)
					}
				}
				between(w)
				gone.Cancel()
				subscribe(w.hub, "t", outbound.Formats(0), new(ear))
				since := w.hub.Head()
				w.hub.Route(w.builder.Segment())
				for range 10 { // forgets it, and more
					w.publish(1)
					for after := range since {
						if segments, whole := w.hub.recentAfter("t", after, outbound.Formats(0)); whole {
							t.Fatalf("whole after %d, with %d segments, though only from %d on", after, len(segments), since)
						}
					}
				}
				if w.log.trimmed > 0 {
					return
				}
				head := w.log.head
				c := w.join(100, 1<<20, CatchUp, &Resume{After: 2}, accepts{})
				c.settle()
				c.expect(t, 3, head)
				c.actor.End(ErrDisconnected)
				c.group.Wait()
			})
		})
	}
}

// A subscriber that is in the midst of leaving, or is none of ours, is no matter.
func TestSkipWithNobodyThere(t *testing.T) {
	t.Parallel()
	hub := NewHub(nil)
	subscribe(hub, "t", outbound.Formats(0), new(ear)).Cancel()
	subscribe(hub, "u", outbound.Formats(0), new(ear))
	hub.Skip(7)
	if got := fmt.Sprint(hub.Head(), hub.Skipped()); got != "7 7" {
		t.Errorf("head and skipped: %s", got)
	}
	hub.Skip(3)
	if got := fmt.Sprint(hub.Head(), hub.Skipped()); got != "7 7" {
		t.Errorf("head and skipped: %s", got)
	}
}

// What is remembered from before a gap may be forgotten after it: what is whole begins
// behind the gap all the same.
func TestForgettingWhatWasBeforeAGap(t *testing.T) {
	t.Parallel()
	p := topicHistory{since: 2}
	for last := range int64(3) {
		p.list.Push(entry{last: 3 + last})
	}
	p.since = 20 // as skip has it
	for p.list.Len() > 0 {
		if p.forget(); p.since != 20 {
			t.Fatalf("whole from %d on", p.since)
		}
	}
}
