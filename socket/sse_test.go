package socket

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// How the tags of two topics stand in ids.
var tagA, tagB = streamTag("room:a"), streamTag("room:b")

func TestStreamOfOneTopic(t *testing.T) {
	streaming(t, nil, func(t *testing.T, r *streamRig) {
		r.offset = 41
		r.hub.Advance(41)
		s := r.stream("?topic=room:a")
		s.want(`retry: 2000|event: sluice|id: E:41|data: {"topic":"room:a","epoch":"E","offset":41,"resumed":true}`)
		s.quiet()
		r.log("room:b", "created", `{"id":6}`)
		r.log("room:a", "created", " {\n\t\"id\": 7,\r\n \"of\": \"a b\" } ")
		r.cast("room:a", "typing", "{\"by\":\n\"ann\"}")
		r.log("room:a", "error", `{}`)
		s.want(`id: E:43|data: {"topic":"room:a","event":"created","offset":43,"payload":{"id":7,"of":"a b"}}`,
			`data: {"topic":"room:a","event":"typing","payload":{"by":"ann"}}`,
			`id: E:44|data: {"topic":"room:a","event":"error","offset":44,"payload":{}}`)
		s.quiet()
		if n, opened, pushed := r.endpoint.Sockets(), r.counter(metrics.SocketsOpened, metrics.Transport("sse")), r.counter(metrics.MessagesPushed); n != 1 || opened != 1 || pushed != 3 {
			t.Errorf("%d sockets, %d opened, %d pushed", n, opened, pushed)
		}
		if list := r.endpoint.List(); len(list) != 1 || list[0].Transport != "sse" || list[0].Channels != 1 {
			t.Errorf("%+v", list)
		}
	})
}

func TestStreamOfNamedEvents(t *testing.T) {
	streaming(t, nil, func(t *testing.T, r *streamRig) {
		s := r.stream("?topic=room:a&named=true")
		s.next()
		for i, event := range []string{"created", "open", "error", "sluice", "message", " x:y"} {
			r.log("room:a", event, `{}`)
			name := map[bool]string{true: "event: " + event + "|"}[event != "open" && event != "error" && event != "sluice"]
			s.want(fmt.Sprintf(`id: E:%d|%sdata: {"topic":"room:a","event":%q,"offset":%d,"payload":{}}`, i+1, name, event, i+1))
		}
	})
}

// TestStreamOfTopics has topics get on differently: each keeps its own position, and a
// client that comes back with another list gives none of them another's.
func TestStreamOfTopics(t *testing.T) {
	streaming(t, nil, func(t *testing.T, r *streamRig) {
		s := r.stream("?topic=room:a&topic=room:b")
		s.want(`retry: 2000|event: sluice|id: `+tagA+`=E:0,`+tagB+`=E:0|data: {"topic":"room:a","epoch":"E","offset":0,"resumed":true}`,
			`event: sluice|id: `+tagA+`=E:0,`+tagB+`=E:0|data: {"topic":"room:b","epoch":"E","offset":0,"resumed":true}`)
		for _, topic := range []string{"room:b", "room:b", "room:a"} {
			r.log(topic, "created", `{}`)
			synctest.Wait() // what waits side by side goes in turns
		}
		s.want(`id: `+tagA+`=E:0,`+tagB+`=E:1|data: {"topic":"room:b","event":"created","offset":1,"payload":{}}`,
			`id: `+tagA+`=E:0,`+tagB+`=E:2|data: {"topic":"room:b","event":"created","offset":2,"payload":{}}`,
			`id: `+tagA+`=E:3,`+tagB+`=E:2|data: {"topic":"room:a","event":"created","offset":3,"payload":{}}`)
		// The log of this test has no past: only who has seen all can resume.
		for query, want := range map[string][]bool{
			"?topic=room:a&topic=room:b":              {true, false},
			"?topic=room:b&topic=room:a":              {false, true},
			"?topic=room:a":                           {true},
			"?topic=room:c":                           {false},
			"?topic=room:a&topic=room:c":              {true, false},
			"?topic=room:a&after=0&epoch=Z":           {true},
			"?topic=room:a&after=nonsense&named=true": {true},
		} {
			s := r.stream(query, "Last-Event-Id: "+tagA+"=E:3,"+tagB+"=E:2")
			for _, resumed := range want {
				if got := s.next(); !strings.Contains(got, fmt.Sprintf(`"offset":3,"resumed":%t}`, resumed)) {
					t.Errorf("%s: %s, want resumed %t", query, got, resumed)
				}
			}
		}
	})
}

// TestStreamPositions has clients say in all ways where they are.
func TestStreamPositions(t *testing.T) {
	streaming(t, nil, func(t *testing.T, r *streamRig) {
		r.hub.Advance(7)
		for _, test := range []struct {
			query, header string
			resumed       bool
		}{
			{"", "", true},
			{"&after=", "", true},
			{"&after=null", "", true},
			{"&after=7", "", true},
			{"&after=007&epoch=E", "", true},
			{"&after=7&epoch=F", "", false},
			{"&after=6", "", false},
			{"&after=9223372036854775807", "", false},
			{"&after=E:7", "", true},
			{"&after=E:7&epoch=F", "", true},
			{"&after=" + tagA + "%3DE:7", "", true},
			{"&after=6", "E:7", true},
			{"", "7", true}, // a client of one's own may write it so
			{"", "F:7", false},
			{"", "E:8", false},
			{"", tagA + "=E:7", true},
			{"", tagB + "=E:7", false},
			{"", tagB + "=E:7," + tagA + "=E:6", false},
		} {
			var headers []string
			if test.header != "" {
				headers = []string{"Last-Event-Id: " + test.header}
			}
			s := r.stream("?topic=room:a"+test.query, headers...)
			if got := s.next(); !strings.Contains(got, fmt.Sprintf(`id: E:7`+"\n"+`data: {"topic":"room:a","epoch":"E","offset":7,"resumed":%t}`, test.resumed)) {
				t.Errorf("%s, %s: %s", test.query, test.header, got)
			}
		}
	})
}

func TestStreamsThatAreRefused(t *testing.T) {
	adjust := func(c *Config) {
		c.MaxChannels = 19
		c.Connect = func(_ context.Context, r *ConnectRequest) (*channels.Socket, error) {
			switch token := r.Token + r.Params.Get("token"); token {
			case "expired":
				return nil, &Refusal{Status: http.StatusForbidden, Reason: "the token has expired", Cause: TokenExpired}
			case "revoked":
				return nil, &Refusal{Status: http.StatusForbidden, Reason: "the token has been revoked", Cause: TokenRevoked}
			case "later":
				return nil, &Refusal{Status: http.StatusServiceUnavailable, Reason: "not known now", Cause: Unavailable}
			default:
				return &channels.Socket{ID: token}, nil
			}
		}
		c.Admit = func(s *channels.Socket) error {
			switch s.ID {
			case "unknown":
				return ErrUnavailable
			case "unwanted":
				return fmt.Errorf("no")
			}
			return nil
		}
	}
	topics := func(n int) string { return "?topic=room:" + strings.Join(numbers(n), "&topic=room:") }
	streaming(t, adjust, func(t *testing.T, r *streamRig) {
		for _, test := range []struct {
			query, header string
			status        int
			says          string
		}{
			{"", "", 400, "no topic"},
			{"?topic=", "", 400, "invalid topic"},
			{"?topic=room:%0Aid:1", "", 400, `"invalid topic \"room:\\nid:1\""`},
			{"?topic=room:%ff", "", 400, "invalid topic"},
			{"?topic=" + strings.Repeat("x", 256), "", 400, "invalid topic"},
			{"?topic=%zz", "", 400, "query is malformed"},
			{"?topic=phoenix", "", 404, `topic \"phoenix\": unmatched topic`},
			{"?topic=nowhere", "", 404, `topic \"nowhere\": unmatched topic`},
			{"?topic=room:a&topic=nowhere", "", 404, `topic \"nowhere\"`},
			{"?topic=broken", "", 500, "join crashed"},
			{"?topic=room:a&topic=room:a", "", 400, "named twice"},
			{topics(21), "", 400, "21 topics"},
			{topics(20), "", 400, "too many channels joined"},
			{"?topic=room:a&after=-1", "", 400, "invalid after"},
			{"?topic=room:a&after=1.5", "", 400, "invalid after"},
			{"?topic=room:a&after=9223372036854775808", "", 400, "invalid after"},
			{"?topic=room:a&after=:7", "", 400, "invalid after"},
			{"?topic=room:a&last=-1", "", 400, "invalid last"},
			{"?topic=room:a", "Last-Event-Id: E:", 400, "invalid Last-Event-ID"},
			{"?topic=room:a", "Last-Event-Id: E:-1", 400, "invalid Last-Event-ID"},
			{"?topic=room:a", "Last-Event-Id: E:1,E:2", 400, "invalid Last-Event-ID"},
			{"?topic=room:a", "Last-Event-Id: " + tagA + "=E:1," + tagA + "=E:2", 400, "invalid Last-Event-ID"},
			{"?topic=room:a", "Last-Event-Id: " + tagA + "=E:1,E:2", 400, "invalid Last-Event-ID"},
			{"?topic=room:a", "Last-Event-Id: " + tagA + "x=E:1", 400, "invalid Last-Event-ID"},
			{"?topic=room:a", "Last-Event-Id: +/+/+/+/=E:1", 400, "invalid Last-Event-ID"},
			{"?topic=room:a", "Last-Event-Id: E:1\t", 200, ""}, // HTTP takes it off
			{"?topic=room:a", "Last-Event-Id: E\t:1", 400, "invalid Last-Event-ID"},
			{"?topic=room:a", "Last-Event-Id: " + strings.Repeat("9", 20), 400, "invalid Last-Event-ID"},
			{"?topic=room:a", "Last-Event-Id: " + strings.Repeat("x", 3000), 400, "invalid Last-Event-ID"},
			{"?topic=room:a&token=expired", "", 403, "the token has expired"},
			{"?topic=room:a&token=expired&after=3", "", 403, "the token has expired"},
			{"?topic=room:a&token=expired", "Last-Event-Id: E:3", 204, ""},
			{"?topic=room:a&token=revoked", "Last-Event-Id: E:3", 204, ""},
			{"?topic=room:a", "Authorization: Bearer expired", 403, "the token has expired"},
			{"?topic=room:a", "Authorization: bearer later", 503, "not known now"},
			{"?topic=room:a&token=unknown", "", 503, "unavailable"},
			{"?topic=room:a&token=unwanted", "Last-Event-Id: E:3", 403, `topic \"room:a\": unauthorized`},
			{"?topic=room:a", "Origin: https://elsewhere.example", 403, "origin not allowed"},
		} {
			var headers []string
			if test.header != "" {
				headers = []string{test.header}
			}
			status, body := r.refused(test.query, headers...)
			if status != test.status || !strings.Contains(body, test.says) || test.says != "" && !strings.Contains(body, `"hint":"`) {
				t.Errorf("%s %s: %d %s, want %d %s", test.query, test.header, status, body, test.status, test.says)
			}
		}
		for method, want := range map[string]int{"POST": 405, "HEAD": 405, "PUT": 405, "OPTIONS": 204} {
			resp, _ := r.request(method, "?topic=room:a", "Origin: http://pipe")
			if resp.StatusCode != want || want == 405 && resp.Header.Get("Allow") != "GET, OPTIONS" || resp.Header.Get("Access-Control-Allow-Origin") != "http://pipe" {
				t.Errorf("%s: %d %v", method, resp.StatusCode, resp.Header)
			}
		}
		synctest.Wait()
		if n := r.counter(metrics.SocketsRefused, metrics.Reason("token_expired")); n != 4 {
			t.Errorf("%d refused because they have expired", n)
		}
	})
}

// numbers are 0 and so on.
func numbers(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprint(i))
	}
	return list
}

// TestStreamEnds has streams end in every way.
func TestStreamEnds(t *testing.T) {
	const life = 100 * time.Second
	adjust := func(c *Config) {
		c.Connect = func(_ context.Context, r *ConnectRequest) (*channels.Socket, error) {
			s := &channels.Socket{ID: "user"}
			if r.Params.Get("token") == "short" {
				s.Expires = time.Now().Add(life)
			}
			return s, nil
		}
	}
	for name, test := range map[string]struct {
		query  string
		end    func(r *streamRig, s *stream)
		says   string
		reason closeReason
	}{
		"access": {"&token=short", func(*streamRig, *stream) { time.Sleep(life) }, ": access ended", closedExpired},
		"by id":  {"", func(r *streamRig, _ *stream) { r.endpoint.Disconnect("user") }, ": disconnected", closedByID},
		"drain":  {"", func(r *streamRig, _ *stream) { go r.stop() }, ": service restart", closedDrain},
		"revoked": {"", func(r *streamRig, _ *stream) {
			r.endpoint.config.Holds = func(*channels.Socket) bool { return false }
			r.endpoint.Confirm()
		}, ": access ended", closedExpired},
		"its channel": {"", func(r *streamRig, _ *stream) { r.hub.Skip(99) }, ": a topic of the stream has ended", closedChannel},
		"its client":  {"", func(_ *streamRig, s *stream) { s.conn.Close() }, "", closedByClient},
		"cut": {"", func(r *streamRig, _ *stream) {
			for _, c := range r.endpoint.snapshot() {
				c.cut(closedDrain, outbound.DropClosed)
			}
		}, "", closedDrain},
	} {
		t.Run(name, func(t *testing.T) {
			streaming(t, adjust, func(t *testing.T, r *streamRig) {
				s := r.stream("?topic=room:a" + test.query)
				s.next()
				synctest.Wait()
				test.end(r, s)
				for got := s.next(); got != test.says && got != "end"; got = s.next() {
					if got != ":" {
						t.Errorf("it ends with %q", got)
					}
				}
				if test.says != "" {
					s.want("end")
				}
				synctest.Wait()
				if n := r.endpoint.Sockets(); n != 0 {
					t.Errorf("%d sockets are left", n)
				}
				if n := r.counter(metrics.SocketsClosed, metrics.Reason(string(test.reason))); n != 1 {
					t.Errorf("not closed for %s", test.reason)
				}
			})
		})
	}
}

// TestSilentStream has nothing happen: there are comments, and now and then where the stream
// has got to, once that is further on, and nothing waits for the client.
func TestSilentStream(t *testing.T) {
	var routed atomic.Int64
	streaming(t, func(c *Config) { c.Position = func() int64 { return routed.Load() } }, func(t *testing.T, r *streamRig) {
		s := r.stream("?topic=room:a&topic=room:b")
		s.next()
		s.next()
		start := time.Now()
		s.want(":", ":", ":", ":")
		if took := time.Since(start); took != 4*sseComment {
			t.Errorf("four comments took %s", took)
		}
		r.log("room:c", "created", `{}`)
		routed.Store(1)
		s.want(":", ":", ":", "id: "+tagA+"=E:1,"+tagB+"=E:1", ":", ":", ":", ":")
		time.Sleep(sseComment / 2)
		r.log("room:a", "created", `{}`) // has silence begin anew
		start = time.Now()
		s.want(`id: `+tagA+`=E:2,`+tagB+`=E:1|data: {"topic":"room:a","event":"created","offset":2,"payload":{}}`, ":")
		if took := time.Since(start); took != sseComment {
			t.Errorf("a comment comes after %s", took)
		}
	})
}

// TestStreamThatIsNotRead has a client read nothing: it is disconnected once it has not for
// the time that it has, and what was queued for it is given up.
func TestStreamThatIsNotRead(t *testing.T) {
	for _, test := range []struct {
		events, size int
		after        time.Duration
	}{
		{20, 10, DefaultWriteTimeout},
		{20, 100 << 10, closeTimeout}, // more than it may have waiting, and there is no log to catch up from
		{3, 3 << 20, closeTimeout},
	} {
		t.Run(fmt.Sprint(test.size), func(t *testing.T) {
			streaming(t, nil, func(t *testing.T, r *streamRig) {
				_, conn := r.request(http.MethodGet, "?topic=room:a")
				synctest.Wait()
				start := time.Now()
				for range test.events {
					r.log("room:a", "created", `{"x":"`+strings.Repeat("x", test.size)+`"}`)
				}
				<-conn.Ended
				if took := time.Since(start); took != test.after {
					t.Errorf("it is cut after %s", took)
				}
				synctest.Wait()
				slow := r.counter(metrics.SocketsClosed, metrics.Reason(string(closedTooSlow)))
				dropped := r.counter(metrics.MessagesDropped, metrics.Reason(string(outbound.DropTooSlow)))
				if slow != 1 || dropped == 0 || r.endpoint.Sockets() != 0 {
					t.Errorf("%d too slow, %d messages dropped for it", slow, dropped)
				}
			})
		})
	}
}

// TestStreamOfHostileMessages has others write what would be lines of a stream: it stays
// within the line that it belongs to.
func TestStreamOfHostileMessages(t *testing.T) {
	streaming(t, nil, func(t *testing.T, r *streamRig) {
		topic := "room:\u2028 id: E:9"
		s := r.stream("?named=true&topic=" + "room:%E2%80%A8%20id:%20E:9")
		s.next()
		r.log(topic, "a\u2029data: x", "{\"x\":\n\n\"data: \u2028\\n\\u000a\"\r\r}")
		s.want(`id: E:1|event: a` + "\u2029" + `data: x|data: {"topic":"` + topic + `","event":"a` + "\u2029" + `data: x","offset":1,"payload":{"x":"data: ` + "\u2028" + `\n\u000a"}}`)
		r.log(topic, "a\nid: E:99\r\n\ndata: x", `{}`) // as an old log may have it
		s.want(`id: E:2|data: {"topic":"` + topic + `","event":"a\nid: E:99\r\n\ndata: x","offset":2,"payload":{}}`)
		for _, malformed := range []string{"{\"x\":\"\n\ndata: y\"}", "\n\nid: E:7\n\n", ""} {
			r.builder.Start(r.hub.Watched(topic))
			if err := r.builder.Add(&outbound.Message{Topic: topic, Event: "e", Payload: []byte(malformed)}); err == nil {
				t.Errorf("%q can be sent", malformed)
			}
		}
		s.quiet()
	})
}

// TestStreamTakesItsPlace has a stream count as a connection.
func TestStreamTakesItsPlace(t *testing.T) {
	streaming(t, func(c *Config) { c.MaxConnections = 1 }, func(t *testing.T, r *streamRig) {
		s := r.stream("?topic=room:a")
		s.next()
		resp, _ := r.request(http.MethodGet, "?topic=room:a")
		if resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "1" {
			t.Errorf("%d %v", resp.StatusCode, resp.Header)
		}
		s.conn.Close()
		synctest.Wait()
		r.stream("?topic=room:a").next()
	})
}

// FuzzStreamID has ids be anything: what is taken for one says of each topic one position,
// and comes out as it went in.
func FuzzStreamID(f *testing.F) {
	for _, seed := range []string{"E:1", tagA + "=E:1", tagA + "=E:1," + tagB + "=F:0", "E:", ":1", ",", "=", tagA + "=E:1,", strings.Repeat("E:1,", 30)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, ok := parseStreamID(text)
		if !ok {
			return
		}
		topics := make([]streamTopic, len(id))
		for i, p := range id {
			if p.offset < 0 || p.epoch == "" || len(id) > maxSSETopics || p.tag == "" && len(id) > 1 {
				t.Fatalf("%q: %+v", text, id)
			}
			topics[i].tag = p.tag
		}
		id.locate(topics)
		again, ok := parseStreamID(string(appendStreamID(nil, topics)))
		if !ok || len(again) != len(id) {
			t.Fatalf("%q becomes %q", text, appendStreamID(nil, topics))
		}
		for i, p := range again {
			if p.offset != id[i].offset || p.epoch != id[i].epoch || len(id) > 1 && p.tag != id[i].tag {
				t.Fatalf("%q becomes %+v", text, again)
			}
		}
	})
}

// cast sends a broadcast.
func (r *streamRig) cast(topic, event, payload string) {
	r.t.Helper()
	if err := r.pubsub.Broadcast(&outbound.Message{Topic: topic, Event: event, Payload: []byte(payload)}, nil); err != nil {
		r.t.Fatal(err)
	}
}

// TestStreamIsToldItsPosition has a channel tell its client where it is, as it does on topics on
// which nothing happens: to a stream that is an id.
func TestStreamIsToldItsPosition(t *testing.T) {
	t.Parallel()
	answer := httptest.NewRecorder()
	s := &sseStream{writer: answer, control: http.NewResponseController(answer), topics: []streamTopic{{name: "a", epoch: "E", offset: 5}}}
	s.out.stream = s
	for _, told := range []string{`{"offset":9}`, `{"offset":7}`} { // an older one comes late
		frame, err := phoenix.Encoder{}.AppendPush(nil, phoenix.Streamed, outbound.Address{Topic: "a"}, outbound.EventPosition, outbound.Payload{Data: []byte(told)})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.out.frames([][]byte{frame}); err != nil {
			t.Fatal(err)
		}
	}
	if got := answer.Body.String(); got != "id: E:9\n\nid: E:9\n\n" {
		t.Errorf("%q", got)
	}
}
