package benchmarks

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/socket"
)

// wire is a subscriber of topics 1 and 4 that reads what is written here.
func wire(load Load, frames ...[]byte) *subscriber {
	conn, _ := net.Pipe() // to be closed
	return &subscriber{
		conn:    conn,
		in:      bufio.NewReaderSize(bytes.NewReader(bytes.Join(frames, nil)), readBuffer),
		load:    load,
		topics:  []int{1, 4},
		total:   []int64{2, 1},
		ledgers: make([]Ledger, 2),
		done:    make(chan struct{}),
		latency: NewLatencies(),
		warmUp:  int64(load.Topics),
	}
}

// version2 is the wire format that subscribers ask for, in package socket's terms.
const version2 channels.Format = 1

// event is a frame as the service writes it.
func event(t testing.TB, load Load, topic int, number int64) []byte {
	t.Helper()
	frame, err := socket.Encoder{}.AppendMessage(nil, version2, &channels.Message{
		Offset: 7, Topic: topicName(topic), Event: eventName,
		Payload: load.appendPayload(nil, number, time.Now().Add(-time.Second)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

func TestSubscriberReadsWhatTheServiceWrites(t *testing.T) {
	t.Parallel()
	for _, payload := range []int{0, 128, 1000, maxPayload} { // frames with each kind of header that can be
		load := Load{Topics: 6, Sockets: 3, Payload: payload}
		pong := ws.MustCompileFrame(ws.NewPongFrame(nil))
		bye := ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(1012, "service restart")))
		s := wire(load, event(t, load, 1, 0), pong, event(t, load, 4, 0), event(t, load, 1, 1), bye)
		s.read()
		if s.cause == nil || !strings.Contains(s.cause.Error(), "1012 service restart") {
			t.Errorf("ended with %v", s.cause)
		}
		check, arrived := s.check()
		if !check.Sound() || arrived != 3 || s.arrived.Load() != 3 {
			t.Errorf("%d arrived, %+v", arrived, check)
		}
		select {
		case <-s.done:
		default:
			t.Error("not done")
		}
		if p := s.latency.Percentiles(); p == nil || p.Samples != 1 || p.P50 < 1000 || p.P50 > 60_000 {
			t.Errorf("of one event after the warm-up, a second old: %+v", p)
		}
	}
}

func TestSubscriberEndsWithWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	load := Load{Topics: 6, Sockets: 3}
	text := func(s string) []byte { return ws.MustCompileFrame(ws.NewTextFrame([]byte(s))) }
	for name, frame := range map[string][]byte{
		"another's topic": event(t, load, 2, 0),
		"no such topic":   event(t, load, 100, 0),
		"another event":   text(`[null,null,"bench:1","tock",{"n":0,"at":0}]`),
		"another payload": text(`[null,null,"bench:1","tick",{"m":0,"at":0}]`),
		"no time":         text(`[null,null,"bench:1","tick",{"n":0}]`),
		"no number":       text(`[null,null,"bench:1","tick",{"n":"0","at":0}]`),
		"another topic":   text(`[null,null,"room:1","tick",{"n":0,"at":0}]`),
		"a huge frame":    text(strings.Repeat("x", readBuffer)),
		"a huger frame":   text(strings.Repeat("x", 1<<17)),
		"half a frame":    event(t, load, 1, 0)[:20],
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := wire(load, frame, event(t, load, 1, 0))
			s.read()
			if s.cause == nil {
				t.Error("it goes on")
			}
			if check, arrived := s.check(); arrived != 0 || check.Lost != 3 || check.Cut != 1 {
				t.Errorf("%d arrived, %+v", arrived, check)
			}
		})
	}
}

func TestPayloadIsJSONOfItsSize(t *testing.T) {
	t.Parallel()
	for _, size := range []int{64, 128, 4096} {
		payload := Load{Payload: size}.appendPayload(nil, 1234, time.Time{})
		if !json.Valid(payload) || len(payload) != size {
			t.Errorf("%d bytes instead of %d: %s", len(payload), size, payload)
		}
	}
}

func TestSearchPath(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"postgres://u:p@h/db":                   "postgres://u:p@h/db?search_path=s",
		"postgresql://h/db?sslmode=disable":     "postgresql://h/db?search_path=s&sslmode=disable",
		"postgres://h/db?search_path=elsewhere": "postgres://h/db?search_path=s",
		"host=h dbname=db":                      "host=h dbname=db search_path=s",
	} {
		if got, err := withSearchPath(given, "s"); err != nil || got != want {
			t.Errorf("%q becomes %q, %v; want %q", given, got, err, want)
		}
	}
	if _, err := withSearchPath("postgres://h:port/", "s"); err == nil || strings.Contains(err.Error(), "h:port") {
		t.Errorf("a URL that is none gives %v", err)
	}
}

// Reading an event allocates nothing: the clients must not be what is measured.
func TestReadingAllocatesNothing(t *testing.T) { // not parallel: it counts allocations
	load := Load{Topics: 6, Sockets: 3, Payload: 128}
	const runs = 100
	var frames [][]byte
	for n := range int64(runs + 1) {
		frames = append(frames, event(t, load, 1, n))
	}
	s := wire(load, frames...)
	if n := testing.AllocsPerRun(runs, func() {
		text, err := s.frame()
		if err != nil {
			t.Fatal(err)
		}
		topic, number, _, ok := parseEvent(text)
		if !ok || topic != 1 {
			t.Fatalf("%s", text)
		}
		s.ledgers[s.seat(topic)].Note(number)
	}); n > 0 {
		t.Errorf("%v allocations an event", n)
	}
}
