package channels

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
)

// clock is a Channel that is driven by messages to itself.
type clock struct {
	script
	info func(*Context, any) Result
}

func (c *clock) HandleInfo(ctx *Context, message any) Result { return c.info(ctx, message) }

func pushInfo(ctx *Context, message any) Result {
	_ = ctx.Push("info", map[string]any{"is": message})
	return NoReply()
}

func TestInfo(t *testing.T) {
	run(t, func(t *testing.T, s *stage) {
		c := &clock{info: pushInfo}
		var every *Timer
		c.join = func(ctx *Context) (any, error) {
			_ = ctx.Send("joined")
			var err error
			if every, err = ctx.Every(time.Second, "tick"); err != nil {
				t.Error(err)
			}
			_, err = ctx.SendAfter(1500*time.Millisecond, "once")
			stopped, _ := ctx.SendAfter(time.Millisecond, "never")
			stopped.Stop()
			return nil, err
		}
		a := s.join("t", c, nil)
		time.Sleep(3200 * time.Millisecond) // of the test's own clock
		want := `reply 1 ok {};push 1 info {"is":"joined"};push 1 info {"is":"tick"};push 1 info {"is":"once"};push 1 info {"is":"tick"};push 1 info {"is":"tick"};`
		if got := s.sent(); got != want {
			t.Fatal(got)
		}
		every.Stop()
		time.Sleep(5 * time.Second) // of the test's own clock
		if got := s.sent(); got != "" || len(a.rare.timers) != 0 {
			t.Fatal(got, a.rare.timers)
		}
		a.End(ErrDisconnected)
	})
}

func TestInfoStops(t *testing.T) {
	for name, c := range map[string]struct {
		info func(*Context, any) Result
		want string
	}{
		"stop":  {func(*Context, any) Result { return Stop(nil) }, "push 1 phx_close {};"},
		"fail":  {func(*Context, any) Result { return Stop(errors.New("x")) }, `push 1 phx_error {"reason":"channel_crash"};`},
		"panic": {func(*Context, any) Result { panic("x") }, `push 1 phx_error {"reason":"channel_crash"};`},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, s *stage) {
				var ctx *Context
				ch := &clock{info: c.info}
				ch.join = func(c *Context) (any, error) { ctx = c; _, err := c.Every(time.Second, 1); return nil, err }
				s.join("t", ch, nil)
				synctest.Wait()
				s.sent()
				time.Sleep(10 * time.Second) // of the test's own clock: timers end with the channel
				if got := s.sent(); got != c.want {
					t.Fatal(got)
				}
				if err := ctx.Send(1); !errors.Is(err, ErrClosed) {
					t.Fatal(err)
				}
				if _, err := ctx.SendAfter(1, 1); !errors.Is(err, ErrClosed) {
					t.Fatal(err)
				}
				if err := ctx.Async(nil); !errors.Is(err, ErrClosed) {
					t.Fatal(err)
				}
			})
		})
	}
}

func TestBoundsOfWhatAChannelDoesToItself(t *testing.T) {
	run(t, func(t *testing.T, s *stage) {
		free := make(chan struct{})
		c := &clock{info: pushInfo}
		c.in = func(ctx *Context, _ string) Result { <-free; return NoReply() }
		var ctx *Context
		c.join = func(c *Context) (any, error) { ctx = c; return nil, nil }
		a := s.join("t", c, nil)
		synctest.Wait()
		a.Receive(Inbound{Event: "wait"})
		for what, do := range map[string]func() error{
			"messages": func() error { return ctx.Send(1) },
			"timers":   func() error { _, err := ctx.SendAfter(time.Hour, 1); return err },
			"asyncs":   func() error { return ctx.Async(func(context.Context) { <-free }) },
		} {
			n := 0
			for do() == nil {
				n++
			}
			if err := do(); n != InboxSize || !errors.Is(err, ErrOverloaded) {
				t.Errorf("%d %s, then %v", n, what, err)
			}
		}
		if _, err := ctx.Every(time.Hour, 1); !errors.Is(err, ErrOverloaded) {
			t.Error(err)
		}
		a.Receive(Inbound{Event: "a client's messages have room of their own", Ref: "7"})
		close(free)
		synctest.Wait()
		if got := s.sent(); strings.Contains(got, "overloaded") || strings.Count(got, "info") != InboxSize {
			t.Error(got)
		}
		a.End(ErrDisconnected)
	})
}

func TestEveryLeavesOutWhatIsNotTaken(t *testing.T) {
	run(t, func(t *testing.T, s *stage) {
		ticks := 0
		c := &clock{info: func(*Context, any) Result { ticks++; return NoReply() }}
		c.in = func(*Context, string) Result { time.Sleep(9500 * time.Millisecond); return NoReply() } // of the test's own clock
		c.join = func(ctx *Context) (any, error) { _, err := ctx.Every(time.Second, 1); return nil, err }
		a := s.join("t", c, nil)
		synctest.Wait()
		a.Receive(Inbound{Event: "sleep"})
		time.Sleep(9600 * time.Millisecond) // of the test's own clock
		synctest.Wait()
		if ticks != 1 {
			t.Fatalf("%d ticks", ticks)
		}
		a.End(ErrDisconnected)
	})
}

func TestAnswerLater(t *testing.T) {
	run(t, func(t *testing.T, s *stage) {
		free := make(chan struct{})
		a := s.join("t", &script{in: func(ctx *Context, event string) Result {
			if event != "slow" {
				return OK(event)
			}
			reply := ctx.ReplyTo()
			err := ctx.Async(func(c context.Context) {
				select {
				case <-free:
					reply.OK(1)
				case <-c.Done():
					reply.Error("too late: nobody is there")
				}
			})
			if err != nil {
				return Error(Reason("overloaded"))
			}
			return NoReply()
		}}, nil)
		synctest.Wait()
		s.sent()
		a.Receive(Inbound{Event: "slow", Ref: "2"})
		a.Receive(Inbound{Event: "fast", Ref: "3"})
		synctest.Wait()
		if got := s.sent(); got != `reply 3 ok "fast";` {
			t.Fatal(got)
		}
		close(free)
		synctest.Wait()
		if got := s.sent(); got != `reply 2 ok 1;` {
			t.Fatal(got)
		}
		free = make(chan struct{})
		a.Receive(Inbound{Event: "slow", Ref: "4"})
		synctest.Wait()
		a.End(ErrDisconnected)
		s.group.Wait() // the function ends with the channel
		if got := s.sent(); got != "" {
			t.Fatal(got)
		}
	})
}

func TestAsyncPanics(t *testing.T) {
	run(t, func(t *testing.T, s *stage) {
		a := s.join("t", &script{in: func(ctx *Context, event string) Result {
			_ = ctx.Async(func(context.Context) { panic("x") })
			return NoReply()
		}}, nil)
		synctest.Wait()
		s.sent()
		a.Receive(Inbound{Event: "x", Ref: "2"})
		synctest.Wait()
		if got := s.sent(); got != `push 1 phx_error {"reason":"channel_crash"};` {
			t.Fatal(got)
		}
	})
}

// filter is a Channel that looks at events a and b.
type filter struct {
	script
	out func(ctx *Context, event string, p Payload) (any, bool)
}

func (f *filter) Intercepts() []string { return []string{"a", "b"} }

func (f *filter) HandleOut(ctx *Context, event string, p Payload) (any, bool) {
	return f.out(ctx, event, p)
}

// events routes events of the log with the given names, the first with the
// given offset.
func (s *stage) events(offset int64, names ...string) {
	s.hub.Advance(offset + int64(len(names)) - 1)
	b := outbound.NewBuilder(plain{})
	b.Start(s.hub.Watched("t"))
	for i, name := range names {
		_ = b.Add(&Message{Offset: offset + int64(i), Event: name, Payload: fmt.Appendf(nil, "%q", name)})
	}
	s.hub.Route(b.Segment())
}

func TestHandleOut(t *testing.T) {
	run(t, func(t *testing.T, s *stage) {
		a := s.join("t", &filter{out: func(_ *Context, event string, p Payload) (any, bool) {
			return "seen " + string(p.Data), event == "a"
		}}, nil)
		b := s.join("t", &script{}, nil)
		synctest.Wait()
		s.sent()
		for _, c := range []struct{ events, filtered string }{
			{"x", "x"}, {"a", "A"}, {"b", ""}, {"xyaxbyya", "xyAxyyA"}, {"bbb", ""}, {"aax", "AAx"},
		} {
			offset := s.hub.Head() + 1
			s.events(offset, strings.Split(c.events, "")...)
			s.events(offset, strings.Split(c.events, "")...) // once is enough
			synctest.Wait()
			var want []string // of both
			for i, e := range strings.Split(c.events, "") {
				want = append(want, fmt.Sprintf("0:%s %d %q", e, offset+int64(i), e))
				switch e {
				case "a":
					want = append(want, fmt.Sprintf("0:a %d %q", offset+int64(i), `seen "a"`))
				case "b":
				default:
					want = append(want, want[len(want)-1])
				}
			}
			got := strings.Split(strings.TrimSuffix(s.sent(), ";"), ";")
			if !sameElements(got, want) {
				t.Errorf("%s: got %q, want %q", c.events, got, want)
			}
		}
		if err := s.host.pubsub.Broadcast(&Message{Topic: "t", Event: "a", Payload: []byte("{}")}, b); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := s.sent(); got != `0:a 0 "seen {}";` {
			t.Fatal(got)
		}
		if stateOf(s.line).held != 0 || boxOf(a).reserved != 0 {
			t.Fatalf("still charged: %d bytes, %d messages", stateOf(s.line).held, boxOf(a).reserved)
		}
		a.End(ErrDisconnected)
		b.End(ErrDisconnected)
	})
}

func sameElements(a, b []string) bool {
	count := make(map[string]int)
	for _, s := range a {
		count[s]++
	}
	for _, s := range b {
		count[s]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

func TestHandleOutKeepsOrder(t *testing.T) {
	run(t, func(t *testing.T, s *stage) {
		a := s.join("t", &filter{out: func(_ *Context, _ string, p Payload) (any, bool) { return p, true }}, nil)
		synctest.Wait()
		s.sent()
		var want strings.Builder
		for i := range 50 {
			names := []string{"a", "x", "y", "b", "x"}[i%3:]
			offset := s.hub.Head() + 1
			s.events(offset, names...)
			for j, e := range names {
				fmt.Fprintf(&want, "0:%s %d %q;", e, offset+int64(j), e)
			}
			if i%10 == 9 {
				synctest.Wait() // the mailbox is bounded
			}
		}
		synctest.Wait()
		if got := s.sent(); got != want.String() {
			t.Fatalf("got %s", got)
		}
		a.End(ErrDisconnected)
	})
}

func TestHandleOutThatIsSlow(t *testing.T) {
	run(t, func(t *testing.T, s *stage) {
		free := make(chan struct{})
		a := s.join("t", &filter{out: func(*Context, string, Payload) (any, bool) { <-free; return nil, true }}, nil)
		synctest.Wait()
		for range 30 {
			s.events(s.hub.Head()+1, "a", "b", "a", "b")
		}
		if !stateOf(s.line).tooSlow {
			t.Fatal("100 messages fit, and 120 are waiting")
		}
		close(free)
		a.End(ErrDisconnected)
		synctest.Wait()
		if stateOf(s.line).held != 0 || boxOf(a).reserved != 0 {
			t.Fatalf("still charged: %d bytes, %d messages", stateOf(s.line).held, boxOf(a).reserved)
		}
	})
}

func TestHandleOutPanics(t *testing.T) {
	run(t, func(t *testing.T, s *stage) {
		s.join("t", &filter{out: func(*Context, string, Payload) (any, bool) { panic("x") }}, nil)
		synctest.Wait()
		s.sent()
		s.events(1, "x", "a", "x")
		synctest.Wait()
		if got := s.sent(); got != `0:x 1 "x";push 1 phx_error {"reason":"channel_crash"};` {
			t.Fatal(got)
		}
		if stateOf(s.line).held != 0 {
			t.Fatalf("still charged: %d bytes", stateOf(s.line).held)
		}
	})
}
