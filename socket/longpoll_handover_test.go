package socket

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/internal/cluster/clustertest"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// nodes is a cluster: rigs on one network. Clients reach each of them in turn.
type nodes struct {
	*rig // the first, which holds the sessions
	net  *clustertest.Net
	rigs []*rig
	turn atomic.Int64

	buses []*recordingBus // of the rigs
}

// newNodes returns as many nodes as there are names.
func newNodes(t testing.TB, names string, adjust ...func(*Config)) *nodes {
	t.Helper()
	n := &nodes{net: clustertest.NewNet(t, 1)}
	for _, name := range strings.Split(names, "") {
		n.add(t, name, adjust...)
	}
	n.rig = n.rigs[0]
	return n
}

// add adds a node, whose bus ends when the test does.
func (n *nodes) add(t testing.TB, name string, adjust ...func(*Config)) *rig {
	t.Helper()
	bus := &recordingBus{Bus: n.net.Join(name)}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1) // what Run has returned
	var handover *Handover
	r := newRig(t, append(adjust, func(c *Config) {
		handover = NewHandover(bus, c.Metrics)
		c.Handover = handover
	})...)
	handover.Open([]byte("of these nodes"))
	go func() { ended <- bus.Run(ctx) }()
	t.Cleanup(func() {
		_ = r.stop() // before its bus ends
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
	n.rigs, n.buses = append(n.rigs, r), append(n.buses, bus)
	return r
}

// recordingBus keeps what has been asked, and loses answers on demand.
type recordingBus struct {
	cluster.Bus
	lose  atomic.Int64 // so many of the answers that come next
	busy  atomic.Int64 // so many of the requests that come next find a holder that is busy
	asked [][]byte     // written by whoever asks, one at a time in the tests that read it
	keep  bool
}

func (b *recordingBus) Request(ctx context.Context, node, kind string, data []byte) ([]byte, error) {
	if b.keep {
		b.asked = append(b.asked, data)
	}
	if b.busy.Add(-1) >= 0 {
		return nil, fmt.Errorf("node a: %w", cluster.ErrBusy)
	}
	answer, err := b.Bus.Request(ctx, node, kind, data)
	if b.lose.Add(-1) >= 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return answer, err
}

// ServeHTTP is a load balancer's: each request goes to the next node.
func (n *nodes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.rigs[int(n.turn.Add(1))%len(n.rigs)].endpoint.ServeHTTP(w, r)
}

// cluster runs a test with nodes a, b and c in a bubble.
func clustered(t *testing.T, adjust func(*Config), test func(t *testing.T, n *nodes)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		if adjust == nil {
			adjust = func(*Config) {}
		}
		test(t, newNodes(t, "abc", adjust))
	})
}

// at is the same client, whose requests go to another node from now on.
func (p *poller) at(e http.Handler) *poller {
	q := *p
	q.endpoint = e
	return &q
}

func (n *nodes) handed(result handedResult) (count int64) {
	for _, r := range n.rigs {
		count += r.counter(metrics.LongpollHanded, metrics.Tag{Key: "result", Value: string(result)})
	}
	return count
}

// TestHandoverTurns has each request of a client reach the next node.
func TestHandoverTurns(t *testing.T) {
	clustered(t, nil, func(t *testing.T, n *nodes) {
		p := n.poll(phoenix.Version2).at(n)
		p.text(`["1","1","room:a","phx_join",{"after":null}]`)
		if got := p.next(); !strings.Contains(got, `"status":"ok"`) {
			t.Fatal(got)
		}
		for i := range 30 {
			p.text(fmt.Sprintf(`["1","%d","room:a","echo",{"n":%d}]`, i, i))
			n.log("room:a", "created", fmt.Sprintf(`{"n":%d}`, i))
			want := []string{
				fmt.Sprintf(`["1","%d","room:a","phx_reply",{"status":"ok","response":{"n":%d}}]`, i, i),
				fmt.Sprintf(`[null,null,"room:a","created",{"offset":%d,"data":{"n":%d}}]`, i+1, i),
			}
			if got := []string{p.next(), p.next()}; got[0] != want[0] && got[1] != want[0] || got[0] != want[1] && got[1] != want[1] {
				t.Fatalf("got %s", got)
			}
		}
		p.quiet()
		if n.handed(handedAnswered) == 0 || n.handed(handedNothing)+n.handed(handedEnded) > 1 {
			t.Error("nothing was handed over, or ended")
		}
		if n.Sockets() != 1 {
			t.Error("it has a session more")
		}
	})
}

// Sockets are those of all nodes.
func (n *nodes) Sockets() (count int) {
	for _, r := range n.rigs {
		count += r.endpoint.Sockets()
	}
	return count
}

// TestHandoverWaits has what comes wake a poll that waits at another node, at once.
func TestHandoverWaits(t *testing.T) {
	clustered(t, nil, func(t *testing.T, n *nodes) {
		p := n.joinedPoll().at(n.rigs[1].endpoint)
		for _, after := range []time.Duration{0, time.Second, handedWait, handedWait + time.Second, pollTimeout - time.Millisecond} {
			start := time.Now()
			time.AfterFunc(after, func() { n.log("room:a", "created", `{}`) })
			if got := p.get(); len(got.Messages) != 1 || time.Since(start) != after {
				t.Errorf("after %s: %+v, after %s", after, got, time.Since(start))
			}
		}
		p.quiet()
	})
}

// TestHandoverOneByOne has many GETs of a session wait at several nodes: all but the last
// give way at once, and do not come back.
func TestHandoverOneByOne(t *testing.T) {
	clustered(t, nil, func(t *testing.T, n *nodes) {
		p, start := n.joinedPoll().at(n), time.Now()
		var last <-chan pollAnswer
		for range 20 {
			next := p.begin(t.Context())
			if last != nil {
				if got := <-last; got.Status != pollNothing || len(got.Messages) > 0 {
					t.Fatalf("%+v", got)
				}
			}
			last = next
		}
		n.log("room:a", "created", `{}`)
		if got := <-last; got.Status != pollOK || len(got.Messages) != 1 || time.Since(start) != 0 {
			t.Fatalf("%+v after %s", got, time.Since(start))
		}
	})
}

// TestHandoverLeft has a client leave a poll that waits at another node, and then what it
// waited for come: the next one gets it.
func TestHandoverLeft(t *testing.T) {
	clustered(t, nil, func(t *testing.T, n *nodes) {
		p := n.joinedPoll()
		for i := range 3 * len(n.rigs) {
			ctx, leave := context.WithCancel(t.Context())
			first := p.at(n).begin(ctx)
			leave()
			n.log("room:a", "created", `{}`)
			<-first
			if got := p.at(n).next(); !strings.Contains(got, "created") {
				t.Fatalf("%d: %s", i, got)
			}
		}
	})
}

// TestHandoverUnwritten has a client leave at the moment at which its poll has been
// answered, at the holder or at another node: the next one gets it.
func TestHandoverUnwritten(t *testing.T) {
	clustered(t, nil, func(t *testing.T, n *nodes) {
		p := n.joinedPoll()
		session, _ := n.endpoint.find(p.token)
		for i, r := range append(n.rigs, n.rigs...) {
			first := p.at(r.endpoint).begin(leavingAnswered{t.Context(), session})
			n.log("room:a", "created", fmt.Sprintf(`{"n":%d}`, i))
			<-first
			if got := p.at(n).next(); !strings.Contains(got, fmt.Sprintf(`{"n":%d}`, i)) {
				t.Fatalf("%d: %s", i, got)
			}
		}
	})
}

// leavingAnswered is the context of a GET whose client leaves once there is an answer.
type leavingAnswered struct {
	context.Context
	session *longpollSession
}

func (c leavingAnswered) Err() error {
	if c.session.mu.TryLock() { // else the GET is being looked at
		defer c.session.mu.Unlock()
		if c.session.state == pollAnswering {
			return context.Canceled
		}
	}
	return c.Context.Err()
}

// TestHandoverAnswerLost has the bus lose answers: what they held comes with the next
// try, and the session goes on.
func TestHandoverAnswerLost(t *testing.T) {
	for lost := range 4 { // of the answers to a POST, or to a GET and what becomes of it
		t.Run(fmt.Sprint(lost), func(t *testing.T) {
			clustered(t, nil, func(t *testing.T, n *nodes) {
				p, start := n.joinedPoll().at(n.rigs[1].endpoint), time.Now()
				n.buses[1].lose.Store(int64(lost))
				p.text(`["1","2","room:a","publish",{}]`)
				n.buses[1].lose.Store(int64(lost))
				var got []string
				for len(got) < 2 && time.Since(start) < time.Minute {
					answer := p.get()
					if got = append(got, answer.Messages...); answer.Status != pollOK && answer.Status != pollNothing {
						t.Fatalf("%+v", answer)
					}
				}
				want := []string{`["1","2","room:a","phx_reply",{"status":"ok","response":{}}]`, `[null,null,"room:a","created",{}]`}
				if slices.Sort(got); !slices.Equal(got, want) {
					t.Fatalf("got %q", got)
				}
				if lost == 1 && time.Since(start) > 5*handedAnswerTime+handedWait {
					t.Errorf("took %s", time.Since(start))
				}
			})
		})
	}
}

// TestHandoverLate has what was asked come again, late: nobody waits for the answer, and so
// it takes nothing, and does nothing.
func TestHandoverLate(t *testing.T) {
	clustered(t, nil, func(t *testing.T, n *nodes) {
		p := n.joinedPoll().at(n.rigs[1].endpoint)
		bus := n.buses[1]
		bus.keep = true
		for i := range 2 * heldPieces {
			p.text(fmt.Sprintf(`["1","%d","room:a","publish",{}]`, i))
			for range 2 {
				p.next()
			}
		}
		published := n.offset
		for _, message := range bus.asked {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			_, _ = n.endpoint.config.Handover.answer(ctx, cluster.Message{From: bus.Self().ID, Data: message})
			if ctx.Err() != nil {
				t.Errorf("%s waits", message)
			}
			cancel()
		}
		if n.offset != published {
			t.Fatalf("%d events were published again", n.offset-published)
		}
		n.log("room:a", "created", `{"n":1}`)
		if got := p.next(); !strings.Contains(got, `"n":1`) {
			t.Fatal(got)
		}
	})
}

// TestHandoverBroken has an answer not be written whole by another node: the session ends,
// as it may be lost.
func TestHandoverBroken(t *testing.T) {
	clustered(t, nil, func(t *testing.T, n *nodes) {
		p := n.joinedPoll()
		n.log("room:a", "created", `{}`)
		req := httptest.NewRequest(http.MethodGet, "/socket/longpoll?token="+p.token, nil)
		n.rigs[1].endpoint.ServeHTTP(brokenWriter{httptest.NewRecorder()}, req)
		synctest.Wait()
		if n := n.counter(metrics.SocketsClosed, metrics.Reason(string(closedLost))); n != 1 {
			t.Fatal(n)
		}
		if got := p.at(n).request(t.Context(), http.MethodGet, ""); got.Status != pollError {
			t.Fatalf("%+v", got)
		}
	})
}

// TestHandoverLarge has answers and messages cross that are larger than what the bus
// carries at a time.
func TestHandoverLarge(t *testing.T) {
	large := func(c *Config) { c.MaxMessageBytes, c.MailboxBytes, c.InboundBytes = 3<<20, 16<<20, 16<<20 }
	clustered(t, large, func(t *testing.T, n *nodes) {
		p := n.joinedPoll().at(n.rigs[1].endpoint)
		for _, size := range []int{heldPieceBytes - 100, heldPieceBytes, heldPieceBytes + 1, cluster.MaxData, 2 << 20} {
			text := strings.Repeat("x", size)
			n.log("room:a", "created", fmt.Sprintf(`{"x":%q}`, text))
			if got := p.next(); got != fmt.Sprintf(`[null,null,"room:a","created",{"x":%q}]`, text) {
				t.Fatalf("of %d bytes came %.100s", size, got)
			}
			binary := "\x00\x01\x01\x06\x0412room:akind" + text
			for _, kind := range []string{"application/x-ndjson", "text/plain"} {
				p.header.Set("Content-Type", kind)
				if got := p.request(t.Context(), http.MethodPost, base64.StdEncoding.EncodeToString([]byte(binary))); got.Status != pollOK {
					t.Fatalf("%d bytes as %s: %+v", size, kind, got)
				}
				if got := p.next(); got != `["1","2","room:a","phx_reply",{"status":"ok","response":"binary"}]` {
					t.Fatal(got)
				}
			}
		}
		lines := make([]string, 600) // fewer than may wait for a channel
		for i := range lines {
			lines[i] = fmt.Sprintf(`["1","%d","room:a","silent",{"x":%q}]`, i, strings.Repeat("x", 4<<10))
		}
		if got := p.post(lines...); got.Status != pollOK {
			t.Fatalf("%+v", got)
		}
		if held := n.rig.endpoint.config.Handover.bodies.used; held != 0 {
			t.Errorf("%d bytes are held on", held)
		}
	})
}

// TestHandoverRefuses has what a client sends be wrong, to another node: the session ends
// as it would at its own.
func TestHandoverRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		kind   string
		body   string
		reason closeReason
	}{
		"malformed":            {"application/x-ndjson", beat + "\n[1", closedMalformed},
		"neither text nor b64": {"application/x-ndjson", "?", closedMalformed},
		"a line too large":     {"application/x-ndjson", "[" + strings.Repeat(" ", 64<<10) + "]", closedTooLarge},
		"far too large":        {"application/x-ndjson", strings.Repeat("x", 1<<20), closedTooLarge},
		"a body too large":     {"application/x-ndjson", strings.Repeat(beat+"\n", 9<<20/len(beat)), closedTooLarge},
		"too large, alone":     {"text/plain", "[" + strings.Repeat(" ", 1<<20) + "]", closedTooLarge},
		"invalid UTF-8":        {"application/x-ndjson", "[\"\xff\"]", closedUTF8},
	} {
		t.Run(name, func(t *testing.T) {
			clustered(t, func(c *Config) { c.Options.MailboxSize = 1 << 20; c.MailboxBytes = 64 << 20 }, func(t *testing.T, n *nodes) {
				p := n.joinedPoll().at(n.rigs[1].endpoint)
				p.header.Set("Content-Type", c.kind)
				if got := p.request(t.Context(), http.MethodPost, c.body); got.Status != pollGone {
					t.Errorf("%+v", got)
				}
				synctest.Wait()
				if n.counter(metrics.SocketsClosed, metrics.Reason(string(c.reason))) != 1 || n.Sockets() != 0 {
					t.Errorf("not closed for %s; %d left", c.reason, n.Sockets())
				}
				if got := p.post(beat); got.Status != pollGone {
					t.Errorf("%+v", got)
				}
			})
		})
	}
}

// TestHandoverPostBroken has a client go while it posts to another node.
func TestHandoverPostBroken(t *testing.T) {
	clustered(t, nil, func(t *testing.T, n *nodes) {
		p := n.joinedPoll()
		body := io.MultiReader(strings.NewReader(beat+"\n"), brokenReader{})
		req := httptest.NewRequest(http.MethodPost, "/socket/longpoll?token="+p.token, body)
		req.Header.Set("Content-Type", "application/x-ndjson")
		n.rigs[1].endpoint.ServeHTTP(httptest.NewRecorder(), req)
		synctest.Wait()
		if n := n.counter(metrics.SocketsClosed, metrics.Reason(string(closedLost))); n != 1 {
			t.Fatal(n)
		}
	})
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestHandoverTokens asks nobody for tokens that no node has made, and says of those of
// nodes that are gone what stock clients live on with.
func TestHandoverTokens(t *testing.T) {
	clustered(t, nil, func(t *testing.T, n *nodes) {
		p := n.joinedPoll()
		session := n.endpoint.config.Handover.tokens()
		gone := sessionTokens{node: "00000000deadbeef", key: session.key}.issue()
		unknown := sessionTokens{node: n.endpoint.tokens.node, key: session.key}.issue()
		for name, c := range map[string]struct {
			token  string
			get    int
			post   int
			asked  bool
			within time.Duration
		}{
			"forged":           {p.token[:len(p.token)-1] + "x", pollError, pollGone, false, 0},
			"of other nodes":   {newSessionTokens().issue(), pollError, pollGone, false, 0},
			"of version 1":     {"poll.1.YQ.b.c", pollError, pollGone, false, 0},
			"of a node gone":   {gone, pollError, pollGone, false, cluster.NodeTimeout},
			"of a session out": {unknown, pollError, pollGone, true, 0},
		} {
			held := n.counter(metrics.LongpollHeld)
			q := p.at(n.rigs[1].endpoint)
			q.token = c.token
			start := time.Now()
			if got := q.request(t.Context(), http.MethodGet, ""); got.Status != c.get || got.Token != "" || time.Since(start) > c.within {
				t.Errorf("%s: %+v after %s", name, got, time.Since(start))
			}
			start = time.Now()
			if got := q.post(beat); got.Status != c.post || time.Since(start) > c.within {
				t.Errorf("POST %s: %+v after %s", name, got, time.Since(start))
			}
			if asked := n.counter(metrics.LongpollHeld) - held; (asked > 0) != c.asked {
				t.Errorf("%s: the holder was asked %d times", name, asked)
			}
		}
	})
}

// TestHandoverBeforeTheLogIsOpen has requests come to a node that has just started: their
// clients go on.
func TestHandoverBeforeTheLogIsOpen(t *testing.T) {
	clustered(t, nil, func(t *testing.T, n *nodes) {
		p := n.joinedPoll()
		young := newRig(t, func(c *Config) { c.Handover = NewHandover(n.net.Join("d"), c.Metrics) })
		q, start := p.at(young.endpoint), time.Now()
		if got := q.get(); got.Status != pollNothing || got.Token != p.token || time.Since(start) != handedAway {
			t.Fatalf("%+v after %s", got, time.Since(start))
		}
		if got := q.post(beat); got.Status != pollTimedOut {
			t.Fatalf("%+v", got)
		}
		p.text(beat)
		if got := p.next(); got != beaten {
			t.Fatal(got)
		}
	})
}

// TestHandoverUnknownYet has a node be asked before it has heard of the holder.
func TestHandoverUnknownYet(t *testing.T) {
	clustered(t, nil, func(t *testing.T, n *nodes) {
		p := n.joinedPoll()
		n.net.Cut("a", "b")
		n.net.Advance(cluster.NodeTimeout) // neither knows the other
		answered := p.at(n.rigs[1].endpoint).begin(t.Context())
		time.Sleep(time.Second) // of the test's own clock
		n.net.Heal()
		time.Sleep(time.Second) // of the test's own clock
		n.log("room:a", "created", `{}`)
		if got := <-answered; got.Status != pollOK || len(got.Messages) != 1 {
			t.Fatalf("%+v", got)
		}
	})
}

// TestHandoverAway takes the bus away: polls are answered, and nothing is lost.
func TestHandoverAway(t *testing.T) {
	clustered(t, nil, func(t *testing.T, n *nodes) {
		p := n.joinedPoll()
		n.net.Away("b")
		n.log("room:a", "created", `{}`)
		q, start := p.at(n.rigs[1].endpoint), time.Now()
		if got := q.get(); got.Status != pollNothing || got.Token != p.token || time.Since(start) > 2*handedAway {
			t.Fatalf("%+v after %s", got, time.Since(start))
		}
		if got := q.post(beat); got.Status != pollTimedOut {
			t.Fatalf("%+v", got)
		}
		n.net.Heal()
		if got := q.next(); !strings.Contains(got, "created") {
			t.Fatal(got)
		}
		if got := n.handed(handedAwayBus); got != 2 {
			t.Errorf("%d requests found no bus", got)
		}
	})
}

// TestHandoverLosesTheOtherNode has the node that has an answer go before it says what
// became of it: that may be lost, and so the session ends.
func TestHandoverLosesTheOtherNode(t *testing.T) {
	clustered(t, nil, func(t *testing.T, n *nodes) {
		p := n.joinedPoll()
		n.log("room:a", "created", `{}`)
		req := httptest.NewRequest(http.MethodGet, "/socket/longpoll?token="+p.token, nil)
		n.rigs[1].endpoint.ServeHTTP(killingWriter{httptest.NewRecorder(), func() { n.net.Kill("b") }}, req)
		for start := time.Now(); ; {
			got := p.at(n.rigs[2].endpoint).request(t.Context(), http.MethodGet, "")
			if len(got.Messages) > 0 {
				t.Fatalf("what may have come has come again: %+v", got)
			}
			if got.Status == pollError {
				break
			}
			if time.Since(start) > time.Minute {
				t.Fatal("the session lives on")
			}
		}
		synctest.Wait()
		if n := n.counter(metrics.SocketsClosed, metrics.Reason(string(closedLost))); n != 1 {
			t.Fatal(n)
		}
	})
}

type killingWriter struct {
	*httptest.ResponseRecorder
	kill func()
}

func (w killingWriter) Write(p []byte) (int, error) {
	w.kill()
	return w.ResponseRecorder.Write(p)
}

// TestHandoverHolderGoes has the holder drain, or be killed, while a poll waits at another
// node.
func TestHandoverHolderGoes(t *testing.T) {
	t.Run("drain", func(t *testing.T) {
		clustered(t, nil, func(t *testing.T, n *nodes) {
			waiting, idle := n.joinedPoll().at(n.rigs[1].endpoint), n.joinedPoll().at(n.rigs[2].endpoint)
			answered := waiting.begin(t.Context())
			idle.text(beat)
			stopped := make(chan error, 1) // what stop returned
			go func() { stopped <- n.stop() }()
			if got := <-answered; got.Status != pollError {
				t.Errorf("%+v", got)
			}
			if got := idle.get(); len(got.Messages) != 1 {
				t.Errorf("what was queued is lost: %+v", got)
			}
			if err := <-stopped; err != nil {
				t.Error(err)
			}
			if got := idle.request(t.Context(), http.MethodGet, ""); got.Status != pollError {
				t.Errorf("%+v", got)
			}
		})
	})
	t.Run("kill", func(t *testing.T) {
		clustered(t, nil, func(t *testing.T, n *nodes) {
			p := n.joinedPoll().at(n.rigs[1].endpoint)
			answered := p.begin(t.Context())
			n.net.Kill("a")
			n.net.Advance(cluster.NodeTimeout)
			if got := <-answered; got.Status != pollError {
				t.Errorf("%+v", got)
			}
			if got := p.post(beat); got.Status != pollGone {
				t.Errorf("%+v", got)
			}
		})
	})
}

// TestHandoverDrain has another node than the holder drain: polls that wait there go on
// elsewhere, and nothing waits for them.
func TestHandoverDrain(t *testing.T) {
	clustered(t, nil, func(t *testing.T, n *nodes) {
		p, start := n.joinedPoll(), time.Now()
		answered := p.at(n.rigs[1].endpoint).begin(t.Context())
		if err := n.rigs[1].stop(); err != nil {
			t.Fatal(err)
		}
		if got := <-answered; got.Status != pollNothing || got.Token != p.token || time.Since(start) > time.Second {
			t.Fatalf("%+v after %s", got, time.Since(start))
		}
		n.log("room:a", "created", `{}`)
		if got := p.at(n.rigs[2].endpoint).next(); !strings.Contains(got, "created") {
			t.Fatal(got)
		}
	})
}

// TestHandoverPostsOnce has the bus repeat, lose and disorder what POSTs are made of: what
// one brings is handled once, and at most once if it is not said to have been.
func TestHandoverPostsOnce(t *testing.T) {
	for name, faults := range map[string]clustertest.Faults{
		"repeated":  {Repeat: 1},
		"lost":      {Drop: 0.3},
		"disorder":  {Reorder: 0.5, Repeat: 0.5},
		"all of it": {Drop: 0.2, Repeat: 0.3, Reorder: 0.2, Delay: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			clustered(t, nil, func(t *testing.T, n *nodes) {
				p := n.joinedPoll()
				stop := n.advance()
				defer stop()
				n.net.SetFaults(faults)
				sure, perhaps := 0, 0
				for i := range 150 {
					got := p.at(n.rigs[1].endpoint).post(fmt.Sprintf(`["1","%d","room:a","publish",{"n":%d}]`, i, i))
					switch got.Status {
					case pollOK:
						sure++
					case pollTimedOut:
						perhaps++
					default:
						t.Fatalf("%+v", got)
					}
					p.get()
				}
				n.net.SetFaults(clustertest.Faults{})
				time.Sleep(time.Minute) // of the test's own clock: for what is on its way
				if n.offset < int64(sure) || n.offset > int64(sure+perhaps) || sure == 0 {
					t.Errorf("%d events were published by %d POSTs, and perhaps %d", n.offset, sure, perhaps)
				}
			})
		})
	}
}

// advance has the network's clock go with the test's own, until it is stopped.
func (n *nodes) advance() (stop func()) {
	const step = 50 * time.Millisecond
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(step)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				n.net.Advance(step)
			case <-over:
				return
			}
		}
	}()
	return func() { close(over); <-ended }
}

// TestHandoverBounds has more be handed over than a node may hold.
func TestHandoverBounds(t *testing.T) {
	clustered(t, func(c *Config) { c.MaxConnections = 2 }, func(t *testing.T, n *nodes) {
		p, q := n.joinedPoll(), n.joinedPoll()
		b := n.rigs[1].endpoint
		first, second := p.at(b).begin(t.Context()), q.at(b).begin(t.Context())
		if got := p.at(b).get(); got.Status != pollNothing || got.Token == "" {
			t.Errorf("%+v", got)
		}
		if got := p.at(b).post(beat); got.Status != pollTimedOut {
			t.Errorf("%+v", got)
		}
		if got := n.handed(handedBusy); got != 2 {
			t.Errorf("%d requests were too many", got)
		}
		n.log("room:a", "created", `{}`)
		<-first
		<-second

		// GETs that wait, at the holder: what comes is had a little later.
		n.endpoint.config.Handover.gets.Add(heldGets)
		start := time.Now()
		time.AfterFunc(handedAway/2, func() { n.log("room:a", "created", `{}`) })
		if got := p.at(b).get(); len(got.Messages) != 1 || time.Since(start) != handedAway {
			t.Errorf("%+v after %s", got, time.Since(start))
		}
		if start := time.Now(); q.at(b).get().Status != pollOK {
			t.Error("what is there is not given")
		} else if got := q.at(b).get(); got.Status != pollNothing || time.Since(start) < pollTimeout {
			t.Errorf("%+v after %s", got, time.Since(start))
		}
		n.endpoint.config.Handover.gets.Add(-heldGets)

		// What POSTs hold, at the holder.
		bodies := &n.endpoint.config.Handover.bodies
		bodies.reserve(handedBodyBytes)
		if got := q.at(b).post(beat); got.Status != pollTimedOut {
			t.Errorf("%+v", got)
		}
		bodies.release(handedBodyBytes)
		q.at(b).text(beat)
		if bodies.used != 0 {
			t.Errorf("%d bytes are held on", bodies.used)
		}
	})
}

// FuzzHandedRequest has nodes send each other anything.
func FuzzHandedRequest(f *testing.F) {
	r := handedRequest{Version: handedVersion, Verb: handPost, Mount: "/socket", Token: "poll.2.a.b.c", ID: 7, Wait: 100}
	f.Add(r.append(nil, appendHandedMessage(nil, []byte(beat))))
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, message []byte) {
		r, data, err := parseHandedRequest(message)
		if err != nil {
			return
		}
		if again, same, err := parseHandedRequest(r.append(nil, data)); err != nil || again != r || string(same) != string(data) {
			t.Fatalf("%+v, %q, %v", again, same, err)
		}
		for len(data) > 0 {
			message, rest, err := cutHandedMessage(data)
			if err != nil {
				return
			}
			if len(message)+len(rest) >= len(data) {
				t.Fatal("nothing was cut off")
			}
			data = rest
		}
	})
}
