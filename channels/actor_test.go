package channels

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/store"
)

// script is a Channel made of functions.
type script struct {
	join      func(*Context) (any, error)
	in        func(*Context, string) Result
	terminate func(error)
}

func (s *script) Join(ctx *Context, _ Payload) (any, error) {
	if s.join == nil {
		return nil, nil
	}
	return s.join(ctx)
}

func (s *script) HandleIn(ctx *Context, event string, _ Payload) Result {
	if s.in == nil {
		return NoReply()
	}
	return s.in(ctx, event)
}

func (s *script) Terminate(_ *Context, reason error) {
	if s.terminate != nil {
		s.terminate(reason)
	}
}

// run runs a test in a bubble, with a stage that is taken down at its end.
func run(t *testing.T, test func(t *testing.T, s *stage)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		test(t, s)
		s.group.Wait()
	})
}

func TestActorHandlesOneAtATimeInOrder(t *testing.T) {
	run(t, func(t *testing.T, s *stage) {
		busy := false
		var got []string
		a := s.join("t", &script{in: func(_ *Context, event string) Result {
			if busy {
				t.Error("two at a time")
			}
			busy = true
			synctestYield()
			busy = false
			got = append(got, event)
			return OK(nil)
		}}, nil)
		for i := range InboxSize - 1 {
			a.Receive(Inbound{Event: fmt.Sprint(i), Ref: "1"})
		}
		synctest.Wait()
		if len(got) != InboxSize-1 {
			t.Fatalf("handled %d", len(got))
		}
		for i, event := range got {
			if event != fmt.Sprint(i) {
				t.Fatalf("event %d is %s", i, event)
			}
		}
		a.End(ErrDisconnected)
	})
}

// synctestYield lets other goroutines run.
func synctestYield() { c := make(chan struct{}); go close(c); <-c }

func TestActorOverloaded(t *testing.T) {
	run(t, func(t *testing.T, s *stage) {
		free := make(chan struct{})
		a := s.join("t", &script{in: func(*Context, string) Result { <-free; return OK(nil) }}, nil)
		synctest.Wait()
		a.Receive(Inbound{Event: "x", Ref: "0"}) // is being handled
		synctest.Wait()
		s.sent()
		for i := range DefaultInboundQueue + 2 {
			a.Receive(Inbound{Event: "x", Ref: outbound.Ref(fmt.Sprint(i + 1))})
		}
		a.Receive(Inbound{Event: "phx_leave", Ref: "9999"}) // is never refused
		a.Receive(Inbound{Event: "phx_leave", Ref: "late"}) // once is enough
		a.Receive(Inbound{Event: "x", Ref: "late"})
		synctest.Wait()
		want := fmt.Sprintf(`reply %d error {"reason":"overloaded"};reply %d error {"reason":"overloaded"};`, DefaultInboundQueue+1, DefaultInboundQueue+2)
		if got := s.sent(); got != want {
			t.Fatalf("got %s", got)
		}
		close(free)
		synctest.Wait()
		got := s.sent()
		if strings.Count(got, " ok ") != DefaultInboundQueue+2 || !strings.HasSuffix(got, "reply 9999 ok {};push 1 phx_close {};") {
			t.Fatalf("got %s", got)
		}
	})
}

func TestActorEnds(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []struct {
		name   string
		result func() Result
		end    error // given to End, when there is no event
		sent   string
		reason func(error) bool
	}{
		{"stops", func() Result { return Stop(nil) }, nil, "push 1 phx_close {};",
			func(err error) bool { return err == nil }},
		{"stops with an answer", func() Result { return OK(nil).ThenStop(nil) }, nil, "reply 2 ok {};push 1 phx_close {};",
			func(err error) bool { return err == nil }},
		{"fails", func() Result { return Stop(boom) }, nil, `push 1 phx_error {"reason":"channel_crash"};`,
			func(err error) bool { return errors.Is(err, boom) }},
		{"panics", func() Result { panic("boom") }, nil, `push 1 phx_error {"reason":"channel_crash"};`,
			func(err error) bool {
				var p *PanicError
				return errors.As(err, &p) && p.Value == "boom" && strings.Contains(string(p.Stack), "actor_test.go")
			}},
		{"is replaced", nil, ErrReplaced, "push 1 phx_close {};",
			func(err error) bool { return err == ErrReplaced }},
		{"loses its socket", nil, ErrDisconnected, "",
			func(err error) bool { return err == ErrDisconnected }},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, func(t *testing.T, s *stage) {
				ended, terminated := 0, 0
				a := s.join("t", &script{
					in: func(*Context, string) Result { return c.result() },
					terminate: func(err error) {
						terminated++
						if !c.reason(err) {
							t.Errorf("terminated because of %v", err)
						}
					},
				}, func(*Actor) { ended++ })
				synctest.Wait()
				s.sent()
				if c.result != nil {
					a.Receive(Inbound{Event: "x", Ref: "2"})
				} else {
					a.End(c.end)
				}
				synctest.Wait()
				a.Receive(Inbound{Event: "late", Ref: "3"})
				a.End(ErrDisconnected)
				synctest.Wait()
				if got := s.sent(); got != c.sent {
					t.Errorf("sent %q, want %q", got, c.sent)
				}
				if ended != 1 || terminated != 1 || s.hub.Channels() != 0 {
					t.Errorf("ended %d times, terminated %d times, %d subscriptions", ended, terminated, s.hub.Channels())
				}
			})
		})
	}
}

func TestActorThatDidNotJoinIsNotTerminated(t *testing.T) {
	for name, join := range map[string]func(*Context) (any, error){
		"rejected": func(*Context) (any, error) { return nil, Reject("no") },
		"panicked": func(*Context) (any, error) { panic("no") },
		"failed":   func(*Context) (any, error) { return nil, errors.New("no") },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, s *stage) {
				ended := 0
				s.join("t", &script{join: join, terminate: func(error) { t.Error("terminated") }}, func(*Actor) { ended++ })
				synctest.Wait()
				if ended != 1 || s.hub.Channels() != 0 {
					t.Error(ended, s.hub.Channels())
				}
			})
		})
	}
}

func TestActorIsReplacedWhileItJoins(t *testing.T) {
	run(t, func(t *testing.T, s *stage) {
		free := make(chan struct{})
		terminated := false
		a := s.join("t", &script{
			join:      func(*Context) (any, error) { <-free; return nil, nil },
			terminate: func(error) { terminated = true },
		}, nil)
		synctest.Wait()
		a.Receive(Inbound{Event: "phx_leave", Ref: "2"})
		a.End(ErrReplaced) // does not wait for the handler
		synctest.Wait()
		if got := s.sent(); got != "reply 2 ok {};push 1 phx_close {};" {
			t.Fatal(got)
		}
		close(free)
		synctest.Wait()
		if got := s.sent(); got != "" || !terminated || s.hub.Channels() != 0 {
			t.Fatal(got, terminated, s.hub.Channels())
		}
	})
}

func TestActorHasNoGoroutineWhileIdle(t *testing.T) {
	run(t, func(t *testing.T, s *stage) {
		a := s.join("t", &script{}, nil)
		s.group.Wait() // would not return
		if a.running || a.inbox != nil {
			t.Fatal("still running")
		}
		a.End(ErrDisconnected)
	})
}

func TestContextEndsWithTheChannel(t *testing.T) {
	run(t, func(t *testing.T, s *stage) {
		var ctx *Context
		a := s.join("t", &script{join: func(c *Context) (any, error) { ctx = c; return nil, nil }}, nil)
		synctest.Wait()
		if err := ctx.Context().Err(); err != nil {
			t.Fatal(err)
		}
		done := ctx.Context().Done()
		a.End(ErrDisconnected)
		<-done
		if err := ctx.Push("x", nil); !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
		if err := ctx.Publish("x", nil, nil); !errors.Is(err, ErrNoLog) {
			t.Fatal(err)
		}
		if ctx.Topic() != "t" || ctx.Socket().ID != "me" {
			t.Fatal(ctx.Topic(), ctx.Socket())
		}
	})
	t.Run("asked for late", func(t *testing.T) {
		run(t, func(t *testing.T, s *stage) {
			var ctx *Context
			a := s.join("t", &script{join: func(c *Context) (any, error) { ctx = c; return nil, nil }}, nil)
			synctest.Wait()
			a.End(ErrDisconnected)
			<-ctx.Context().Done()
		})
	})
}

func TestBroadcast(t *testing.T) {
	run(t, func(t *testing.T, s *stage) {
		tell := func(c *Context, event string) Result {
			switch event {
			case "all":
				_ = c.Broadcast("b", map[string]int{"n": 1})
			case "others":
				_ = c.BroadcastFrom("b", Binary("n"))
			case "bad":
				return OK(fmt.Sprint(c.Broadcast("b", func() {}) != nil))
			case "reserved":
				return OK(fmt.Sprint(errors.As(c.Broadcast("phx_close", nil), new(*store.InvalidError)),
					errors.As(c.Push("phx_error", nil), new(*store.InvalidError))))
			}
			return NoReply()
		}
		a := s.join("t", &script{in: tell}, nil)
		b := s.join("t", &script{in: tell}, nil)
		synctest.Wait()
		s.sent()
		for _, c := range []struct{ event, want string }{
			{"all", `0:b 0 {"n":1};0:b 0 {"n":1};`},
			{"others", `0:b 0 n;`},
			{"bad", `reply 2 ok "true";`},
			{"reserved", `reply 2 ok "true true";`},
		} {
			a.Receive(Inbound{Event: c.event, Ref: "2"})
			synctest.Wait()
			if got := s.sent(); got != c.want {
				t.Errorf("%s: got %s, want %s", c.event, got, c.want)
			}
		}
		a.End(ErrDisconnected)
		b.End(ErrDisconnected)
	})
}

func TestPayload(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		value any
		want  string
		fails bool
	}{
		{nil, "{}", false},
		{Payload{}, "{}", false},
		{Payload{Data: []byte(`[ 1 ]`)}, "[ 1 ]", false},
		{map[string]any{"in": Payload{Data: []byte(`[ 1 ]`)}, "none": Payload{}}, `{"in":[1],"none":null}`, false},
		{[]any{Payload{Data: []byte("x"), Binary: true}}, "", true},
		{Binary("\x00"), "\x00", false},
		{Reason("why"), `{"reason":"why"}`, false},
		{make(chan int), "", true},
	} {
		p, err := payloadOf(c.value)
		if string(p.Data) != c.want || (err != nil) != c.fails {
			t.Errorf("%v became %q: %v", c.value, p.Data, err)
		}
	}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	var r Routes
	named := func(name string) Factory { return func() Channel { panic(name) } }
	name := func(f Factory) (name any) {
		defer func() { name = recover() }()
		if f != nil {
			f()
		}
		return nil
	}
	for _, pattern := range []string{"room:lobby", "room:*", "*"} {
		if err := r.Handle(pattern, named(pattern)); err != nil {
			t.Fatal(err)
		}
	}
	for topic, want := range map[string]any{
		"room:lobby": "room:lobby", "room:": "room:*", "room:x": "room:*", "other": "*", "phoenix": nil,
	} {
		if got := name(r.Find(topic)); got != want {
			t.Errorf("%s is served by %v, want %v", topic, got, want)
		}
	}
	for _, pattern := range []string{"", "a*b", "*a"} {
		if r.Handle(pattern, named("x")) == nil {
			t.Errorf("%q is no pattern", pattern)
		}
	}
	if r.Handle("x", nil) == nil {
		t.Error("no factory")
	}
	if (&Routes{}).Find("x") != nil {
		t.Error("nobody serves x")
	}
}
