package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/sluicehq/sluice/socket/client"
)

// watching is a run of watch against scripts, in a bubble of its own time.
type watching struct {
	scripts  []func(peer)
	after    *int64
	last     *int64
	count    int
	out      io.Writer // nil: it is collected
	terminal bool

	stdout, stderr bytes.Buffer
}

func (w *watching) run(ctx context.Context, t *testing.T) error {
	out := w.out
	if out == nil {
		out = &w.stdout
	}
	watcher := newWatcher(scripted(t, w.scripts...), "demo", out, w.terminal)
	watcher.tell = func(format string, args ...any) { fmt.Fprintf(&w.stderr, format+"\n", args...) }
	watcher.after, watcher.last, watcher.left = w.after, w.last, w.count
	return watcher.run(ctx)
}

const (
	fromNow = `{"after":null}`
	atSeven = `{"offset":7,"epoch":"e","resumed":true}`
)

func TestWatchPrintsLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watching{count: 5, scripts: []func(peer){func(p peer) {
			p.join(fromNow, atSeven)
			p.send(`[null,null,"demo","created",{"offset":8,"data":{"html": "<b>&", "big": 12345678901234567890, "s": "é"}}]`)
			p.send(`["1",null,"demo","typing",{"data":{ "by": "ann" }}]`)
			p.send(`[null,null,"demo","forged",{"data":{"offset":99,"data":{}}}]`)
			p.send(`[null,null,"demo","presence_diff",{"joins":{}}]`)
			p.send(`[null,null,"other","created",{"offset":9,"data":{}}]`)
			p.send(`[null,null,"demo","deleted",{"data":{},"offset":11}]`)
			p.linger()
		}}}
		if err := w.run(t.Context(), t); err != nil {
			t.Fatal(err)
		}
		const want = `{"topic":"demo","event":"created","offset":8,"payload":{"html":"<b>&","big":12345678901234567890,"s":"é"}}
{"topic":"demo","event":"typing","payload":{"by":"ann"}}
{"topic":"demo","event":"forged","payload":{"offset":99,"data":{}}}
{"topic":"demo","event":"presence_diff","payload":{"joins":{}}}
{"topic":"demo","event":"deleted","offset":11,"payload":{}}
`
		if got := w.stdout.String(); got != want {
			t.Errorf("printed\n%swant\n%s", got, want)
		}
		if got := w.stderr.String(); got != "joined demo at offset 7\n" {
			t.Errorf("told %q", got)
		}
	})
}

// However a connection ends, the next one resumes after the last offset.
func TestWatchResumes(t *testing.T) {
	t.Parallel()
	event := func(offset int) string {
		return fmt.Sprintf(`[null,null,"demo","created",{"offset":%d,"data":{}}]`, offset)
	}
	for _, test := range []struct {
		name string
		end  func(peer)
		told string
	}{
		{"cut", func(peer) {}, "the server went away"},
		{"restart", func(p peer) { p.frame(ws.NewCloseFrame(ws.NewCloseFrameBody(1012, "drain"))) }, "the server closed the connection (1012, drain)"},
		{"crash of the channel", func(p peer) { p.send(`["1","1","demo","phx_error",{}]`); p.linger() }, "the channel ended on the server (no reason given)"},
		{"silence", func(p peer) { p.linger() }, "the server did not answer a heartbeat"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := watching{count: 3, scripts: []func(peer){
					func(p peer) {
						p.join(fromNow, atSeven)
						p.send("%s", event(8))
						p.send(`[null,null,"demo","typing",{}]`)
						test.end(p)
					},
					nil, // still down
					func(p peer) {
						p.join(`{"after":8,"epoch":"e"}`, `{"offset":9,"epoch":"e","resumed":true}`)
						p.send("%s", event(9))
						p.linger()
					},
				}}
				if err := w.run(t.Context(), t); err != nil {
					t.Fatal(err)
				}
				if got := w.stdout.String(); strings.Count(got, "\n") != 3 || !strings.Contains(got, `"offset":8`) || !strings.Contains(got, `"offset":9`) {
					t.Errorf("printed\n%s", got)
				}
				told := strings.Split(w.stderr.String(), "\n")
				for i, want := range []string{"joined demo at offset 7", test.told + "; trying again in ", "nobody there; trying again in ", "joined demo, resuming after offset 8"} {
					if i >= len(told) || !strings.HasPrefix(told[i], want) {
						t.Errorf("told %q, want %q at %d", told, want, i)
					}
				}
			})
		})
	}
}

func TestWatchAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		zero := int64(0)
		w := watching{after: &zero, count: 1, scripts: []func(peer){func(p peer) {
			p.join(`{"after":0}`, atSeven)
			p.send(`[null,null,"demo","created",{"offset":1,"data":{}}]`)
			p.linger()
		}}}
		if err := w.run(t.Context(), t); err != nil {
			t.Fatal(err)
		}
		if got := w.stderr.String(); got != "joined demo, resuming after offset 0\n" {
			t.Errorf("told %q", got)
		}
	})
}

// The last events are asked for with each join, as the server knows when they count; a
// position that the server tells counts as one of an event.
func TestWatchLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watching{last: new(int64(2)), count: 2, scripts: []func(peer){
			func(p peer) {
				p.join(`{"after":null,"last":2}`, atSeven)
				p.send(`[null,null,"demo","created",{"offset":8,"data":{}}]`)
				p.send(`["1",null,"demo","sluice_position",{"offset":11}]`)
			},
			func(p peer) {
				p.join(`{"after":11,"last":2,"epoch":"e"}`, `{"offset":3,"epoch":"f","resumed":false}`)
				p.send(`[null,null,"demo","created",{"offset":4,"data":{}}]`)
				p.linger()
			},
		}}
		if err := w.run(t.Context(), t); err != nil {
			t.Fatal(err)
		}
		const want = "joined demo, but cannot resume after offset 11: events may be missing; going on from 3\n"
		if got := w.stderr.String(); !strings.Contains(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}

// A client that cannot have all is told, and goes on from where the log is.
func TestWatchCannotResume(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watching{count: 1, scripts: []func(peer){
			func(p peer) { p.join(fromNow, atSeven) },
			func(p peer) { p.join(`{"after":7,"epoch":"e"}`, `{"offset":3,"epoch":"f","resumed":false}`) },
			func(p peer) {
				p.join(`{"after":3,"epoch":"f"}`, `{"offset":3,"epoch":"f","resumed":true}`)
				p.send(`[null,null,"demo","created",{"offset":4,"data":{}}]`)
				p.linger()
			},
		}}
		if err := w.run(t.Context(), t); err != nil {
			t.Fatal(err)
		}
		const want = "joined demo, but cannot resume after offset 7: events may be missing; going on from 3\n"
		if got := w.stderr.String(); !strings.Contains(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}

func TestWatchEnds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		scripts []func(peer)
		want    string
	}{
		{"refused", []func(peer){func(p peer) {
			p.receive()
			p.send(`["1","1","demo","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`)
			p.linger()
		}}, `joining "demo" was refused: unmatched topic`},
		{"channel closed", []func(peer){func(p peer) {
			p.join(fromNow, atSeven)
			p.send(`["1","1","demo","phx_close",{}]`)
			p.linger()
		}}, "the server closed the channel"},
		{"sent away", []func(peer){func(p peer) {
			p.join(fromNow, atSeven)
			p.frame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, "")))
		}}, "the server closed the connection (1000)"},
		{"nobody there at first", []func(peer){nil}, "nobody there"},
		{"mute at first", []func(peer){func(p peer) { p.linger() }}, "the server did not answer the join"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := watching{scripts: test.scripts}
				if err := w.run(t.Context(), t); err == nil || err.Error() != test.want {
					t.Errorf("got %v, want %s", err, test.want)
				}
			})
		})
	}
}

func TestWatchKeepsTheConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		w := watching{count: 1, scripts: []func(peer){func(p peer) {
			p.join(fromNow, atSeven)
			for ref := 2; ref < 5; ref++ {
				p.expect(fmt.Sprintf(`[null,"%d","phoenix","heartbeat",{}]`, ref))
				p.send(`[null,"%d","phoenix","phx_reply",{"status":"ok","response":{}}]`, ref)
			}
			p.frame(ws.NewPingFrame([]byte("still there?")))
			if op, data := p.receive(); op != ws.OpPong || data != "still there?" {
				t.Errorf("a ping was answered by %v %q", op, data)
			}
			p.send(`[null,null,"demo","created",{"offset":8,"data":{}}]`)
			p.linger()
		}}}
		if err := w.run(t.Context(), t); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(start); got != 3*client.HeartbeatInterval {
			t.Errorf("3 heartbeats took %v", got)
		}
	})
}

func TestWatchIsInterrupted(t *testing.T) {
	t.Parallel()
	for name, scripts := range map[string][]func(peer){
		"connected":    {func(p peer) { p.join(fromNow, atSeven); p.linger() }},
		"disconnected": {func(p peer) { p.join(fromNow, atSeven) }, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				w := watching{scripts: scripts}
				if err := w.run(ctx, t); err != nil {
					t.Errorf("interrupted: %v", err)
				}
			})
		})
	}
}

// closedPipe is a reader that has seen enough.
type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) {
	return 0, &os.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}
}

func TestWatchIntoAClosedPipe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watching{out: closedPipe{}, scripts: []func(peer){func(p peer) {
			p.join(fromNow, atSeven)
			p.send(`[null,null,"demo","created",{"offset":8,"data":{}}]`)
			p.linger()
		}}}
		if err := w.run(t.Context(), t); err != nil {
			t.Errorf("got %v, want a quiet end", err)
		}
	})
}

// The whole way, over the network and with a process of its own.
func TestWatchAsAProgram(t *testing.T) {
	t.Parallel()
	url := socketStandIn(t, func(p peer) {
		p.join(fromNow, atSeven)
		for offset := 8; p.sendUnlessGone(`[null,null,"demo","created",{"offset":%d,"data":{}}]`, offset); offset++ {
			if offset == 10 {
				p.linger()
			}
		}
	})

	t.Run("counts", func(t *testing.T) {
		t.Parallel()
		command := program(t, nil, "watch", "--url", url, "--count", "2", "demo")
		out, err := command.Output()
		if err != nil || strings.Count(string(out), "\n") != 2 {
			t.Errorf("%v, printed %q", err, out)
		}
	})

	t.Run("is interrupted", func(t *testing.T) {
		t.Parallel()
		command := program(t, []string{"SLUICE_URL=" + url}, "watch", "demo")
		stdout, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "{\"topic\":\"demo\",\"event\":\"created\",\"offset\":8,\"payload\":{}}\n" {
			t.Errorf("first line %q, %v", line, err)
		}
		if err := command.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := command.Wait(); err != nil {
			t.Errorf("after SIGINT: %v, want exit status 0", err)
		}
	})
}

// As in: sluice watch demo | head -1
func TestWatchAsAProgramIntoAClosedPipe(t *testing.T) {
	t.Parallel()
	url := socketStandIn(t, func(p peer) {
		p.join(fromNow, atSeven)
		for offset := 8; p.sendUnlessGone(`[null,null,"demo","created",{"offset":%d,"data":{}}]`, offset); offset++ {
		}
	})
	command := program(t, nil, "watch", "--url", url, "demo")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Error(err)
	}
	stdout.Close()
	if err := command.Wait(); err != nil || stderr.String() != "sluice: joined demo at offset 7\n" {
		t.Errorf("ended by %v, told %q", err, &stderr)
	}
}

func TestWatchRefusedByHTTP(t *testing.T) {
	t.Parallel()
	url := socketStandIn(t, func(peer) {})
	got := call{args: []string{"watch", "--url", url + "/elsewhere", "demo"}}.run(t)
	if got.exit != exitFailure || got.stderr != "sluice: the server refused the connection (403 Forbidden): it may want a token: give one with --token\n" {
		t.Errorf("got %+v", got)
	}
}

// What the server says of its refusal is what the user is told.
func TestWatchTellsWhyItIsRefused(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		`{"error":"the token has expired","hint":"get a new one"}`: "the server refused the connection (403): the token has expired: get a new one",
		`{"error":"connection refused"}`:                           "the server refused the connection (403): connection refused",
		``:                                                         "the server refused the connection (403 Forbidden): it may want a token: give one with --token",
		`{"code": 7}`:                                              `the server refused the connection (403 Forbidden): it may want a token: give one with --token; it says "{\"code\": 7}"`,
		"<h1>No</h1>\n\tsays\x1b[31m the proxy\n": `the server refused the connection (403 Forbidden): it may want a token: give one with --token; it says "<h1>No</h1> says\x1b[31m the proxy"`,
		strings.Repeat("x", 8<<10):                `the server refused the connection (403 Forbidden): it may want a token: give one with --token; it says "` + strings.Repeat("x", 300) + `"`,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, answer)
		}))
		got := call{args: []string{"watch", "--url", server.URL + "/socket", "demo"}}.run(t)
		server.Close()
		if got.exit != exitFailure || got.stderr != "sluice: "+want+"\n" {
			t.Errorf("told %q, want %q", got.stderr, want)
		}
	}
}

// A message that cannot be read is told, and does not come again and again.
func TestWatchGoesOnPastWhatItCannotRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watching{count: 1, scripts: []func(peer){func(p peer) {
			p.join(fromNow, atSeven)
			for _, unreadable := range []string{
				"nonsense", "[]", "{}", `[1,null,"demo","created",{}]`,
				`[null,null,"demo","created",{"offset":8,"data":` + strings.Repeat(`{"a":`, 12_000) + "1" + strings.Repeat("}", 12_001) + "]",
			} {
				p.send("%s", unreadable)
			}
			p.send(`[null,null,"demo","created",{"offset":9,"data":{}}]`)
			p.linger()
		}}}
		if err := w.run(t.Context(), t); err != nil {
			t.Fatal(err)
		}
		if told := w.stderr.String(); strings.Count(told, " bytes is not shown: decode message: ") != 4 || !strings.Contains(told, `event "created" at offset 8, of `) {
			t.Errorf("told\n%s", told)
		}
		if got := w.stdout.String(); got != "{\"topic\":\"demo\",\"event\":\"created\",\"offset\":9,\"payload\":{}}\n" {
			t.Errorf("printed %q", got)
		}
	})
}

func TestWebsocketURL(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"ws://127.0.0.1:4000/socket":     "ws://127.0.0.1:4000/socket/websocket?vsn=2.0.0",
		"wss://example.org/socket/":      "wss://example.org/socket/websocket?vsn=2.0.0",
		"https://example.org/live/s?a=b": "wss://example.org/live/s/websocket?a=b&vsn=2.0.0",
		"http://[::1]:4000":              "ws://[::1]:4000/websocket?vsn=2.0.0",
		"ws://host/socket/websocket":     "ws://host/socket/websocket?vsn=2.0.0",
		"ws://host/socket/websocket/":    "ws://host/socket/websocket?vsn=2.0.0",
		"ws://host/socket//":             "ws://host/socket/websocket?vsn=2.0.0",
	} {
		if got, err := websocketURL(given); got != want || err != nil {
			t.Errorf("websocketURL(%q) is %q, %v; want %q", given, got, err, want)
		}
	}
}

// Who is starting says so, and is worth waiting for.
func TestWatchWaitsForAStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		up := scripted(t, func(p peer) {
			p.join(fromNow, atSeven)
			p.send(`[null,null,"demo","created",{"offset":8,"data":{}}]`)
			p.linger()
		})
		attempts := 0
		starting := func(ctx context.Context) (net.Conn, *bufio.Reader, error) {
			if attempts++; attempts < 4 {
				return nil, nil, &client.RefusedError{Status: http.StatusServiceUnavailable}
			}
			return up(ctx)
		}
		var stdout bytes.Buffer
		watcher := newWatcher(starting, "demo", &stdout, false)
		watcher.tell, watcher.left = func(string, ...any) {}, 1
		if err := watcher.run(t.Context()); err != nil || strings.Count(stdout.String(), "\n") != 1 {
			t.Errorf("%v, printed %q", err, &stdout)
		}
	})
}
