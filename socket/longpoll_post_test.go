package socket

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// TestPollLines has a client send as much in one request as a tick of its
// application brings about.
func TestPollLines(t *testing.T) {
	for name, lines := range map[string]func() []string{
		"60 channels that join and push three times each": func() (lines []string) {
			for i := range 60 {
				lines = append(lines, fmt.Sprintf(`["1","1","room:%d","phx_join",{}]`, i))
				for range 3 {
					lines = append(lines, fmt.Sprintf(`["1","1","room:%d","echo",{}]`, i))
				}
			}
			return lines
		},
		"thousands of pushes": func() (lines []string) {
			lines = append(lines, `["1","1","room:a","phx_join",{}]`)
			for range 30 {
				lines = append(lines, `["1","1","room:a","echo",{}]`)
			}
			for range 9000 {
				lines = append(lines, beat)
			}
			return lines
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, r *rig) {
				p, lines := r.poll(phoenix.Version2), lines()
				posted := make(chan pollAnswer, 1)
				go func() {
					q := *p
					q.header = make(http.Header)
					posted <- q.post(lines...)
				}()
				answers := 0
				for answers < len(lines) {
					got := p.get()
					if got.Status != pollOK {
						t.Fatalf("%+v after %d of %d answers", got, answers, len(lines))
					}
					for _, m := range got.Messages {
						if !strings.Contains(m, `"status":"ok"`) {
							t.Fatal(m)
						}
						answers++
					}
				}
				if got := <-posted; got.Status != pollOK || answers != len(lines) {
					t.Fatalf("%+v, %d of %d answers", got, answers, len(lines))
				}
			})
		})
	}
}

// TestPollLinesThatNobodyFetches has a client send on and fetch nothing.
func TestPollLinesThatNobodyFetches(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		p, start := r.poll(phoenix.Version2), time.Now()
		if got := p.post(strings.Split(strings.Repeat(beat+"\n", 5000), "\n")...); got.Status != pollTimedOut || time.Since(start) != pollTimeout {
			t.Fatalf("%+v after %s", got, time.Since(start))
		}
		synctest.Wait()
		if n := r.counter(metrics.SocketsClosed, metrics.Reason(string(closedTooFast))); n != 1 || r.endpoint.Sockets() != 0 {
			t.Fatal(n, r.endpoint.Sockets())
		}
	})
}

// brokenBody is a body whose client leaves behind what has come, or sends no
// more.
type brokenBody struct {
	io.Reader
	err error
}

func (b brokenBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		err = b.err
	}
	return n, err
}

// TestPollBodies has bodies end where they should not, or go on. Whatever is cut
// is not handed on: a beginning may look like a message.
func TestPollBodies(t *testing.T) {
	const limit = 1000
	text := func(size int) string {
		return `[null,"1","phoenix","heartbeat","` + strings.Repeat("x", size-len(beat)) + `"]`
	}
	binary := func(size int) string {
		frame := "\x00\x00\x01\x07\x091phoenixheartbeat"
		return base64.StdEncoding.EncodeToString([]byte(frame + strings.Repeat("x", size-len(frame))))
	}
	gone := io.ErrUnexpectedEOF
	const lines, one = "application/x-ndjson", "application/json"
	for _, c := range []struct {
		name, kind string
		body       string
		err        error
		beats      int
		reason     closeReason // empty: the session goes on
	}{
		{"a text", one, text(limit), nil, 1, ""},
		{"a text too large", one, text(limit + 1), nil, 0, closedTooLarge},
		{"a text that is valid where it is cut", one, text(limit) + " ", nil, 0, closedTooLarge},
		{"a text that is valid where it is cut, at the end of what may come", one, text(limit) + strings.Repeat(" ", 10*limit), nil, 0, closedTooLarge},
		{"a binary", one, binary(limit), nil, 1, ""},
		{"a binary too large", one, binary(limit + 1), nil, 0, closedTooLarge},
		{"a binary that is valid where it is cut", one, binary(10 * limit), nil, 0, closedTooLarge},
		{"a text, and the client leaves", one, text(limit), gone, 0, closedLost},
		{"a binary, and the client leaves", one, binary(99), gone, 0, closedLost},
		{"nothing", one, "", nil, 0, ""},
		{"no message", one, "?", nil, 0, closedMalformed},

		{"lines: texts", lines, beat + "\n" + beat, nil, 2, ""},
		{"lines: of both kinds of end", lines, beat + "\r\n" + beat + "\n" + beat + "\r\n\r\n", nil, 3, ""},
		{"lines: empty ones", lines, "\n\n" + beat + "\n\n", nil, 1, ""},
		{"lines: one that is as large as may be", lines, text(limit) + "\r\n" + beat, nil, 2, ""},
		{"lines: one that is too large", lines, beat + "\n" + text(limit+1) + "\n" + beat, nil, 1, closedTooLarge},
		{"lines: one that is far too large", lines, beat + "\n" + text(100*limit) + "\n" + beat, nil, 1, closedTooLarge},
		{"lines: binaries as large as may be", lines, binary(limit) + "\n" + binary(limit), nil, 2, ""},
		{"lines: a binary that is too large", lines, beat + "\n" + binary(limit+1), nil, 1, closedTooLarge},
		{"lines: a text, and the client leaves", lines, beat + "\n" + beat, gone, 1, closedLost},
		{"lines: a binary cut where it is valid, and the client leaves", lines, beat + "\n" + binary(99)[:132], gone, 1, closedLost},
		{"lines: a long binary, and the client leaves", lines, beat + "\n" + binary(limit), gone, 1, closedLost},
		{"lines: as much as may come", lines, strings.Repeat(beat+"\n", 400)[:400*(len(beat)+1)], nil, 400, ""},
		{"lines: more than may come", lines, strings.Repeat(" ", 20*limit) + "\n", nil, 0, closedTooLarge},
		{"lines: more than may come, in parts", lines, strings.Repeat("\n", 20*limit) + beat, nil, 0, closedTooLarge},
		{"lines: one that is no message", lines, beat + "\n?\n" + beat, nil, 1, closedMalformed},
		{"lines: one that is no UTF-8", lines, beat + "\n[\"\xff\"]\n" + beat, nil, 1, closedUTF8},
	} {
		t.Run(c.name, func(t *testing.T) {
			adjust := func(c *Config) { c.MaxMessageBytes, c.MaxBodyBytes = limit, 20*limit }
			bubble(t, adjust, func(t *testing.T, r *rig) {
				p := r.poll(phoenix.Version2)
				var body io.Reader = strings.NewReader(c.body)
				if c.err != nil {
					body = brokenBody{body, c.err}
				}
				req := httptest.NewRequest(http.MethodPost, "/socket/longpoll?token="+p.token, body)
				req.Header.Set("Content-Type", c.kind)
				w := httptest.NewRecorder()
				r.endpoint.ServeHTTP(w, req)
				status := fmt.Sprintf(`{"status":%d,`, map[bool]int{true: pollOK, false: pollGone}[c.reason == ""])
				if !strings.HasPrefix(w.Body.String(), status) {
					t.Errorf("%s", w.Body)
				}
				synctest.Wait()
				if c.reason != "" {
					if n := r.counter(metrics.SocketsClosed, metrics.Reason(string(c.reason))); n != 1 {
						t.Errorf("closed, but not for %s", c.reason)
					}
					// What had been answered nobody will fetch: replies are in no counter.
				} else if c.beats > 0 {
					if got := p.get(); len(got.Messages) != c.beats {
						t.Errorf("%d heartbeats answered, want %d", len(got.Messages), c.beats)
					}
				}
			})
		})
	}
}

// TestPostOfTooMuchIsNotRead declares bodies that are longer than they may be.
func TestPostOfTooMuchIsNotRead(t *testing.T) {
	t.Parallel()
	for kind, length := range map[string]int64{"": 1 << 10, "application/x-ndjson": 1 << 16} {
		t.Run(kind, func(t *testing.T) {
			adjust := func(c *Config) { c.MaxMessageBytes, c.MaxBodyBytes = 100, 10_000 }
			bubble(t, adjust, func(t *testing.T, r *rig) {
				p := r.poll(phoenix.Version2)
				body := &unread{}
				req := httptest.NewRequest(http.MethodPost, "/socket/longpoll?token="+p.token, body)
				req.Header.Set("Content-Type", kind)
				req.ContentLength = length
				w := httptest.NewRecorder()
				r.endpoint.longpoll(w, req)
				if !strings.HasPrefix(w.Body.String(), fmt.Sprintf(`{"status":%d,`, pollGone)) || body.read {
					t.Errorf("read %t, answered %s", body.read, w.Body)
				}
				synctest.Wait()
				if n := r.counter(metrics.SocketsClosed, metrics.Reason(string(closedTooLarge))); n != 1 {
					t.Errorf("not closed for what it sent")
				}
			})
		})
	}
}

// unread is a body that notes whether it is read.
type unread struct{ read bool }

func (u *unread) Read([]byte) (int, error) {
	u.read = true
	return 0, io.EOF
}
