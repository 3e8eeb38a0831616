package channels

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/sluicehq/sluice/channels/outbound"
)

// reviewed is a Channel whose client is judged again.
type reviewed struct {
	script
	verdict func() error
}

func (r *reviewed) Review(string, *Socket) error { return r.verdict() }

// TestReview judges a client again at every moment of a channel's life.
func TestReview(t *testing.T) {
	yes := func() error { return nil }
	no := func() error { return Reject("no longer") }
	const withdrawn = `push 1 phx_error {"reason":"unauthorized"};`
	for name, test := range map[string]struct {
		verdict func() error
		hold    string // what the channel is doing meanwhile: its join, a handler, or nothing
		sent    string
		over    bool
	}{
		"allowed":                 {yes, "", "reply 1 ok {};0:e 0 {};", false},
		"allowed while joining":   {yes, "join", "reply 1 ok {};0:e 0 {};", false},
		"withdrawn":               {no, "", "reply 1 ok {};" + withdrawn, true},
		"withdrawn while joining": {no, "join", "reply 1 ok {};" + withdrawn, true},
		"withdrawn while busy":    {no, "in", "reply 1 ok {};" + withdrawn, true},
		"withdrawn by a panic":    {func() error { panic("x") }, "", "reply 1 ok {};" + withdrawn, true},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, s *stage) {
				held := make(chan struct{})
				var reason error
				c := &reviewed{verdict: test.verdict}
				c.join = func(*Context) (any, error) {
					if test.hold == "join" {
						<-held
					}
					return nil, nil
				}
				c.in = func(*Context, string) Result { <-held; return NoReply() }
				c.terminate = func(err error) { reason = err }
				a := s.join("t", c, nil)
				synctest.Wait()
				if test.hold == "in" {
					a.Receive(Inbound{Event: "x"})
					synctest.Wait()
				}
				a.Review()
				if test.hold == "join" {
					close(held)
				}
				synctest.Wait()
				s.hub.Route(segment(t, "t", outbound.Formats(0)))
				synctest.Wait()
				if got := s.sent(); got != test.sent {
					t.Fatalf("got %s, want %s", got, test.sent)
				}
				if test.hold == "in" {
					close(held)
				}
				a.End(ErrDisconnected)
				synctest.Wait()
				if errors.Is(reason, ErrWithdrawn) != test.over {
					t.Fatal(reason)
				}
			})
		})
	}
}
