package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/sluicehq/sluice/benchmarks"
	"github.com/sluicehq/sluice/benchmarks/target"
)

// Every server carries every scenario, in a tiny form, with nothing lost, twice
// or out of order.
func TestServersDeliver(t *testing.T) {
	t.Parallel()
	small := &size{length: 200 * time.Millisecond, sockets: 12, payload: 128}
	for _, c := range contenders() {
		for _, trial := range trials() {
			if !trial.includes(c) {
				continue
			}
			t.Run(c.Name+"/"+trial.name, func(t *testing.T) {
				t.Parallel()
				scenario := trial.on(c.server(programs), c.way, small)
				switch s := scenario.(type) {
				case *benchmarks.Bulk:
					s.Batch, s.WarmUp = min(s.Batch, 24), 24
				case *benchmarks.Idle:
					s.For = small.length
				case *benchmarks.Steady:
					s.For, s.WarmUp, s.Rate = 2*small.length, small.length, 50
				}
				result, err := scenario.Run(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				if !result.Sound() || result.Deliveries == 0 {
					t.Errorf("%d deliveries, %+v %s", result.Deliveries, result.Check, result.CutBecause)
				}
				for i := range trial.measures {
					// So few sockets take no memory that stands out.
					if m := &trial.measures[i]; m.of(&result) <= 0 && trial.name != "idle" {
						t.Errorf("%q is %v", m.name, m.of(&result))
					}
				}
			})
		}
	}
}

// frames are what each server sends for one event, with %s for the payload:
// the figures of README.md are made of their sizes.
var frames = map[string]string{
	"sluice":           `[null,null,"bench:7","tick",%s]`,
	"sluice-log":       `[null,null,"bench:7","tick",%s]`,
	"centrifuge":       `{"push":{"channel":"bench:7","pub":{"data":%s}}}`,
	"centrifuge-tuned": `{"push":{"channel":"bench:7","pub":{"data":%s}}}`,
	"ws":               `["bench:7","tick",%s]`,
	"ws-tuned":         `["bench:7","tick",%s]`,
	"socketio":         `42["tick",%s]`,
}

// A client that speaks through the dialect and no more gets the event, framed
// as the README says.
func TestFrames(t *testing.T) {
	t.Parallel()
	for _, c := range contenders() {
		if c.Name == "floor" { // which understands the swarm's clients only
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			e := start(t, c)
			conn := join(t, e, "bench:7")
			const payload = `{"n":0,"t":7,"at":1700000000000000000,"pad":"xxxxxxxx"}`
			status, answer := post(t, e, c.way, `{"topic":"bench:7","event":"tick","payload":`+payload+"}\n")
			if status != http.StatusAccepted {
				t.Fatalf("the event was answered %d %s", status, answer)
			}
			for {
				frame, err := wsutil.ReadServerText(conn)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Contains(frame, []byte(payload)) {
					continue
				}
				if want := fmt.Sprintf(frames[c.Name], payload); string(frame) != want {
					t.Errorf("the frame is %s, want %s", frame, want)
				}
				return
			}
		})
	}
}

// What is not understood is refused, and the server goes on.
func TestServersRefuse(t *testing.T) {
	t.Parallel()
	for _, c := range contenders() {
		if c.Name == "floor" { // which understands as little as it can
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			e := start(t, c)
			for _, body := range []string{"no JSON\n", `{"topic":"bench:7","event":"tick","payload":{}}` + "\n{\n"} {
				if status, answer := post(t, e, c.way, body); status != http.StatusBadRequest {
					t.Errorf("%q was answered %d %s, want 400", body, status, answer)
				}
			}
			if status, answer := post(t, e, c.way, `{"topic":"bench:7","event":"tick","payload":{}}`); status != http.StatusAccepted || !strings.Contains(answer, `"count":1`) {
				t.Errorf("an event that nobody watches was answered %d %s", status, answer)
			}
		})
	}
}

// start runs a contender until the test ends.
func start(t *testing.T, c *contender) *target.Endpoint {
	t.Helper()
	e, err := c.server(programs).Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Stop(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// join connects one client and has it join a topic, by the dialect.
func join(t *testing.T, e *target.Endpoint, topic string) io.ReadWriter {
	t.Helper()
	dialed, early, _, err := ws.Dial(context.Background(), e.Sockets+e.Dialect.Path())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialed.Close() })
	conn := struct {
		io.Reader
		io.Writer
	}{dialed, dialed}
	if early != nil { // a server that speaks first may have done so with its answer to the handshake
		conn.Reader = early
	}
	say := func(message []byte) {
		if err := wsutil.WriteClientText(conn, message); err != nil {
			t.Error(err)
		}
	}
	topics := []string{topic}
	e.Dialect.Greet(say, topics)
	for joined := 0; joined < len(topics); {
		message, err := wsutil.ReadServerText(conn)
		if err != nil {
			t.Fatal(err)
		}
		more, err := e.Dialect.Hear(say, topics, message)
		if err != nil {
			t.Fatal(err)
		}
		joined += more
	}
	return conn
}

// post publishes lines.
func post(t *testing.T, e *target.Endpoint, way target.Way, lines string) (status int, answer string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	response, err := client.Post(e.Admin+"/api/"+string(way), "application/x-ndjson", strings.NewReader(lines))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}
