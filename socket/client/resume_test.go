package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gobwas/ws"
)

func numbers(from, to int) string {
	var all []string
	for n := from; n <= to; n++ {
		all = append(all, fmt.Sprint(n))
	}
	return strings.Join(all, " ")
}

// However far into whichever frame the connection breaks, each event comes once.
func TestResumesWhereverItIsCut(t *testing.T) {
	t.Parallel()
	const last = 4
	for cut := 20; cut < 400; cut += 7 {
		synctest.Test(t, func(t *testing.T) {
			room := 0
			c := dial(t, Connect(func(context.Context) (net.Conn, *bufio.Reader, error) {
				room += cut
				conn := &cutAfter{left: room}
				return meet(t, func(p peer) {
					conn.Conn, p.conn = p.conn, conn
					p.standInLog(last)
				}), nil, nil
			}))
			ch, err := c.Join(t.Context(), "demo", From("", 0))
			for err != nil && room < 1000 { // a first join fails with its connection
				ch, err = c.Join(t.Context(), "demo", From("", 0))
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := offsets(t, ch, last); got != numbers(1, last) {
				t.Errorf("cut after %d bytes: %s", cut, got)
			}
			c.Close()
		})
	}
}

// The connection breaks after each frame, so that all of a log comes by one event each.
func TestResumesAfterEachFrame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		next := 1
		c := dial(t, always(t, func(p peer) {
			want := fmt.Sprintf(`["1","1","demo","phx_join",{"after":%d,"epoch":"e"}]`, next-1)
			if got := p.receive(); got != want {
				t.Errorf("the client sent %s, want %s", got, want)
			}
			p.send(`["1","1","demo","phx_reply",{"status":"ok","response":{"offset":100,"epoch":"e","resumed":true}}]`)
			p.event("demo", next)
			next++
		}))
		ch, err := c.Join(t.Context(), "demo", From("e", 0))
		if err != nil {
			t.Fatal(err)
		}
		if got := offsets(t, ch, 20); got != numbers(1, 20) {
			t.Error(got)
		}
		c.Close()
	})
}

// What a server says twice comes once, and what comes bare has no position.
func TestRepeatedEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var skipped []int64
		c := dial(t, scripted(t, func(p peer) {
			p.join(`{"offset":7,"epoch":"e","resumed":true}`)
			for _, offset := range []int{5, 8, 8, 9, 7} {
				p.event("demo", offset)
			}
			p.send(`[null,null,"demo","forged",{"data":{"offset":99,"data":{}}}]`)
			p.event("demo", 10)
			p.send(`["1",null,"demo","sluice_position",{"offset":10}]`)
			p.send(`["1",null,"demo","sluice_position",{"offset":"99"}]`)
			p.send(`[null,null,"demo","sluice_position",{"data":{"offset":99}}]`)
			p.send(`["1",null,"demo","sluice_position",{"offset":20}]`)
			p.event("demo", 15)
			p.event("demo", 21)
			p.linger()
		}), Notify(func(n Notice) {
			if s, ok := n.(Skipped); ok && s.Reason == Repeated {
				skipped = append(skipped, s.Offset)
			}
		}))
		ch, err := c.Join(t.Context(), "demo")
		if err != nil {
			t.Fatal(err)
		}
		if got := offsets(t, ch, 8); got != "8 9 0 10 0 0 20 21" {
			t.Error(got)
		}
		c.Close()
		if got := fmt.Sprint(skipped); got != "[5 8 7 15]" {
			t.Errorf("skipped %s", got)
		}
	})
}

// A log that is new, or trimmed, is told between events; the loop goes on.
func TestReset(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"new epoch": `{"offset":3,"epoch":"f","resumed":false}`,
		"trimmed":   `{"offset":50,"epoch":"e","resumed":false}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			next := 4
			if name == "trimmed" {
				next = 51
			}
			var joins []string
			c := dial(t, scripted(t,
				func(p peer) { p.join(`{"offset":7,"epoch":"e","resumed":true}`); p.event("demo", 8) },
				func(p peer) { joins = append(joins, string(p.join(answer).payload)) },
				func(p peer) { // twice between two events is one
					joins = append(joins, string(p.join(answer).payload))
					p.event("demo", next)
					p.linger()
				},
			))
			ch, err := c.Join(t.Context(), "demo")
			if err != nil {
				t.Fatal(err)
			}
			if got := offsets(t, ch, 1); got != "8" {
				t.Error(name, got)
			}
			synctest.Wait()
			var reset *ResetError
			for e, err := range ch.Events(t.Context()) {
				switch {
				case reset == nil:
					if !errors.As(err, &reset) || reset.From != (Position{"e", 8}) {
						t.Fatalf("%s: %v, %+v", name, err, reset)
					}
					continue
				case errors.As(err, &reset): // the second, if the first was taken meanwhile
					continue
				}
				if err != nil || e.Offset != int64(next) || e.Position() != (Position{reset.To.Epoch, int64(next)}) {
					t.Errorf("%s: %+v, %v", name, e, err)
				}
				break
			}
			c.Close()
			if len(joins) != 2 || joins[0] != `{"after":8,"epoch":"e"}` {
				t.Errorf("%s: joined with %q", name, joins)
			}
		})
	}
}

// A join that is refused for good ends; one that is not decided is tried again.
func TestRefusedJoins(t *testing.T) {
	t.Parallel()
	for reason, again := range map[string]bool{"unauthorized": false, "unmatched topic": false, "too many channels joined": false, "unavailable": true} {
		synctest.Test(t, func(t *testing.T) {
			var told []string
			c := dial(t, scripted(t, func(p peer) {
				m, _ := p.next()
				p.reply(m, "error", `{"reason":"`+reason+`"}`)
				if m, ok := p.next(); ok && m.event == "phx_join" {
					p.reply(m, "ok", `{"offset":7,"epoch":"e","resumed":true}`)
				}
				p.linger()
			}), Notify(func(n Notice) { told = append(told, fmt.Sprintf("%T", n)) }))
			_, err := c.Join(t.Context(), "demo")
			c.Close()
			var refused *JoinError
			switch {
			case again && (err != nil || strings.Join(told, " ") != "client.Retrying client.Joined"):
				t.Errorf("%s: %v, told %q", reason, err, told)
			case !again && (!errors.As(err, &refused) || refused.Reason != reason || len(told) > 0):
				t.Errorf("%s: %v, told %q", reason, err, told)
			}
		})
	}
}

// Channels of one connection fail each for itself.
func TestChannelsFailAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, scripted(t, func(p peer) {
			p.join(`{"offset":0,"epoch":"e","resumed":true}`)
			p.join(`{"offset":0,"epoch":"e","resumed":true}`)
			p.join(`{"offset":0,"epoch":"e","resumed":true}`)
			p.send(`["1","1","a","phx_error",{"reason":"trimmed"}]`)
			p.send(`["9","9","b","phx_close",{}]`) // of no join of this connection
			p.send(`["3","3","c","phx_close",{}]`)
			if m := p.join(`{"offset":0,"epoch":"e","resumed":true}`); m.topic != "a" || string(m.payload) != `{"after":0,"epoch":"e"}` {
				t.Errorf("joined %+v", m)
			}
			p.event("a", 1)
			p.event("b", 2)
			p.linger()
		}))
		var channels []*Channel
		for _, topic := range []string{"a", "b", "c"} {
			ch, err := c.Join(t.Context(), topic)
			if err != nil {
				t.Fatal(err)
			}
			channels = append(channels, ch)
		}
		for i, want := range []string{"1", "2", ErrChannelClosed.Error()} {
			if got := offsets(t, channels[i], 1); got != want {
				t.Errorf("%d: %s", i, got)
			}
		}
		c.Close()
	})
}

// What ends a client ends all that waits for it.
func TestEnds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		end  func(*Client, peer)
		want string
	}{
		{"closed", func(c *Client, _ peer) { go c.Close() }, ErrClosed.Error()},
		{"sent away", func(_ *Client, p peer) {
			ws.WriteFrame(p.conn, ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, "bye")))
		}, "the server closed the connection (1000, bye)"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var c *Client
			end := make(chan struct{})
			c = dial(t, scripted(t, func(p peer) {
				p.join(`{"offset":0,"epoch":"e","resumed":true}`)
				go func() { <-end; test.end(c, p) }()
				p.linger()
			}))
			ch, err := c.Join(t.Context(), "demo")
			if err != nil {
				t.Fatal(err)
			}
			results := make(chan error, 3)
			go func() { _, err := c.Join(t.Context(), "other"); results <- err }()
			go func() { _, err := ch.Push(t.Context(), "e", nil); results <- err }()
			go func() {
				for _, err := range ch.Events(t.Context()) {
					results <- err
				}
			}()
			synctest.Wait()
			close(end)
			for range 3 {
				if err := <-results; err == nil || err.Error() != test.want && !errors.Is(err, ErrUnanswered) {
					t.Errorf("%s: %v", test.name, err)
				}
			}
			if _, err := ch.Push(t.Context(), "e", nil); err == nil || err.Error() != test.want {
				t.Errorf("%s: afterwards %v", test.name, err)
			}
			c.Close()
		})
	}
}
