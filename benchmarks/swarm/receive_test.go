package swarm

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// bare is a receiver for clients that have joined and are connected to nothing.
func bare(t testing.TB, load Load) *receiver {
	t.Helper()
	s := &Swarm{config: Config{Dialect: Phoenix{}, Load: load, Prefix: "t:"}, joins: NewLatencies(), free: make(chan struct{}, load.Sockets)}
	for i := range load.Sockets {
		c := newClient(i, load)
		c.stage = joined
		s.clients = append(s.clients, c)
	}
	return &receiver{swarm: s, latencies: NewLatencies()}
}

// event is an event's frame as Sluice writes it.
func event(load Load, topic int, number, at int64) []byte {
	return serverFrame(ws.OpText, fmt.Appendf(nil, `[null,null,"t:%d","tick",%s]`, topic, load.AppendPayload(nil, Event{topic, number, at})))
}

func TestReceiveEvents(t *testing.T) {
	t.Parallel()
	load := Load{Topics: 6, Sockets: 3, Payload: 100}
	r := bare(t, load)
	c := r.swarm.clients[1] // of topics 1 and 4
	now := time.Now().UnixNano()
	var data []byte
	data = append(data, event(load, 1, 0, now-int64(time.Second))...)
	data = append(data, serverFrame(ws.OpPing, []byte("are you there"))...)
	data = append(data, event(load, 4, 0, 0)...)
	data = append(data, serverFrame(ws.OpText, []byte(`[null,"0","phoenix","phx_reply",{"status":"ok","response":{}}]`))...)
	data = append(data, event(load, 1, 1, 0)...)
	rest, err := r.receive(c, data, now)
	if err != nil || len(rest) != 0 || c.arrived != 3 || r.deliveries.Load() != 3 {
		t.Errorf("%v, %d bytes left, %d arrived of %d", err, len(rest), c.arrived, r.deliveries.Load())
	}
	if got := string(r.out); !strings.Contains(got, "are you there") || r.out[0] != 0x80|opPong {
		t.Errorf("a ping is answered %q", got)
	}
	if p := r.latencies.Percentiles(); p == nil || p.Samples != 1 || p.P50 < 999 || p.P50 > 1001 {
		t.Errorf("latency of an event that is a second old: %+v", p)
	}
}

func TestReceiveEndsWithWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	load := Load{Topics: 6, Sockets: 3}
	text := func(s string) []byte { return serverFrame(ws.OpText, []byte(s)) }
	for want, frame := range map[string][]byte{
		"has not joined":        event(load, 2, 0, 0),
		"a message that is":     text(`[null,null,"t:1","tock",{"m":0}]`),
		"was answered":          text(`["1","1","t:1","phx_reply",{"status":"error","response":{"reason":"unauthorized"}}]`),
		"1012 service restart":  ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(1012, "service restart"))),
		"without a reason":      serverFrame(ws.OpClose, nil),
		"in several frames":     {0x01, 0},
		"[null,null,\"t:1\",\"": text(`[null,null,"t:1","` + strings.Repeat("x", 10_000)),
	} {
		r := bare(t, load)
		_, err := r.receive(r.swarm.clients[1], append(event(load, 1, 0, 0), frame...), 1)
		if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 500 {
			t.Errorf("ended with %v, want %q", err, want)
		}
		if r.deliveries.Load() != 1 {
			t.Errorf("%s: what came before is not counted", want)
		}
	}
}

// Reading an event allocates nothing: the clients must not be what is measured.
func TestReceivingAllocatesNothing(t *testing.T) { // not parallel: it counts allocations
	load := Load{Topics: 6, Sockets: 3, Payload: 128}
	const runs = 100
	r := bare(t, load)
	frames := make([][]byte, runs+1) // one more to warm up
	for n := range frames {
		frames[n] = event(load, 1, int64(n), 1)
	}
	c, next := r.swarm.clients[1], 0
	if n := testing.AllocsPerRun(runs, func() {
		if _, err := r.receive(c, frames[next], 2); err != nil {
			t.Fatal(err)
		}
		next++
	}); n > 0 {
		t.Errorf("%v allocations an event", n)
	}
}

func BenchmarkReceive(b *testing.B) {
	load := Load{Topics: 1, Sockets: 1, Payload: 128}
	r := bare(b, load)
	c := r.swarm.clients[0]
	const events = 100
	var data []byte
	for n := range int64(events) {
		data = append(data, event(load, 0, n, 0)...)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		c.sequences[0] = SequenceCheck{}
		if rest, err := r.receive(c, data, 1); err != nil || len(rest) > 0 {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/events, "ns/event")
}

// Phoenix says what a stock client says.
func TestPhoenixJoins(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		dialect Phoenix
		path    string
		want    string
	}{
		{Phoenix{}, "/socket/websocket?vsn=2.0.0", `["1","1","t:0","phx_join",{}]|["2","2","t:7","phx_join",{}]`},
		{Phoenix{Mount: "/live", Token: "a.b", After: true}, "/live/websocket?vsn=2.0.0&token=a.b",
			`["1","1","t:0","phx_join",{"after":null}]|["2","2","t:7","phx_join",{"after":null}]`},
	} {
		var said []string
		test.dialect.Greet(func(message []byte) { said = append(said, string(message)) }, []string{"t:0", "t:7"})
		if got := strings.Join(said, "|"); got != test.want || test.dialect.Path() != test.path {
			t.Errorf("%s, says %s; want %s, %s", test.dialect.Path(), got, test.path, test.want)
		}
	}
}
