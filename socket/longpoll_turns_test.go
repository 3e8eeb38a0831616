package socket

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// Whoever of several things at once comes first is up to chance: what must hold
// is tried this often.
const tries = 50

// joinedPoll is a session that has joined room:a and polled what that brings.
func (r *rig) joinedPoll() *poller {
	r.t.Helper()
	p := r.poll(phoenix.Version2)
	p.text(`["1","1","room:a","phx_join",{}]`)
	if got := p.next(); !strings.Contains(got, `"status":"ok"`) {
		r.t.Fatal(got)
	}
	return p
}

// begin begins a GET.
func (p *poller) begin(ctx context.Context) <-chan pollAnswer {
	answered := make(chan pollAnswer, 1)
	q := *p
	go func() { answered <- q.request(ctx, http.MethodGet, "") }()
	synctest.Wait()
	return answered
}

func named(c *Config) {
	c.Connect = func(context.Context, *ConnectRequest) (*channels.Socket, error) {
		return &channels.Socket{ID: "user"}, nil
	}
}

// leaving is the context of a request whose client leaves: what waits for that
// has not heard of it yet.
type leaving struct {
	context.Context
	left atomic.Bool
}

func (c *leaving) Done() <-chan struct{} { return nil }

func (c *leaving) Err() error {
	if c.left.Load() {
		return context.Canceled
	}
	return nil
}

// TestPollThatHasLeftTakesNothing has a client leave, and then what it waited for
// come.
func TestPollThatHasLeftTakesNothing(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		p := r.joinedPoll()
		for range tries {
			ctx := &leaving{Context: t.Context()}
			first := p.begin(ctx)
			ctx.left.Store(true)
			r.log("room:a", "created", `{}`)
			if got := <-first; got.Status != pollNothing {
				t.Fatalf("%+v", got)
			}
			if got := p.next(); !strings.Contains(got, "created") {
				t.Fatal("what came when the client had left is lost: ", got)
			}
		}
	})
}

// TestPollsWaitOneByOne has many GETs of one session wait: all but the last give
// way at once, also while one is being answered.
func TestPollsWaitOneByOne(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		listener := r.serveInMemory()
		p := r.joinedPoll()
		start := time.Now()
		many := func() (last <-chan pollAnswer) {
			for range 20 {
				next := p.begin(t.Context())
				if last != nil {
					if got := <-last; got.Status != pollNothing || len(got.Messages) > 0 {
						t.Errorf("%+v", got)
					}
				}
				last = next
			}
			return last
		}
		waiting := many()
		r.log("room:a", "created", `{"n":1}`)
		if got := <-waiting; got.Status != pollOK || len(got.Messages) != 1 {
			t.Fatalf("%+v", got)
		}
		if time.Since(start) != 0 {
			t.Fatalf("took %s", time.Since(start))
		}

		slow := &wildPoller{t: t, listener: listener, token: p.token}
		done := make(chan struct{})
		r.log("room:a", "created", `{"n":2}`)
		go func() {
			defer close(done)
			if got, whole := slow.ask(http.MethodGet, "", "", reading{pause: 200 * time.Millisecond, bytes: 20}); !whole || len(got.Messages) != 1 {
				t.Errorf("%+v", got)
			}
		}()
		synctest.Wait()
		waiting = many()
		r.log("room:a", "created", `{"n":3}`)
		if got := <-waiting; got.Status != pollOK || len(got.Messages) != 1 || !strings.Contains(got.Messages[0], `"n":3`) {
			t.Fatalf("%+v", got)
		}
		<-done
	})
}

// TestGraceSparesThePollThatIsAnswered has a poll give way to one whose answer is
// read slowly: longer than the grace since.
func TestGraceSparesThePollThatIsAnswered(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		listener := r.serveInMemory()
		p := r.joinedPoll()
		first := p.begin(t.Context())
		time.Sleep(time.Second) // of the test's own clock
		time.AfterFunc(pollTimeout-time.Second, func() { r.log("room:a", "created", `{}`) })
		slow := &wildPoller{t: t, listener: listener, token: p.token}
		start := time.Now()
		got, whole := slow.ask(http.MethodGet, "", "", reading{pause: 600 * time.Millisecond, bytes: 20})
		if !whole || len(got.Messages) != 1 || time.Since(start) < pollGrace {
			t.Fatalf("%v, %+v, after %s", whole, got, time.Since(start))
		}
		if got := <-first; got.Status != pollNothing {
			t.Fatalf("%+v", got)
		}
		p.text(beat)
		if got := p.next(); got != beaten {
			t.Fatal("the session has ended: ", got)
		}
	})
}

// TestPollIsShutWhenItTimesOut has a session be shut, and something come for it,
// in the very moment in which its poll has waited long enough.
func TestPollIsShutWhenItTimesOut(t *testing.T) {
	bubble(t, named, func(t *testing.T, r *rig) {
		for range tries {
			p := r.joinedPoll()
			for _, do := range []func(){
				func() { r.log("room:a", "created", `{}`) },
				func() { r.endpoint.Disconnect("user") },
			} {
				time.AfterFunc(pollTimeout, do)
			}
			var events int
			for {
				got := p.request(t.Context(), http.MethodGet, "")
				events += strings.Count(strings.Join(got.Messages, ""), "created")
				if got.Status == pollError {
					break
				}
			}
			synctest.Wait()
			if r.endpoint.Sockets() > 0 {
				t.Fatal("the session has not ended")
			}
			// Nothing was queued if it was shut before the event came.
			if n := r.counter(metrics.MessagesDropped, metrics.Reason(string(outbound.DropClosed))); n > 0 {
				t.Fatalf("%d messages thrown away, %d events came", n, events)
			}
		}
	})
}

// TestPollShut has a client go on with a session that is being closed, in every
// way: it gets what is queued, and soon enough the end.
func TestPollShut(t *testing.T) {
	queued := func(r *rig, size int) {
		for i := range 8 {
			r.log("room:a", "created", fmt.Sprintf(`{"n":%d,"x":%q}`, i, strings.Repeat("x", size)))
		}
	}
	const large = 100 << 10 // so that they take several answers
	for name, c := range map[string]struct {
		size    int
		do      func(r *rig, p *poller) (events int)
		want    int
		longest time.Duration
	}{
		"it polls on": {large, func(r *rig, p *poller) (events int) {
			for {
				got := p.get()
				if events += len(got.Messages); got.Status == pollError {
					return events
				}
			}
		}, 8, 0},
		"it polls once more": {large, func(r *rig, p *poller) int { return len(p.get().Messages) }, 3, pollCloseGrace},
		"it polls now and then": {large, func(r *rig, p *poller) (events int) {
			for {
				time.Sleep(pollCloseGrace - time.Millisecond) // of the test's own clock
				got := p.get()
				if events += len(got.Messages); got.Status == pollError {
					return events
				}
			}
		}, 6, closeTimeout + pollCloseGrace},
		"it does not poll": {10, func(r *rig, p *poller) int { return 0 }, 0, pollCloseGrace},
		"it posts, then polls": {10, func(r *rig, p *poller) int {
			posted := make(chan pollAnswer, 1)
			q := *p
			q.header = make(http.Header)
			go func() { posted <- q.post(beat, beat) }()
			synctest.Wait()
			events := len(p.get().Messages)
			if got := <-posted; got.Status != pollGone {
				r.t.Errorf("POST: %+v", got)
			}
			return events
		}, 8, 0},
		"it posts what is malformed, then polls": {10, func(r *rig, p *poller) int {
			q := *p
			q.header = make(http.Header)
			posted := make(chan pollAnswer, 1)
			go func() { posted <- q.post("?") }()
			synctest.Wait()
			events := len(p.get().Messages)
			<-posted
			return events
		}, 8, 0},
		"it posts and does not poll": {10, func(r *rig, p *poller) int {
			if got := p.post(beat); got.Status != pollGone {
				r.t.Errorf("POST: %+v", got)
			}
			return 0
		}, 0, pollCloseGrace},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, named, func(t *testing.T, r *rig) {
				p := r.joinedPoll()
				queued(r, c.size)
				start := time.Now()
				if r.endpoint.Disconnect("user") != 1 {
					t.Fatal("not disconnected")
				}
				if events := c.do(r, p); events != c.want {
					t.Errorf("%d events came, want %d", events, c.want)
				}
				time.Sleep(time.Until(start.Add(c.longest))) // of the test's own clock
				synctest.Wait()
				if n := r.endpoint.Sockets(); n != 0 {
					t.Errorf("the session lives on after %s", time.Since(start))
				}
				if n := r.counter(metrics.SocketsClosed, metrics.Reason(string(closedByID))); n != 1 {
					t.Error("closed for another reason")
				}
				if got := p.request(t.Context(), http.MethodGet, ""); got.Status != pollError {
					t.Errorf("%+v", got)
				}
			})
		})
	}
}
