package chaos

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// forgedEvent is what hostile clients call what they push.
const forgedEvent = "forged"

// hostile is a client that means ill. What it does goes to others only where a
// rule lets it; and nothing of that may be taken for an event of the log.
type hostile struct {
	kind   string
	attack func(*attack) error

	done atomic.Int64 // what it is about: messages, requests
}

// attack is one connection's worth of it.
type attack struct {
	ctx     context.Context
	address string
	topics  []string
	random  *rand.Rand
	done    *atomic.Int64
}

// Bounds of one attack.
const (
	attackLasts  = 4 * time.Second
	attackPause  = 200 * time.Millisecond
	largestPush  = 60 << 10 // below what a node takes
	hostileHead  = 900 << 10
	hostileBurst = 200
)

// hostiles are one of each kind.
func hostiles() []*hostile {
	return []*hostile{
		{kind: "forged positions", attack: forge},
		{kind: "reserved events", attack: pretend},
		{kind: "flood of small messages", attack: flood},
		{kind: "large messages into all channels", attack: stuff},
		{kind: "joins again with large params", attack: rejoin},
		{kind: "bodies that never end", attack: dawdle},
		{kind: "answers that are never read", attack: ignore},
		{kind: "flood of pings", attack: ping},
		{kind: "heads full of &", attack: ampersands},
	}
}

// startHostiles has one of each kind attack until enough is written.
func (r *run) startHostiles() {
	r.hostiles = slices.DeleteFunc(hostiles(), func(h *hostile) bool { return slices.Contains(r.Spared, h.kind) })
	for i, h := range r.hostiles {
		random := rand.New(rand.NewPCG(r.Seed, 3000+uint64(i)))
		r.attacking.Go(func() {
			for !over(r.ctx, r.enough) {
				ctx, cancel := context.WithTimeout(r.ctx, attackLasts)
				_ = h.attack(&attack{ctx, r.nodes[random.IntN(len(r.nodes))].Public, r.topics[:r.Topics], random, &h.done}) // refused, or cut: either is well
				cancel()
				pause(r.ctx, r.enough, attackPause)
			}
		})
	}
}

// dial connects bare, until the attack ends.
func (a *attack) dial() (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(a.ctx, "tcp", a.address)
	if err != nil {
		return nil, err
	}
	deadline, _ := a.ctx.Deadline()
	return conn, conn.SetDeadline(deadline)
}

// socket connects, and joins topics without after. Nobody reads unless the
// caller does.
func (a *attack) socket(topics []string) (net.Conn, error) {
	conn, _, _, err := ws.Dialer{}.Dial(a.ctx, "ws://"+a.address+"/socket/websocket?vsn=2.0.0")
	if err != nil {
		return nil, err
	}
	deadline, _ := a.ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	for _, topic := range topics {
		if err := say(conn, topic, "phx_join", `{}`); err != nil {
			_ = conn.Close() // of no use
			return nil, err
		}
	}
	return conn, nil
}

func say(conn net.Conn, topic, event, payload string) error {
	text := fmt.Appendf(nil, `["%s","1","%s","%s",%s]`, topic, topic, event, payload)
	return ws.WriteFrame(conn, ws.MaskFrameInPlace(ws.NewTextFrame(text)))
}

// pushes sends what next makes, and reads what comes, until the attack ends.
func (a *attack) pushes(topics []string, burst int, next func(i int) (topic, event, payload string)) error {
	if len(topics) == 0 {
		<-a.ctx.Done()
		return nil
	}
	conn, err := a.socket(topics)
	if err != nil {
		return err
	}
	defer conn.Close()
	go func() { _, _ = io.Copy(io.Discard, conn) }() // ends with the connection
	for i := 0; a.ctx.Err() == nil; i++ {
		topic, event, payload := next(i)
		if err := say(conn, topic, event, payload); err != nil {
			return err
		}
		a.done.Add(1)
		if i%burst == burst-1 {
			pause(a.ctx, nil, attackPause)
		}
	}
	return nil
}

// forge pushes what looks like an event of the log, or says where others are.
func forge(a *attack) error {
	topics := append(ofKind(a.topics, openTopic), ofKind(a.topics, loggedTopic)...)
	payloads := []string{
		`{"forged":1,"offset":9007199254740991,"data":{}}`,
		`{"forged":1,"offset":1,"data":{"w":0,"n":1}}`,
		`{"forged":1,"offset":"12","data":{"w":0,"n":900000},"epoch":""}`,
		`{"forged":1,"\u006fffset":77,"data":null}`,
	}
	return a.pushes(topics, 5, func(i int) (string, string, string) {
		return topics[a.random.IntN(len(topics))], swarm.EventName, payloads[i%len(payloads)]
	})
}

// pretend pushes events that are the server's own, and payloads that are none.
func pretend(a *attack) error {
	topics := append(ofKind(a.topics, openTopic), ofKind(a.topics, loggedTopic)...)
	events := []string{"chan_reply_1", "phx_reply", "phx_close", "phx_error", "sluice_position", "presence_state", "presence_diff", "access_token", "", `a\u0000b`}
	payloads := []string{`{"offset":9007199254740991,"status":"ok","response":{}}`, `null`, `[1]`, `"s"`, `5`}
	return a.pushes(topics, 5, func(i int) (string, string, string) {
		event, payload := events[i%len(events)], payloads[0]
		if i%3 == 2 {
			event, payload = forgedEvent, payloads[1+i%4]
		}
		return topics[a.random.IntN(len(topics))], event, payload
	})
}

// flood pushes as much as fits.
func flood(a *attack) error {
	return a.pushes(a.topics, hostileBurst, func(int) (string, string, string) {
		return a.topics[a.random.IntN(len(a.topics))], forgedEvent, `{"forged":1}`
	})
}

// stuff pushes messages as large as they may be into all channels.
func stuff(a *attack) error {
	payload := `{"forged":1,"pad":"` + strings.Repeat("x", largestPush) + `"}`
	quiet := ofKind(a.topics, plainTopic) // where nobody may push
	return a.pushes(a.topics, 2*len(a.topics), func(i int) (string, string, string) {
		if i%len(a.topics) > 0 && len(quiet) > 0 {
			return quiet[i%len(quiet)], forgedEvent, payload
		}
		return a.topics[a.random.IntN(len(a.topics))], forgedEvent, payload
	})
}

// rejoin joins one topic again and again.
func rejoin(a *attack) error {
	params := `{"pad":"` + strings.Repeat("x", largestPush) + `"}`
	return a.pushes(a.topics[:1], hostileBurst/2, func(int) (string, string, string) { return a.topics[0], "phx_join", params })
}

// dawdle announces bodies that never come.
func dawdle(a *attack) error {
	for _, path := range []string{"/socket/longpoll?vsn=2.0.0", "/socket/websocket", "/healthz", "/nowhere"} {
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-ndjson\r\nContent-Length: 60000\r\n\r\n[", path, a.address); err != nil {
			return err
		}
		a.done.Add(1)
	}
	<-a.ctx.Done()
	return nil
}

// ignore joins everything and reads nothing of it, nor of long-polls.
func ignore(a *attack) error {
	conn, err := a.socket(a.topics)
	if err != nil {
		return err
	}
	defer conn.Close()
	a.done.Add(1)
	for range 10 {
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := fmt.Fprintf(conn, "GET /socket/longpoll?vsn=2.0.0 HTTP/1.1\r\nHost: %s\r\n\r\n", a.address); err != nil {
			return err
		}
		a.done.Add(1)
	}
	<-a.ctx.Done()
	return nil
}

// ping has a node answer pings that nobody reads the answers of.
func ping(a *attack) error {
	conn, err := a.socket(nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	body := make([]byte, ws.MaxControlFramePayloadSize)
	for i := 0; a.ctx.Err() == nil; i++ {
		if err := ws.WriteFrame(conn, ws.MaskFrame(ws.NewPingFrame(body))); err != nil {
			return err
		}
		a.done.Add(1)
		if i%hostileBurst == hostileBurst-1 {
			pause(a.ctx, nil, attackPause/10)
		}
	}
	return nil
}

// ampersands sends heads that are costly to take apart.
func ampersands(a *attack) error {
	head := "GET /socket/longpoll?" + strings.Repeat("&", hostileHead) + " HTTP/1.1\r\nHost: " + a.address + "\r\n\r\n"
	for range 5 {
		conn, err := a.dial()
		if err != nil {
			return err
		}
		_, err = io.WriteString(conn, head)
		if err == nil {
			_, err = io.Copy(io.Discard, io.LimitReader(conn, 1<<10))
		}
		_ = conn.Close()
		a.done.Add(1)
		if err != nil {
			return err
		}
	}
	return nil
}
