package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// A polled is the answer to a request of the long-poll protocol.
type polled struct {
	Status   int
	Token    *string
	Messages []string

	code   int // HTTP's status
	header http.Header
}

func get(t testing.TB, address, path string, headers map[string]string) polled {
	t.Helper()
	return request(t, http.MethodGet, address, path, headers, "")
}

// request asks and reads the protocol's answer, for which HTTP's status must be
// 200.
func request(t testing.TB, method, address, path string, headers map[string]string, body string) polled {
	t.Helper()
	answer, err := try(t, method, address, path, headers, body)
	if err != nil {
		t.Fatal(err)
	}
	if answer.code != http.StatusOK || answer.header.Get("Cache-Control") != "no-store" || answer.Messages == nil {
		t.Errorf("%s %s is answered %d with %v", method, path, answer.code, answer.header)
	}
	return answer
}

// try is request for goroutines, and for what is not the protocol's.
func try(t testing.TB, method, address, path string, headers map[string]string, body string) (answer polled, err error) {
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+path, strings.NewReader(body))
	if err != nil {
		return answer, err
	}
	for name, value := range headers {
		if value != "" {
			request.Header.Set(name, value)
		}
	}
	response, err := client.Do(request)
	if err != nil {
		return answer, fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer response.Body.Close()
	answer.code, answer.header = response.StatusCode, response.Header
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return answer, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if len(text) > 0 && response.StatusCode == http.StatusOK {
		if err := json.Unmarshal(text, &answer); err != nil {
			return answer, fmt.Errorf("%s %s: %s: %w", method, path, text, err)
		}
	}
	return answer, nil
}

// A poller is a long-poll session by hand.
type poller struct {
	address string
	token   string
}

const longpoll = "/socket/longpoll?vsn=2.0.0"

// begin begins a session.
func begin(t testing.TB, address string) *poller {
	t.Helper()
	answer := get(t, address, longpoll, nil)
	if answer.Status != 410 || answer.Token == nil || len(answer.Messages) != 0 {
		t.Fatalf("a poll without a token is answered %+v, want 410, a token and no messages", answer)
	}
	return &poller{address, *answer.Token}
}

func (p *poller) path() string { return longpoll + "&token=" + url.QueryEscape(p.token) }

// post sends lines, and gives the answer's status.
func (p *poller) post(t testing.TB, lines ...string) int {
	t.Helper()
	return request(t, http.MethodPost, p.address, p.path(), map[string]string{"Content-Type": "application/x-ndjson"}, strings.Join(lines, "\n")).Status
}

// expect polls until it has as many messages as there are wanted.
func (p *poller) expect(t testing.TB, wanted ...string) {
	t.Helper()
	for len(wanted) > 0 {
		answer := get(t, p.address, p.path(), nil)
		if answer.Status != 200 || answer.Token == nil || *answer.Token != p.token || len(answer.Messages) > len(wanted) {
			t.Fatalf("a poll is answered %+v, want %s", answer, wanted)
		}
		for i, got := range answer.Messages {
			if plain(t, got) != plain(t, wanted[i]) {
				t.Fatalf("got %s, want %s", got, wanted[i])
			}
		}
		wanted = wanted[len(answer.Messages):]
	}
}

const (
	beats  = `[null,"1","phoenix","heartbeat",{}]`
	beaten = `[null,"1","phoenix","phx_reply",{"status":"ok","response":{}}]`
)

// TestLongPoll goes through what the protocol says of long-polling, by requests
// that the stock client does not make or does not show. TestConformance is what
// comes of it.
func TestLongPoll(t *testing.T) {
	t.Parallel()
	s := serve(t, "--data-dir", t.TempDir(), "--config", config(t, rules)).ready(t)
	ndjson := map[string]string{"Content-Type": "application/x-ndjson"}
	for _, line := range []struct {
		says string
		test func(t *testing.T)
	}{
		{"GET alive: 200 with messages as JSON strings", func(t *testing.T) {
			p := begin(t, s.public)
			if status := p.post(t, beats); status != 200 {
				t.Fatalf("a POST is answered %d", status)
			}
			p.expect(t, beaten)
		}},
		{"POST: many lines, in order", func(t *testing.T) {
			p := begin(t, s.public)
			var lines, wanted []string
			for i := range 100 {
				lines = append(lines, fmt.Sprintf(`[null,"%d","phoenix","heartbeat",{}]`, i))
				wanted = append(wanted, fmt.Sprintf(`[null,"%d","phoenix","phx_reply",{"status":"ok","response":{}}]`, i))
			}
			if status := p.post(t, lines...); status != 200 {
				t.Fatalf("a POST of 100 lines is answered %d", status)
			}
			p.expect(t, wanted...)
		}},
		{"POST: as many lines as the body limit allows", func(t *testing.T) {
			p := begin(t, s.public)
			if status := p.post(t, strings.Split(strings.Repeat(beats+"\n", 500), "\n")[:500]...); status != 200 {
				t.Errorf("a POST of 500 lines is answered %d", status)
			}
		}},
		{"POST: a line that is no [ is base64 of a binary frame", func(t *testing.T) {
			p := begin(t, s.public)
			if status := p.post(t, base64.StdEncoding.EncodeToString([]byte(pushed(64))), beats); status != 200 {
				t.Fatalf("a POST is answered %d", status)
			}
			p.expect(t, refused, beaten)
		}},
		{"POST: any other content type is one message", func(t *testing.T) {
			for _, kind := range []string{"application/json", "text/plain", ""} {
				p := begin(t, s.public)
				spread := strings.ReplaceAll(beats, ",", ",\n")
				answer := request(t, http.MethodPost, s.public, p.path(), map[string]string{"Content-Type": kind}, spread)
				if answer.Status != 200 {
					t.Fatalf("a message of type %q is answered %d", kind, answer.Status)
				}
				p.expect(t, beaten)
			}
		}},
		{"POST: a channel's own error is still 200", func(t *testing.T) {
			p := begin(t, s.public)
			if status := p.post(t, `["1","1","denied:poll","phx_join",{}]`); status != 200 {
				t.Errorf("a join that is denied is answered %d", status)
			}
			p.expect(t, `["1","1","denied:poll","phx_reply",{"status":"error","response":{"reason":"unauthorized"}}]`)
		}},
		{"POST: 410 when gone", func(t *testing.T) {
			for _, token := range []string{"", "never.issued", "null"} {
				p := &poller{s.public, token}
				if status := p.post(t, beats); status != 410 {
					t.Errorf("a POST with token %q is answered %d", token, status)
				}
			}
		}},
		{"POST: what is malformed or too large ends the session", func(t *testing.T) {
			for _, wrong := range []string{"[1", `{"topic":"phoenix"}`, "!base64!", filled(64<<10 + 1)} {
				p := begin(t, s.public)
				if status := p.post(t, wrong); status == 200 {
					t.Errorf("%.20s is answered 200", wrong)
				}
				if answer := get(t, s.public, p.path(), nil); answer.Status != 500 {
					t.Errorf("the session that sent %.20s answers %+v", wrong, answer)
				}
			}
		}},
		{"GET with a token that never was: a new session", func(t *testing.T) {
			for _, token := range []string{"never.issued", "null", "undefined", "", "poll.a.b", "poll.a.b.c.d.e", "poll." + strings.Repeat("x", 3000)} {
				answer := get(t, s.public, longpoll+"&token="+url.QueryEscape(token), nil)
				if answer.Status != 410 || answer.Token == nil || *answer.Token == token {
					t.Errorf("a poll with token %.20q is answered %+v", token, answer)
				}
			}
		}},
		{"GET with a token of before a restart: 500", func(t *testing.T) {
			if answer := get(t, s.public, longpoll+"&token=poll.1.bm9kZQ.a.b", nil); answer.Status != 500 || answer.Token != nil {
				t.Errorf("answered %+v", answer)
			}
		}},
		{"slashes that mean nothing", func(t *testing.T) {
			for _, path := range []string{"/socket//longpoll?vsn=2.0.0", "//socket/longpoll/?vsn=2.0.0"} {
				if answer := get(t, s.public, path, nil); answer.Status != 410 {
					t.Errorf("%s is answered %+v", path, answer)
				}
			}
		}},
		{"token: the header wins", func(t *testing.T) {
			p := begin(t, s.public)
			if answer := request(t, http.MethodPost, s.public, longpoll+"&token=never.issued",
				map[string]string{"Content-Type": "application/x-ndjson", "X-Phoenix-LongPoll-Token": p.token}, beats); answer.Status != 200 {
				t.Fatalf("a POST with the token in its header is answered %d", answer.Status)
			}
			answer := get(t, s.public, longpoll+"&token=never.issued", map[string]string{"X-Phoenix-LongPoll-Token": p.token})
			if answer.Status != 200 || len(answer.Messages) != 1 {
				t.Errorf("a poll with the token in its header is answered %+v", answer)
			}
		}},
		{"token: the last one, after an application's own", func(t *testing.T) {
			p := begin(t, s.public)
			path := "/socket/longpoll?token=application&vsn=2.0.0&token=" + url.QueryEscape(p.token)
			if answer := request(t, http.MethodPost, s.public, path, ndjson, beats); answer.Status != 200 {
				t.Fatalf("a POST is answered %d", answer.Status)
			}
			if answer := get(t, s.public, path, nil); answer.Status != 200 || len(answer.Messages) != 1 {
				t.Errorf("a poll is answered %+v", answer)
			}
		}},
		{"refused: 403", func(t *testing.T) {
			for _, path := range []string{"/socket/longpoll?vsn=3.0.0", "/socket/longpoll?vsn=2.1.0"} {
				if answer := get(t, s.public, path, nil); answer.Status != 403 {
					t.Errorf("%s is answered %d", path, answer.Status)
				}
			}
			if answer := get(t, s.public, longpoll, map[string]string{"Origin": "http://evil.example"}); answer.Status != 403 {
				t.Errorf("a page of another origin is answered %d", answer.Status)
			}
		}},
		{"missing vsn means 1.0.0", func(t *testing.T) {
			answer := get(t, s.public, "/socket/longpoll", nil)
			if answer.Status != 410 || answer.Token == nil {
				t.Fatalf("a poll without version is answered %+v", answer)
			}
			p := &poller{s.public, *answer.Token}
			request(t, http.MethodPost, s.public, p.path(), nil, `{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"1"}`)
			p.expect(t, `{"topic":"phoenix","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"1"}`)
		}},
		{"OPTIONS answers the preflight", func(t *testing.T) {
			origin := "http://" + s.public
			answer, err := try(t, http.MethodOptions, s.public, longpoll, map[string]string{
				"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-phoenix-authtoken,content-type"}, "")
			if err != nil || answer.code/100 != 2 {
				t.Fatalf("answered %d: %v", answer.code, err)
			}
			headers := strings.ToLower(answer.header.Get("Access-Control-Allow-Headers"))
			if answer.header.Get("Access-Control-Allow-Origin") != origin ||
				!strings.Contains(answer.header.Get("Access-Control-Allow-Methods"), "POST") ||
				!strings.Contains(headers, "x-phoenix-authtoken") || !strings.Contains(headers, "content-type") {
				t.Errorf("answered %v", answer.header)
			}
		}},
		{"other methods: 400", func(t *testing.T) {
			for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodHead} {
				if answer, err := try(t, method, s.public, longpoll, nil, ""); err != nil || answer.code != http.StatusBadRequest {
					t.Errorf("%s is answered %d: %v", method, answer.code, err)
				}
			}
		}},
		{"messages wait for the next poll", func(t *testing.T) {
			p := begin(t, s.public)
			p.post(t, `["1","1","chat:waits","phx_join",{}]`)
			p.expect(t, `["1","1","chat:waits","phx_reply",{"status":"ok","response":{}}]`)
			other := openRaw(t, s.public, "2.0.0")
			other.text(t, `["1","1","chat:waits","phx_join",{}]`)
			other.expectJSON(t, `["1","1","chat:waits","phx_reply",{"status":"ok","response":{}}]`)
			var wanted []string
			for i := range 10 {
				other.text(t, fmt.Sprintf(`["1","2","chat:waits","said",{"n":%d,"text":"\"\\é"}]`, i))
				wanted = append(wanted, fmt.Sprintf(`[null,null,"chat:waits","said",{"n":%d,"text":"\"\\é"}]`, i))
				other.expectJSON(t, wanted[i])
				other.expectJSON(t, `["1","2","chat:waits","phx_reply",{"status":"ok","response":{}}]`)
			}
			p.expect(t, wanted...)
		}},
		{"a second poll of a session takes the first one's place", func(t *testing.T) {
			p := begin(t, s.public)
			var group errgroup.Group
			statuses := make(chan int, 2) // one send by each poll
			for range 2 {
				group.Go(func() error {
					answer, err := try(t, http.MethodGet, s.public, p.path(), nil, "")
					statuses <- answer.Status
					return err
				})
			}
			if first := <-statuses; first != 204 {
				t.Errorf("the poll that gave way is answered %d", first)
			}
			p.post(t, beats)
			if second := <-statuses; second != 200 {
				t.Errorf("the poll that stayed is answered %d", second)
			}
			if err := group.Wait(); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(line.says, func(t *testing.T) {
			line.test(t)
		})
	}
}

// TestLongPollWaits takes the protocol's own times.
func TestLongPollWaits(t *testing.T) {
	t.Parallel()
	s := serve(t, "--data-dir", t.TempDir()).ready(t)
	var abandoned *poller
	// attempt has one session be abandoned and another one polled, and tells whether that one
	// has been in time for what comes next, too: there a busy machine may be late.
	attempt := func() (inTime bool) {
		_, metrics := s.get(t, "/metrics")
		before := counted(t, metrics, "sluice_sockets_closed_total", `reason="poll_timeout"`)
		patient := begin(t, s.public)
		abandoned = begin(t, s.public)
		ended := func(metrics string) int {
			return counted(t, metrics, "sluice_sockets_closed_total", `reason="poll_timeout"`) - before
		}
		late := func(answer any) {
			t.Logf("the session that polled answers %+v: it has to have ended, for nobody polled in time", answer)
			s.await(t, "/metrics", func(_ int, body string) bool { return ended(body) == 2 })
		}
		if answer := get(t, s.public, patient.path(), nil); answer.Status != 204 || answer.Token == nil || *answer.Token != patient.token {
			late(answer)
			return false
		}
		s.await(t, "/metrics", func(_ int, body string) bool { return ended(body) > 0 })
		if status := abandoned.post(t, beats); status != 410 {
			t.Errorf("a POST to a session that ended is answered %d", status)
		}
		if status := patient.post(t, beats); status != 200 {
			late(status)
			return false
		}
		answer := get(t, s.public, patient.path(), nil)
		if answer.Status != 200 || len(answer.Messages) != 1 || plain(t, answer.Messages[0]) != plain(t, beaten) {
			late(answer)
			return false
		}
		return true
	}
	t.Run("GET alive: 204 with none, and a session ends after its last poll", func(t *testing.T) {
		for end := time.Now().Add(patience); !attempt(); {
			if time.Now().After(end) {
				t.Fatal("no session is polled in time")
			}
		}
	})
	t.Run("a token that was once valid here is answered 500", func(t *testing.T) {
		if answer := get(t, s.public, abandoned.path(), nil); answer.Status != 500 {
			t.Errorf("answered %+v", answer)
		}
	})
}
