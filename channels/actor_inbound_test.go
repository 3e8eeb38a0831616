package channels

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sluicehq/sluice/channels/outbound"
)

// TestInboundBytes charges a connection for what waits, in every way in which something
// can, and no longer once it is over.
func TestInboundBytes(t *testing.T) {
	const n, size = 20, 60 << 10
	large := Payload{Data: []byte(`"` + strings.Repeat("x", size-2) + `"`)}
	for name, test := range map[string]func(t *testing.T, s *stage, b *InboundBytes, free chan struct{}){
		"pushes that wait": func(t *testing.T, s *stage, b *InboundBytes, free chan struct{}) {
			a := s.joinWith(&script{in: func(*Context, string) Result { <-free; return OK(nil) }}, Payload{}, b)
			synctest.Wait()
			for i := range n {
				a.Receive(Inbound{Event: "x", Ref: outbound.Ref(fmt.Sprint(i)), Payload: large})
			}
			synctest.Wait()
			if held := b.Held(); held < n*size {
				t.Errorf("%d bytes are held, want %d and more", held, n*size)
			}
		},
		"pushes of an ended channel": func(t *testing.T, s *stage, b *InboundBytes, free chan struct{}) {
			a := s.joinWith(&script{in: func(*Context, string) Result { <-free; return OK(nil) }}, Payload{}, b)
			for range n {
				a.Receive(Inbound{Event: "x", Payload: large})
			}
			synctest.Wait()
			a.End(ErrDisconnected)
			if held := b.Held(); held < size || held > 2*size {
				t.Errorf("%d bytes are held, want those of the message in hand", held)
			}
		},
		"joins, replaced ones among them": func(t *testing.T, s *stage, b *InboundBytes, free chan struct{}) {
			for range n {
				a := s.joinWith(&script{join: func(*Context) (any, error) { <-free; return nil, nil }}, large, b)
				synctest.Wait()
				a.End(ErrReplaced) // its handler goes on
			}
			if held := b.Held(); held < n*size {
				t.Errorf("%d bytes are held, want %d and more", held, n*size)
			}
		},
		"a join that ends before it begins": func(t *testing.T, s *stage, b *InboundBytes, free chan struct{}) {
			for range n {
				s.joinWith(&script{}, large, b).End(ErrReplaced)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, s *stage) {
				var b InboundBytes
				free := make(chan struct{})
				test(t, s, &b, free)
				close(free)
				synctest.Wait()
				if held := b.Held(); held != 0 {
					t.Errorf("%d bytes are charged for nothing", held)
				}
			})
		})
	}
}

// joinWith is join for a connection whose inbound bytes count.
func (s *stage) joinWith(c Channel, params Payload, b *InboundBytes) *Actor {
	return s.host.Join(JoinRequest{
		To:         outbound.Address{Topic: "t", JoinRef: "1", Ref: "1"},
		Params:     params,
		Factory:    func() Channel { return c },
		Options:    Options{MailboxSize: 100},
		Socket:     func() *Socket { return &Socket{ID: "me"} },
		Connection: s.line,
		Inbound:    b,
		Context:    s.t.Context(),
		Group:      &s.group,
		Ended:      func(*Actor) {},
	})
}

// batched is a channel that notes how its client's pushes came.
type batched struct {
	script
	free  chan struct{}
	sizes []int
	all   strings.Builder
}

func (c *batched) HandleBatch(_ *Context, events []Pushed) []Result {
	<-c.free
	c.sizes = append(c.sizes, len(events))
	results := make([]Result, len(events))
	for i, e := range events {
		c.all.WriteString(e.Event + " ")
		results[i] = OK(nil)
	}
	return results
}

// TestHandleBatch pushes while a batch is under way: the rest comes together, in
// order, up to the client's leave, and each is answered.
func TestHandleBatch(t *testing.T) {
	run(t, func(t *testing.T, s *stage) {
		var b InboundBytes
		b.Limit(1 << 20)
		c := &batched{free: make(chan struct{})}
		a := s.joinWith(c, Payload{}, &b)
		synctest.Wait()
		s.sent()
		var want strings.Builder
		for i := range 1000 {
			a.Receive(Inbound{Event: fmt.Sprint(i), Ref: outbound.Ref(fmt.Sprint(i))})
			fmt.Fprintf(&want, "%d ", i)
			if i == 0 {
				synctest.Wait()
			}
		}
		a.Receive(Inbound{Event: leave, Ref: "9999"})
		close(c.free)
		synctest.Wait()
		if got := c.all.String(); got != want.String() {
			t.Errorf("handled %s", got)
		}
		if len(c.sizes) > 1+1000/maxPushes+1 {
			t.Errorf("1000 pushes took %d calls: %v", len(c.sizes), c.sizes)
		}
		got := s.sent()
		if strings.Count(got, " ok ") != 1001 || strings.Contains(got, "overloaded") || !strings.HasSuffix(got, "reply 9999 ok {};push 1 phx_close {};") {
			t.Errorf("answered %s", got)
		}
		if b.Held() != 0 {
			t.Errorf("%d bytes are charged for nothing", b.Held())
		}
	})
}
