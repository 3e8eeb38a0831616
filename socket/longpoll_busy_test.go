package socket

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/metrics"
)

// TestHandoverToABusyHolder has the holder, or the bus, be busy for a while, and for good:
// that ends no session.
func TestHandoverToABusyHolder(t *testing.T) {
	for name, times := range map[string]int64{"for a while": 3, "for good": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			clustered(t, nil, func(t *testing.T, n *nodes) {
				p := n.joinedPoll().at(n.rigs[1].endpoint)
				bus := n.buses[1]
				lasts := times > 3
				bus.busy.Store(times)
				got := p.post(beat)
				if want := map[bool]int{false: pollOK, true: pollTimedOut}[lasts]; got.Status != want {
					t.Errorf("a POST: %+v, want %d", got, want)
				}
				n.log("room:a", "created", `{}`)
				bus.busy.Store(times)
				got = p.get()
				if lasts && (got.Status != pollNothing || got.Token != p.token) || !lasts && got.Status != pollOK {
					t.Errorf("a GET: %+v", got)
				}
				if lasts && n.handed(handedBusy) < 2 {
					t.Error("nobody is told that it is busy")
				}
				bus.busy.Store(0)
				if lasts {
					if got := p.next(); !strings.Contains(got, "created") {
						t.Error(got)
					}
				}
				if n.Sockets() != 1 {
					t.Error("the session has ended")
				}
			})
		})
	}
}

// TestHandoverOfManyPosts has one session's client send more than is read of it at a time:
// it takes no more room than that.
func TestHandoverOfManyPosts(t *testing.T) {
	clustered(t, nil, func(t *testing.T, n *nodes) {
		p, other := n.joinedPoll(), n.joinedPoll()
		first, _ := n.endpoint.find(p.token)
		second, _ := n.endpoint.find(other.token)
		bodies := &n.endpoint.config.Handover.bodies
		taken, size := 0, handedMessage+heldPieceCost
		for i := range uint64(2 * heldPieces) {
			if piece, mine := first.heldPieceOf(handedID{"b", i + 1}, size); piece != nil && mine {
				taken++
			}
		}
		if taken != maxPosts || bodies.used != maxPosts*size {
			t.Errorf("of one session %d pieces are held, of %d bytes", taken, bodies.used)
		}
		if piece, _ := second.heldPieceOf(handedID{"b", 1}, size); piece == nil {
			t.Error("there is no room for another session")
		}
	})
}

// TestHandoverWithoutRoom has others hold so much that the pieces of a large message find no
// room, for a while and for good: it is asked again, and its session goes on.
func TestHandoverWithoutRoom(t *testing.T) {
	large := func(c *Config) { c.MaxMessageBytes, c.MailboxBytes, c.InboundBytes = 3<<20, 16<<20, 16<<20 }
	message := "\x00\x01\x01\x06\x0412room:akind" + strings.Repeat("x", 2<<20)
	for _, free := range []int{0, handedMessage, handedMessage + heldPieceCost, 2*handedMessage + heldPieceCost - 1, 3*handedMessage + heldPieceCost - 1} {
		for _, longest := range []time.Duration{time.Second, time.Hour} {
			if longest > time.Minute && free%handedMessage == heldPieceCost {
				continue // a second of it shows how that ends, and it is asked for long
			}
			t.Run(fmt.Sprint(free, " free for ", longest), func(t *testing.T) {
				clustered(t, large, func(t *testing.T, n *nodes) {
					p := n.joinedPoll().at(n.rigs[1].endpoint)
					bodies := &n.endpoint.config.Handover.bodies
					others := bodies.limit - free
					if !bodies.reserve(others) {
						t.Fatal("there is no room to begin with")
					}
					if longest < time.Minute {
						time.AfterFunc(longest, func() { bodies.release(others) })
					}
					p.header.Set("Content-Type", "text/plain")
					got := p.request(t.Context(), http.MethodPost, base64.StdEncoding.EncodeToString([]byte(message)))
					synctest.Wait()
					if n.Sockets() != 1 {
						t.Fatalf("for what others hold, the session has ended: %+v", got)
					}
					if longest > time.Minute {
						if got.Status != pollTimedOut {
							t.Errorf("%+v", got)
						}
						return
					}
					if got.Status != pollOK {
						t.Fatalf("%+v", got)
					}
					if got := p.next(); !strings.Contains(got, "binary") {
						t.Error(got)
					}
					if bodies.used != 0 {
						t.Errorf("%d bytes are held on", bodies.used)
					}
				})
			})
		}
	}
}

// TestHandoverEndsInTime has the bus lose all answers, from some time in a poll on: it ends
// before its client takes it for lost.
func TestHandoverEndsInTime(t *testing.T) {
	for _, from := range []time.Duration{0, time.Second, handedWait - time.Millisecond, handedWait, handedWait + time.Millisecond, pollTimeout - time.Millisecond} {
		t.Run(from.String(), func(t *testing.T) {
			clustered(t, nil, func(t *testing.T, n *nodes) {
				p, start := n.joinedPoll().at(n.rigs[1].endpoint), time.Now()
				lose := func() { n.buses[1].lose.Store(1 << 20) }
				if from == 0 {
					lose()
				} else {
					time.AfterFunc(from, lose)
				}
				const clients = 20 * time.Second // the stock ones wait
				got := p.get()
				if took := time.Since(start); took >= clients-2*time.Second || got.Status != pollNothing || got.Token != p.token {
					t.Errorf("%+v after %s", got, took)
				}
			})
		})
	}
}

// TestNothingIsSentOnceAccessHasEnded has a session's access be revoked while it keeps what a
// poll took: its client gets none of it.
func TestNothingIsSentOnceAccessHasEnded(t *testing.T) {
	revoke := func(s *longpollSession) { s.shut(expired, outbound.DropClosed) }
	for name, test := range map[string]struct {
		drains bool // it is being closed already
		first  func(t *testing.T, n *nodes, p *poller, s *longpollSession)
	}{
		"kept": {first: func(t *testing.T, n *nodes, p *poller, s *longpollSession) {
			<-p.begin(leavingAnswered{t.Context(), s})
			revoke(s)
		}},
		"kept, of another node": {first: func(t *testing.T, n *nodes, p *poller, s *longpollSession) {
			<-p.at(n.rigs[1].endpoint).begin(leavingAnswered{t.Context(), s})
			synctest.Wait()
			revoke(s)
		}},
		"kept, and being closed": {drains: true, first: func(t *testing.T, n *nodes, p *poller, s *longpollSession) {
			<-p.begin(leavingAnswered{t.Context(), s})
			s.shut(draining, "")
			revoke(s)
		}},
		"given back": {first: func(t *testing.T, n *nodes, p *poller, s *longpollSession) {
			<-p.begin(revokedAnswered{t.Context(), s, revoke})
		}},
		"given back by another node": {first: func(t *testing.T, n *nodes, p *poller, s *longpollSession) {
			<-p.at(n.rigs[1].endpoint).begin(revokedAnswered{t.Context(), s, revoke})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			clustered(t, nil, func(t *testing.T, n *nodes) {
				p := n.joinedPoll()
				session, _ := n.endpoint.find(p.token)
				n.log("room:a", "created", `{"secret":1}`)
				test.first(t, n, p, session)
				if session.kept {
					t.Error("it is kept for the next poll")
				}
				for _, r := range n.rigs {
					got := p.at(r.endpoint).request(t.Context(), http.MethodGet, "")
					if len(got.Messages) > 0 || got.Status == pollOK {
						t.Errorf("the next poll is answered %+v", got)
					}
				}
				synctest.Wait()
				closed := closedExpired
				if test.drains {
					closed = closedDrain
				}
				if n.Sockets() != 0 || n.counter(metrics.SocketsClosed, metrics.Reason(string(closed))) != 1 {
					t.Errorf("%d sockets, not closed for %s", n.Sockets(), closed)
				}
			})
		})
	}
}

// revokedAnswered is the context of a GET whose client leaves, and whose session's access
// ends, once there is an answer.
type revokedAnswered struct {
	context.Context
	session *longpollSession
	revoke  func(*longpollSession)
}

func (c revokedAnswered) Err() error {
	if !c.session.mu.TryLock() { // the GET is being looked at
		return c.Context.Err()
	}
	answering := c.session.state == pollAnswering
	c.session.mu.Unlock()
	if answering {
		c.revoke(c.session)
		return context.Canceled
	}
	return c.Context.Err()
}

// TestHandoverStopsOnceAccessHasEnded has access be revoked while another node fetches the
// rest of an answer: it gets no more.
func TestHandoverStopsOnceAccessHasEnded(t *testing.T) {
	large := func(c *Config) { c.MailboxBytes = 16 << 20 }
	clustered(t, large, func(t *testing.T, n *nodes) {
		p := n.joinedPoll()
		session, _ := n.endpoint.find(p.token)
		n.log("room:a", "created", fmt.Sprintf(`{"x":%q}`, strings.Repeat("x", 2*heldPieceBytes)))
		id := handedID{n.buses[1].Self().ID, 1 << 40}
		if got, data := session.heldGet(t.Context(), id, handedRequest{}); got.Status != pollOK || len(data) == 0 {
			t.Fatalf("%+v, %d bytes", got, len(data))
		}
		session.shut(expired, outbound.DropClosed)
		if got, data := session.piece(id, heldPieceBytes); got.Status != pollGone || len(data) > 0 {
			t.Errorf("%+v, and %d bytes more", got, len(data))
		}
		if got, data := session.heldGet(t.Context(), id, handedRequest{}); got.Status != pollGone || len(data) > 0 {
			t.Errorf("asked again: %+v, and %d bytes", got, len(data))
		}
	})
}
