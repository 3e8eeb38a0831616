package socket

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// poller is a client that polls.
type poller struct {
	t        testing.TB
	endpoint http.Handler
	query    url.Values
	header   http.Header
	token    string
	waiting  []string // messages that have come with others
}

// polled is the answer to a request.
type pollAnswer struct {
	Status   int      `json:"status"`
	Token    string   `json:"token"`
	Messages []string `json:"messages"`

	http *http.Response
}

// poll opens a session.
func (r *rig) poll(format outbound.Format) *poller {
	r.t.Helper()
	p := r.poller(fmt.Sprintf("%d.0.0", 1+format))
	if got := p.get(); got.Status != pollGone || got.Token == "" || len(got.Messages) > 0 {
		r.t.Fatalf("new session: %+v", got)
	}
	return p
}

func (r *rig) poller(vsn string) *poller {
	return &poller{t: r.t, endpoint: r.endpoint, query: url.Values{"vsn": {vsn}}, header: make(http.Header)}
}

func (p *poller) request(ctx context.Context, method, body string) pollAnswer {
	p.t.Helper()
	query := p.query.Encode() + "&token=" + url.QueryEscape(p.token)
	req := httptest.NewRequestWithContext(ctx, method, "/socket/longpoll?"+query, strings.NewReader(body))
	for name, values := range p.header {
		req.Header[name] = values
	}
	w := httptest.NewRecorder()
	p.endpoint.ServeHTTP(w, req)
	got := pollAnswer{http: w.Result()}
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			p.t.Fatalf("%s: %v", w.Body, err)
		}
	}
	if got.http.StatusCode != http.StatusOK && method != http.MethodPut {
		p.t.Fatalf("HTTP status %d", got.http.StatusCode)
	}
	return got
}

func (p *poller) get() pollAnswer {
	p.t.Helper()
	got := p.request(p.t.Context(), http.MethodGet, "")
	if got.Token != "" {
		p.token = got.Token
	}
	return got
}

// post sends messages in one request.
func (p *poller) post(messages ...string) pollAnswer {
	p.t.Helper()
	p.header.Set("Content-Type", "application/x-ndjson")
	return p.request(p.t.Context(), http.MethodPost, strings.Join(messages, "\n"))
}

func (p *poller) text(message string) {
	p.t.Helper()
	if got := p.post(message); got.Status != pollOK {
		p.t.Fatalf("post: %+v", got)
	}
}

func (p *poller) next() string {
	p.t.Helper()
	if len(p.waiting) == 0 {
		synctest.Wait()
		got := p.get()
		if got.Status != pollOK {
			return fmt.Sprint("status ", got.Status)
		}
		p.waiting = got.Messages
	}
	next := p.waiting[0]
	p.waiting = p.waiting[1:]
	return next
}

func (p *poller) quiet() {
	p.t.Helper()
	start := time.Now()
	if got := p.get(); len(p.waiting) > 0 || got.Status != pollNothing || len(got.Messages) > 0 || got.Token != p.token {
		p.t.Fatalf("received %q and %+v", p.waiting, got)
	}
	if time.Since(start) != pollTimeout {
		p.t.Fatalf("answered after %s", time.Since(start))
	}
}

// bubble runs a test with a rig in a bubble.
func bubble(t *testing.T, adjust func(*Config), test func(t *testing.T, r *rig)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		if adjust == nil {
			adjust = func(*Config) {}
		}
		test(t, newRig(t, adjust))
	})
}

func TestPollSessionEnds(t *testing.T) {
	for _, c := range []struct {
		name   string
		end    func(r *rig, p *poller)
		reason closeReason
	}{
		{"15 s after its last poll", func(r *rig, p *poller) {
			time.Sleep(pollGrace - time.Millisecond) // of the test's own clock
			p.quiet()
			time.Sleep(pollGrace + time.Millisecond) // of the test's own clock
		}, closedNoPoll},
		{"a POST is no poll", func(r *rig, p *poller) {
			time.Sleep(pollGrace - time.Millisecond) // of the test's own clock
			p.text(beat)
			time.Sleep(2 * time.Millisecond) // of the test's own clock
		}, closedNoPoll},
		{"on malformed messages", func(r *rig, p *poller) {
			if got := p.post(beat, "[1"); got.Status != pollGone {
				p.t.Errorf("%+v", got)
			}
		}, closedMalformed},
		{"on what is neither text nor base64", func(r *rig, p *poller) {
			if got := p.post("?"); got.Status != pollGone {
				p.t.Errorf("%+v", got)
			}
		}, closedMalformed},
		{"on messages too large", func(r *rig, p *poller) {
			if got := p.post("[" + strings.Repeat(" ", 64<<10) + "]"); got.Status != pollGone {
				p.t.Errorf("%+v", got)
			}
		}, closedTooLarge},
		{"on messages far too large", func(r *rig, p *poller) {
			if got := p.post(strings.Repeat("x", 1<<20)); got.Status != pollGone {
				p.t.Errorf("%+v", got)
			}
		}, closedTooLarge},
		{"on messages too large, alone", func(r *rig, p *poller) {
			p.header.Set("Content-Type", "text/plain")
			if got := p.request(p.t.Context(), http.MethodPost, "["+strings.Repeat(" ", 1<<20)+"]"); got.Status != pollGone {
				p.t.Errorf("%+v", got)
			}
		}, closedTooLarge},
		{"on invalid UTF-8", func(r *rig, p *poller) {
			if got := p.post("[\"\xff\"]"); got.Status != pollGone {
				p.t.Errorf("%+v", got)
			}
		}, closedUTF8},
		{"when its client is too slow", func(r *rig, p *poller) {
			for range 2000 {
				r.log("room:a", "created", `{}`)
			}
		}, closedTooSlow},
		{"when it is disconnected", func(r *rig, p *poller) {
			if r.endpoint.Disconnect("polling") != 1 {
				p.t.Error("not disconnected")
			}
			if got := p.get(); got.Status != pollError {
				p.t.Errorf("%+v", got)
			}
		}, closedByID},
	} {
		t.Run(c.name, func(t *testing.T) {
			connect := func(context.Context, *ConnectRequest) (*channels.Socket, error) {
				return &channels.Socket{ID: "polling"}, nil
			}
			bubble(t, func(c *Config) { c.Connect = connect }, func(t *testing.T, r *rig) {
				p := r.poll(phoenix.Version2)
				p.text(`["1","1","room:a","phx_join",{}]`)
				if got := p.next(); got != `["1","1","room:a","phx_reply",{"status":"ok","response":{}}]` {
					t.Fatal(got)
				}
				c.end(r, p)
				synctest.Wait()
				if n := r.counter(metrics.SocketsClosed, metrics.Reason(string(c.reason))); n != 1 || r.endpoint.Sockets() != 0 || r.hub.Channels() != 0 {
					t.Fatalf("%d closed for %s; %d sockets and %d channels left", n, c.reason, r.endpoint.Sockets(), r.hub.Channels())
				}
				// A token that was once valid here is answered 500, which
				// clients of all versions survive.
				if got := p.post(beat); got.Status != pollGone {
					t.Fatalf("POST to a dead session: %+v", got)
				}
				if got := p.request(t.Context(), http.MethodGet, ""); got.Status != pollError || got.Token != "" {
					t.Fatalf("GET of a dead session: %+v", got)
				}
			})
		})
	}
}

func TestPollTokens(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		p := r.poll(phoenix.Version2)
		alive := p.token
		for name, c := range map[string]struct {
			token  string
			status int
		}{
			"none":                     {"", pollGone},
			"null":                     {"null", pollGone},
			"undefined":                {"undefined", pollGone},
			"the application's":        {"secret", pollGone},
			"the application's JWT":    {"a.b.c", pollGone},
			"with parts too few":       {"poll.a.b", pollGone},
			"with a part too many":     {"poll.a.b.c.d.e", pollGone},
			"with another prefix":      {"Poll.a.b.c", pollGone},
			"of before a restart":      {newSessionTokens().issue(), pollError},
			"of another node":          {sessionTokens{node: "other", key: newSessionTokens().key}.issue(), pollError},
			"forged":                   {alive[:len(alive)-1] + "x", pollError},
			"ours in form and no more": {"poll.1.a.b.c", pollError},
			"of an earlier build":      {"poll.a.b.c", pollError},
		} {
			for _, where := range []string{"parameter", "header"} {
				p.token = c.token
				if p.header = make(http.Header); where == "header" {
					p.token = ""
					p.header.Set(pollTokenHeader, c.token)
				}
				got := p.request(t.Context(), http.MethodGet, "")
				if got.Status != c.status || (got.Token == "") != (c.status == pollError) || got.Messages == nil {
					t.Errorf("%s as %s: %+v", name, where, got)
				}
				if got := p.post(beat); got.Status != pollGone {
					t.Errorf("POST %s as %s: %+v", name, where, got)
				}
			}
		}
		p.token = "null" // the header wins
		p.header.Set(pollTokenHeader, alive)
		p.text(beat)
		if got := p.next(); got != beaten {
			t.Error(got)
		}
	})
}

// TestPollConnect shows what the connect hook is told of an application's own
// token.
func TestPollConnect(t *testing.T) {
	for _, c := range []struct {
		name, query, header string
		token, param        string
	}{
		{"header", "vsn=2.0.0", "secret", "secret", ""},
		{"parameter before the session's", "token=mine&vsn=2.0.0&token=null", "", "", "mine"},
		{"parameter before an empty one", "token=mine&token=", "", "", "mine"},
		{"parameter alone", "token=mine", "", "", "mine"},
		{"none", "token=null", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got ConnectRequest
			connect := func(_ context.Context, r *ConnectRequest) (*channels.Socket, error) {
				got = *r
				return new(channels.Socket), nil
			}
			bubble(t, func(c *Config) { c.Connect = connect }, func(t *testing.T, r *rig) {
				req := httptest.NewRequest(http.MethodGet, "/socket/longpoll?"+c.query, nil)
				if c.header != "" {
					req.Header.Set("X-Phoenix-AuthToken", c.header)
				}
				r.endpoint.ServeHTTP(httptest.NewRecorder(), req)
				if got.Token != c.token || got.Params.Get("token") != c.param {
					t.Fatalf("%+v", got)
				}
			})
		})
	}
}

func TestPollRefused(t *testing.T) {
	for name, c := range map[string]struct {
		adjust func(*Config)
		vsn    string
		status int
	}{
		"by the hook": {func(c *Config) {
			c.Connect = func(context.Context, *ConnectRequest) (*channels.Socket, error) { return nil, errors.New("no") }
		}, "2.0.0", pollForbidden},
		"by version":          {nil, "3.0.0", pollForbidden},
		"for lack of room":    {func(c *Config) { c.MaxConnections = 1 }, "2.0.0", pollError},
		"for another origin":  {func(c *Config) { c.Origins = []string{"//a.example"} }, "2.0.0", pollForbidden},
		"for nothing at all":  {nil, "2.0.0", pollGone},
		"for nothing at all ": {nil, "1.0.0", pollGone},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, c.adjust, func(t *testing.T, r *rig) {
				p := r.poller(c.vsn)
				if r.endpoint.config.MaxConnections > 0 {
					r.poll(phoenix.Version2)
				}
				if len(r.endpoint.gate.list) > 0 {
					p.header.Set("Origin", "http://b.example")
				}
				got := p.get()
				if got.Status != c.status || got.http.Header.Get("Cache-Control") != "no-store" {
					t.Fatalf("%+v", got)
				}
			})
		})
	}
}

func TestPollOverHTTP(t *testing.T) {
	bubble(t, func(c *Config) { c.Origins = []string{"//a.example"} }, func(t *testing.T, r *rig) {
		p := r.poller("2.0.0")
		p.header.Set("Origin", "https://a.example")
		got := p.request(t.Context(), http.MethodOptions, "")
		h := got.http.Header
		if h.Get("Access-Control-Allow-Origin") != "https://a.example" || h.Get("Vary") != "Origin" ||
			!strings.Contains(h.Get("Access-Control-Allow-Methods"), "POST") ||
			!strings.Contains(strings.ToLower(h.Get("Access-Control-Allow-Headers")), "x-phoenix-authtoken") {
			t.Errorf("preflight: %v", h)
		}
		if got := p.get(); got.http.Header.Get("Access-Control-Allow-Origin") != "https://a.example" {
			t.Errorf("%v", got.http.Header)
		}
		if got := p.request(t.Context(), http.MethodPut, ""); got.http.StatusCode != http.StatusBadRequest {
			t.Errorf("PUT: %d", got.http.StatusCode)
		}
	})
}

func TestPollMessages(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		p := r.poll(phoenix.Version2)
		binary := base64.StdEncoding.EncodeToString([]byte("\x00\x01\x01\x06\x0412room:akind\x00\xff"))
		if got := p.post(`["1","1","room:a","phx_join",{}]`, "", binary, beat); got.Status != pollOK {
			t.Fatalf("%+v", got)
		}
		synctest.Wait()
		got := p.get()
		want := []string{
			beaten,
			`["1","1","room:a","phx_reply",{"status":"ok","response":{}}]`,
			`["1","2","room:a","phx_reply",{"status":"ok","response":"binary"}]`,
		}
		if strings.Join(got.Messages, " ") != strings.Join(want, " ") {
			t.Fatalf("got %q", got.Messages)
		}
		p.header.Set("Content-Type", "text/plain; charset=utf-8")
		if got := p.request(t.Context(), http.MethodPost, beat); got.Status != pollOK {
			t.Fatalf("%+v", got)
		}
		if got := p.next(); got != beaten {
			t.Fatal(got)
		}
	})
}

// TestPollWaits has a message come while a GET is waiting.
func TestPollWaits(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		p := r.poll(phoenix.Version2)
		p.text(`["1","1","room:a","phx_join",{}]`)
		p.next()
		start := time.Now()
		time.AfterFunc(3*time.Second, func() { r.log("room:a", "created", `{"a":"\n"}`) })
		if got := p.get(); len(got.Messages) != 1 || got.Messages[0] != `[null,null,"room:a","created",{"a":"\n"}]` {
			t.Fatalf("%+v", got)
		}
		if time.Since(start) != 3*time.Second {
			t.Fatal(time.Since(start))
		}
	})
}

// TestPollTwiceAtOnce has the second GET take the place of the first.
func TestPollTwiceAtOnce(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		p := r.poll(phoenix.Version2)
		first := make(chan pollAnswer, 1)
		go func() { first <- p.request(t.Context(), http.MethodGet, "") }()
		synctest.Wait()
		second := make(chan pollAnswer, 1)
		go func() { second <- p.request(t.Context(), http.MethodGet, "") }()
		synctest.Wait()
		if got := <-first; got.Status != pollNothing {
			t.Fatalf("%+v", got)
		}
		p.text(beat)
		if got := <-second; got.Status != pollOK || len(got.Messages) != 1 {
			t.Fatalf("%+v", got)
		}
	})
}

// TestPollAborted has a client go away while it polls: nothing is lost.
func TestPollAborted(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		p := r.poll(phoenix.Version2)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan pollAnswer, 1)
		go func() { done <- p.request(ctx, http.MethodGet, "") }()
		synctest.Wait()
		cancel()
		<-done
		p.text(beat)
		if got := p.next(); got != beaten {
			t.Fatal(got)
		}
	})
}

// brokenWriter is a client that has gone.
type brokenWriter struct{ *httptest.ResponseRecorder }

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("gone") }

func TestPollAnswerThatCannotBeWritten(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		p := r.poll(phoenix.Version2)
		p.text(beat)
		req := httptest.NewRequest(http.MethodGet, "/socket/longpoll?token="+p.token, nil)
		r.endpoint.ServeHTTP(brokenWriter{httptest.NewRecorder()}, req)
		synctest.Wait()
		if n := r.counter(metrics.SocketsClosed, metrics.Reason(string(closedLost))); n != 1 || r.endpoint.Sockets() != 0 {
			t.Fatal(n, r.endpoint.Sockets())
		}
	})
}

func TestPollDrain(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		waiting, idle := r.poll(phoenix.Version2), r.poll(phoenix.Version2)
		answered := make(chan pollAnswer, 1)
		go func() { answered <- waiting.request(t.Context(), http.MethodGet, "") }()
		idle.text(beat)
		synctest.Wait()
		stopped := make(chan error, 1)
		go func() { stopped <- r.stop() }()
		if got := <-answered; got.Status != pollError {
			t.Fatalf("%+v", got)
		}
		if got := idle.get(); got.Status != pollOK || len(got.Messages) != 1 {
			t.Fatalf("what was queued is lost: %+v", got)
		}
		if err := <-stopped; err != nil {
			t.Fatal(err)
		}
		if got := idle.get(); got.Status != pollError {
			t.Fatalf("%+v", got)
		}
	})
}

func TestInboundRate(t *testing.T) {
	bubble(t, func(c *Config) { c.InboundRate = 4 }, func(t *testing.T, r *rig) {
		c := r.connect(phoenix.Version2)
		start := time.Now()
		go func() {
			for range 12 {
				c.text(beat)
			}
		}()
		for range 12 {
			c.want(beaten)
		}
		if took := time.Since(start); took != 2*time.Second {
			t.Fatalf("12 messages at 4 a second, 4 of them at once, took %s", took)
		}
		p := r.poll(phoenix.Version2)
		beats := strings.Split(strings.Repeat(beat+"\n", 60)+beat, "\n")
		if got := p.post(beats...); got.Status != pollTimedOut {
			t.Fatalf("%+v", got)
		}
		synctest.Wait()
		if n := r.counter(metrics.SocketsClosed, metrics.Reason(string(closedTooFast))); n != 1 {
			t.Fatal(n)
		}
	})
}
