package hooks

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/internal/testmain"
	"github.com/sluicehq/sluice/internal/verdict"
	"github.com/sluicehq/sluice/metrics"
)

func TestMain(m *testing.M) { testmain.Main(m) }

const secretA, secretB = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"

// secrets are read from a file.
func secrets(t *testing.T, text string) (*Secrets, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return ReadSecrets(path, slog.New(slog.DiscardHandler))
}

// journal is a log's text.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// patience is how long an answer may take that is to come.
const patience = 10 * time.Minute

// caller calls a backend.
func caller(t *testing.T, name, url string, limits verdict.Limits) (*Caller, *metrics.Set, *journal) {
	t.Helper()
	signed, err := secrets(t, secretA)
	if err != nil {
		t.Fatal(err)
	}
	set, err := metrics.New(metrics.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	log := new(journal)
	c, err := New(Config{Name: name, URL: url, Limits: limits, Secrets: signed, Metrics: set, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, set, log
}

// counted is what /metrics has of answers with a reason.
func counted(set *metrics.Set, hook, reason string) bool {
	w := httptest.NewRecorder()
	set.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return strings.Contains(w.Body.String(), fmt.Sprintf(`sluice_hook_answers_total{hook=%q,reason=%q} 1`, hook, reason))
}

// TestAnswers has a backend answer in every way, right and wrong.
func TestAnswers(t *testing.T) {
	t.Parallel()
	large := `{"allow":true,"response":{"a":"` + strings.Repeat("a", 10<<20) + `"}}`
	for name, c := range map[string]struct {
		hook   string // Join if empty
		status int
		header [2]string
		body   string
		allow  bool
		reason string // of a denial
		fault  Fault
		log    string // what it says
	}{
		"yes":                           {status: 200, body: `{"allow":true,"response":{"a":1},"expires_at":33333333333}`, allow: true},
		"yes and more":                  {status: 200, body: ` {"allow":true,"Allow":false,"new":{"x":[]},"response":null,"expires_at":null}`, allow: true},
		"no":                            {status: 200, body: `{"allow":false}`},
		"no, and why":                   {status: 200, body: `{"allow":false,"reason":"banned"}`, reason: "banned"},
		"over before it began":          {status: 200, body: `{"allow":true,"expires_at":5}`},
		"401":                           {status: 401, body: `<html>`},
		"403":                           {status: 403, body: `{"allow":true,"reason":"banned"}`, reason: "banned"},
		"403 with a wrong reason":       {status: 403, body: `{"allow":true,"reason":5}`},
		"empty":                         {status: 200, fault: Malformed, log: "it is no JSON"},
		"nothing":                       {status: 204, fault: BadStatus, log: "status 204: expected is 200, 401 or 403"},
		"201":                           {status: 201, body: `{"allow":true}`, fault: BadStatus, log: "status 201"},
		"500":                           {status: 500, body: `{"allow":true}`, fault: BadStatus, log: "status 500"},
		"429":                           {status: 429, body: `{"allow":true}`, fault: BadStatus, log: "status 429"},
		"redirected":                    {status: 302, header: [2]string{"Location", "/yes"}, fault: BadStatus, log: "redirects are not followed"},
		"redirected to nowhere":         {status: 307, body: `{"allow":true}`, fault: BadStatus, log: "redirects are not followed"},
		"a page":                        {status: 200, body: `<html>yes</html>`, fault: Malformed, log: "it is no JSON"},
		"cut":                           {status: 200, body: `{"allow":true`, fault: Malformed, log: "it is no JSON"},
		"two":                           {status: 200, body: `{"allow":true}{"allow":true}`, fault: Malformed, log: "it is no JSON"},
		"twice":                         {status: 200, body: `{"allow":false,"allow":true}`, fault: Malformed, log: "it is no JSON"},
		"null":                          {status: 200, body: `null`, fault: Malformed, log: "allow must be there"},
		"true":                          {status: 200, body: `true`, fault: Malformed, log: "it must be a JSON object"},
		"a list":                        {status: 200, body: `[{"allow":true}]`, fault: Malformed, log: "it must be a JSON object"},
		"silent":                        {status: 200, body: `{"response":{}}`, fault: Malformed, log: "allow must be there"},
		"in other letters":              {status: 200, body: `{"ALLOW":true}`, fault: Malformed, log: "allow must be there"},
		"null for allow":                {status: 200, body: `{"allow":null}`, fault: Malformed, log: "allow must be there"},
		"a word for allow":              {status: 200, body: `{"allow":"true"}`, fault: Malformed, log: "allow must be true or false"},
		"1 for allow":                   {status: 200, body: `{"allow":1}`, fault: Malformed, log: "allow must be true or false"},
		"a number for reason":           {status: 200, body: `{"allow":false,"reason":5}`, fault: Malformed, log: "reason must be a string"},
		"a long reason":                 {status: 200, body: `{"allow":false,"reason":"` + strings.Repeat("a", maxReason+1) + `"}`, fault: Malformed, log: "reason must be at most 255 bytes"},
		"a list for response":           {status: 200, body: `{"allow":true,"response":[]}`, fault: Malformed, log: "response must be a JSON object"},
		"a date for expires_at":         {status: 200, body: `{"allow":true,"expires_at":"2030-01-01"}`, fault: Malformed, log: "expires_at must be a number of seconds since 1970"},
		"nanoseconds for expires_at":    {status: 200, body: `{"allow":true,"expires_at":1764209000000000000}`, fault: Malformed, log: "expires_at must be a number of seconds since 1970"},
		"a negative expires_at":         {status: 200, body: `{"allow":true,"expires_at":-1}`, fault: Malformed, log: "expires_at must be a number of seconds since 1970"},
		"10 MB":                         {status: 200, body: large, fault: TooLarge, log: "more than 262144 bytes"},
		"10 MB of a denial":             {status: 403, body: large, fault: TooLarge, log: "more than 262144 bytes"},
		"bytes that are no UTF-8":       {status: 200, body: "{\"allow\":true,\"response\":{\"a\":\"\xff\"}}", fault: Malformed, log: "it is no JSON"},
		"connect":                       {hook: Connect, status: 200, body: `{"allow":true,"sub":"7","topics":["a"],"claims":{"a":1}}`, allow: true},
		"connect, a number for sub":     {hook: Connect, status: 200, body: `{"allow":true,"sub":7}`, fault: Malformed, log: "sub must be a string"},
		"connect, a sub of two lines":   {hook: Connect, status: 200, body: `{"allow":true,"sub":"7\n"}`, fault: Malformed, log: "sub must be at most 255 bytes, without control"},
		"connect, a long sub":           {hook: Connect, status: 200, body: `{"allow":true,"sub":"` + strings.Repeat("7", maxSubject+1) + `"}`, fault: Malformed, log: "sub must be at most 255"},
		"connect, a word for topics":    {hook: Connect, status: 200, body: `{"allow":true,"topics":"*"}`, fault: Malformed, log: "topics must be a list of strings"},
		"connect, numbers for topics":   {hook: Connect, status: 200, body: `{"allow":true,"topics":[1]}`, fault: Malformed, log: "topics must be a list of strings"},
		"connect, null for topics":      {hook: Connect, status: 200, body: `{"allow":true,"topics":null}`, fault: Malformed, log: "topics must be a list of strings"},
		"connect, a list for claims":    {hook: Connect, status: 200, body: `{"allow":true,"claims":[]}`, fault: Malformed, log: "claims must be a JSON object"},
		"push":                          {hook: Push, status: 200, body: `{"allow":true,"do":"log","event":"said","payload":{"a":1},"reply":{}}`, allow: true},
		"push, of which nothing comes":  {hook: Push, status: 200, body: `{"allow":true}`, allow: true},
		"push, do what there is not":    {hook: Push, status: 200, body: `{"allow":true,"do":"publish"}`, fault: Malformed, log: `do must be \"broadcast\", \"log\" or \"none\"`},
		"push, a reserved event":        {hook: Push, status: 200, body: `{"allow":true,"do":"broadcast","event":"phx_reply"}`, fault: Malformed, log: "event must be one that clients can be sent"},
		"push, a list for its payload":  {hook: Push, status: 200, body: `{"allow":true,"do":"log","payload":[1]}`, fault: Malformed, log: "payload must be a JSON object"},
		"push, a number for what it is": {hook: Push, status: 200, body: `{"allow":true,"do":1}`, fault: Malformed, log: "do must be"},
		"push, a word for its reply":    {hook: Push, status: 200, body: `{"allow":true,"reply":"yes"}`, fault: Malformed, log: "reply must be a JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/yes" {
					t.Error("the redirect was followed")
				}
				if c.header[0] != "" {
					w.Header().Set(c.header[0], c.header[1])
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body) // of which not all may be read
			}))
			defer backend.Close()
			if c.hook == "" {
				c.hook = Join
			}
			h, set, log := caller(t, c.hook, backend.URL+"/hook?key=hidden", verdict.Limits{MaxInFlight: 1, Timeout: patience, Cache: time.Hour})
			said, err := h.Ask(t.Context(), verdict.Question{Key: verdict.Key{1}}, Question{Topic: "room:7"})
			var denial *Denial
			var unavailable *Unavailable
			reason := "allowed"
			switch {
			case c.allow:
				if err != nil {
					t.Errorf("not allowed: %v", err)
				}
			case c.fault != "":
				reason = string(c.fault)
				if !errors.As(err, &unavailable) || unavailable.Fault != c.fault {
					t.Errorf("got %v, %v; want the fault %s", said, err, c.fault)
				}
			default:
				reason = "denied"
				if !errors.As(err, &denial) || denial.Reason != c.reason {
					t.Errorf("got %v, %v; want the denial %q", said, err, c.reason)
				}
			}
			if !counted(set, c.hook, reason) {
				t.Errorf("%s is not counted", reason)
			}
			if text := log.String(); c.fault != "" && !strings.Contains(text, c.log) || c.fault == "" && text != "" || strings.Contains(text, "hidden") {
				t.Errorf("the log says %q", text)
			}
		})
	}
}

// TestNoAnswer asks what is down, what never answers, and what does not end.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	const down = "http://127.0.0.1:1" // where nobody listens, and no test ever will
	over := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/endless" {
			_, _ = io.WriteString(w, `{"allow":true`)
			_ = http.NewResponseController(w).Flush()
		}
		<-over
	}))
	defer slow.Close()
	defer close(over)
	cut := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer cut.Close()
	for url, fault := range map[string]Fault{down: Unreachable, slow.URL: Timeout, slow.URL + "/endless": Timeout, cut.URL: Unreachable} {
		limits := verdict.Limits{MaxInFlight: 1, Timeout: patience}
		if fault == Timeout {
			limits.Timeout = 20 * time.Millisecond
		}
		for _, name := range []string{Join, Push, Connect} {
			h, set, log := caller(t, name, url, limits)
			_, err := h.Ask(t.Context(), verdict.Question{}, Question{})
			var unavailable *Unavailable
			if !errors.As(err, &unavailable) || unavailable.Fault != fault || !counted(set, name, string(fault)) {
				t.Errorf("%s: %v; want %s", url, err, fault)
			}
			if !strings.Contains(log.String(), "fault="+string(fault)) {
				t.Errorf("%s: the log says %q", url, log)
			}
		}
	}
}

// TestBusyAndGone has more come than are asked, and one leave.
func TestBusyAndGone(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	var asked atomic.Int64
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		<-over
		_, _ = io.WriteString(w, `{"allow":true}`)
	}))
	defer backend.Close()
	h, set, _ := caller(t, Join, backend.URL, verdict.Limits{MaxInFlight: 1, Timeout: patience})
	var group sync.WaitGroup
	gone, leave := context.WithCancel(t.Context())
	group.Go(func() {
		if _, err := h.Ask(gone, verdict.Question{}, Question{}); !errors.Is(err, context.Canceled) {
			t.Errorf("who has gone was told %v", err)
		}
	})
	until(t, func() bool { return asked.Load() == 1 })
	const room = 16
	for range room {
		group.Go(func() {
			if _, err := h.Ask(t.Context(), verdict.Question{}, Question{}); err != nil {
				t.Error(err)
			}
		})
	}
	until(t, func() bool { _, waiting := h.Load(); return waiting == room })
	var unavailable *Unavailable
	if _, err := h.Ask(t.Context(), verdict.Question{}, Question{}); !errors.As(err, &unavailable) || unavailable.Fault != Busy || !counted(set, Join, "busy") {
		t.Errorf("one too many was told %v", err)
	}
	leave()
	close(over)
	group.Wait()
	if got := asked.Load(); got != 1+room {
		t.Errorf("asked %d times", got)
	}
}

// until waits until something is so.
func until(t *testing.T, so func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come about")
		}
	}
}

// TestRequestsAreSigned looks at a request as a backend does.
func TestRequestsAreSigned(t *testing.T) {
	t.Parallel()
	seen := make(chan struct {
		header http.Header
		body   []byte
	}, 1)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		seen <- struct {
			header http.Header
			body   []byte
		}{r.Header, body}
		_, _ = io.WriteString(w, `{"allow":true}`)
	}))
	defer backend.Close()
	h, _, _ := caller(t, Join, backend.URL, verdict.Limits{MaxInFlight: 1, Timeout: patience})
	var err error
	if h.config.Secrets, err = secrets(t, secretA+"\n\n"+secretB+"\n"); err != nil {
		t.Fatal(err)
	}
	before := time.Now().Unix()
	if _, err := h.Ask(t.Context(), verdict.Question{}, Question{Topic: "room:7", Params: json.RawMessage(`{"a":1}`), Node: "a",
		Socket: &Peer{ID: "user:7", Subject: "7", Claims: json.RawMessage(`{"role":"x"}`), RemoteAddr: "192.0.2.1:5", Transport: "websocket"}}); err != nil {
		t.Fatal(err)
	}
	got := <-seen
	const want = `{"hook":"join","topic":"room:7","params":{"a":1},"socket":{"id":"user:7","sub":"7","claims":{"role":"x"},"remote_addr":"192.0.2.1:5","transport":"websocket"},"node":"a"}`
	if string(got.body) != want {
		t.Errorf("asked\n%s\nwant\n%s", got.body, want)
	}
	id, at := got.header.Get("webhook-id"), got.header.Get("webhook-timestamp")
	var seconds int64
	if _, err := fmt.Sscan(at, &seconds); err != nil || seconds < before || seconds > time.Now().Unix() || len(id) < 20 {
		t.Errorf("id %q, timestamp %q, %v", id, at, err)
	}
	signatures := strings.Fields(got.header.Get("webhook-signature"))
	for i, secret := range []string{secretA, secretB} {
		key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + at + "." + want))
		if len(signatures) != 2 || signatures[i] != "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)) {
			t.Errorf("signatures %q, of which %d is not of %s", signatures, i, secret)
		}
	}
	// The example of the specification.
	example := http.Header{}
	one, err := secrets(t, secretA)
	if err != nil {
		t.Fatal(err)
	}
	one.Sign(example, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if got := example.Get("webhook-signature"); got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Errorf("the example is signed %s", got)
	}
}

// TestSecretsAndURLs refuses what cannot be used.
func TestSecretsAndURLs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "it has no secret", "\n \n": "it has no secret", "hello": "line 1 is no secret",
		secretA + "\nwhsec_" + strings.Repeat("a", 400):                         "line 2 is no secret",
		"whsec_" + base64.StdEncoding.EncodeToString(make([]byte, minSecret-1)): "line 1 is no secret",
		"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw":                                      "line 1 is no secret",
	} {
		if _, err := secrets(t, text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "aaa") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := ReadSecrets(filepath.Join(t.TempDir(), "none"), slog.New(slog.DiscardHandler)); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	for url, ok := range map[string]bool{
		"http://a/b": true, "https://user:pass@a:1/b?c=d": true, "HTTP://A": true,
		"": false, "a/b": false, "//a/b": false, "ftp://a": false, "http://": false, "http://:80/": false, "http://a b": false, "http://a/#x": false, "unix:///a": false,
	} {
		if err := CheckURL(url); (err == nil) != ok {
			t.Errorf("%q: %v", url, err)
		}
	}
}
