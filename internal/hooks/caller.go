package hooks

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sluicehq/sluice/internal/lograte"
	"github.com/sluicehq/sluice/internal/verdict"
	"github.com/sluicehq/sluice/metrics"
)

// Names of hooks, as requests and metrics have them.
const (
	Connect = "connect"
	Join    = "join"
	Push    = "push"
)

// Fault is what is wrong with a hook, as metrics have it.
type Fault string

// The faults that there are.
const (
	Busy        Fault = "busy"        // too many questions wait
	Timeout     Fault = "timeout"     // it does not answer in time
	Unreachable Fault = "unreachable" // there is no connection to it
	BadStatus   Fault = "status"      // it answers with a status that is neither 200, 401 nor 403
	Malformed   Fault = "malformed"   // it answers what is not understood
	TooLarge    Fault = "too_large"   // it answers more than MaxAnswer
)

// What is counted beside faults.
const (
	allowed    = "allowed"
	denied     = "denied"
	remembered = "remembered"
)

var faults = []Fault{Busy, Timeout, Unreachable, BadStatus, Malformed, TooLarge}

// Unavailable is the error where a hook has given no answer.
type Unavailable struct {
	Fault Fault
	Err   error
}

func (e *Unavailable) Error() string { return fmt.Sprintf("hook (%s): %v", e.Fault, e.Err) }

// Unwrap returns what is behind it.
func (e *Unavailable) Unwrap() error { return e.Err }

// Denial is the error where a hook says no.
type Denial struct {
	Reason string // what the client is to be told; "": it did not say
}

func (e *Denial) Error() string { return "denied by the hook: " + e.Reason }

// Config is what a hook needs. All but Cache is required.
type Config struct {
	Name    string // Connect, Join or Push
	URL     string // absolute, http or https
	Limits  verdict.Limits
	Secrets *Secrets
	Metrics *metrics.Set
	Logger  *slog.Logger
}

// Caller asks one hook. Its methods may be called concurrently.
type Caller struct {
	// Immutable after New.
	config  Config
	shown   string // the URL, as the log has it
	client  *http.Client
	asker   *verdict.Asker[Answer]
	time    *metrics.Timing
	answers map[string]*metrics.Counter

	throttle *lograte.Throttle
}

// logEvery is how often the log tells of one fault of a hook.
const logEvery = 10 * time.Second

// CheckURL returns an error for what is no URL of a hook.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return errors.New("it is no URL") // what is wrong would show a password in it
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Hostname() == "" || u.Fragment != "" {
		return errors.New("it is no absolute URL of http or https")
	}
	return nil
}

// Shown is a URL as the log has it: without what may be secret in it.
func Shown(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "no URL"
	}
	u.User, u.RawQuery = nil, ""
	return u.String()
}

// New returns a hook. It asks nothing yet.
func New(c Config) (*Caller, error) {
	if err := CheckURL(c.URL); err != nil {
		return nil, fmt.Errorf("hook %s: %w", c.Name, err)
	}
	h := &Caller{
		config:   c,
		shown:    Shown(c.URL),
		asker:    verdict.New[Answer](c.Limits),
		time:     c.Metrics.Timing(metrics.HookTime, metrics.Hook(c.Name)),
		answers:  map[string]*metrics.Counter{},
		throttle: lograte.New(logEvery),
		client:   NewClient(c.Limits.MaxInFlight),
	}
	for _, fault := range faults {
		h.answers[string(fault)] = h.counter(string(fault))
	}
	for _, reason := range []string{allowed, denied, remembered} {
		h.answers[reason] = h.counter(reason)
	}
	return h, nil
}

// NewClient returns what makes requests to the application: with so many connections at
// most, following no redirects, as long as the request's context says.
func NewClient(connections int) *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{}).DialContext, // within the context of the request
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    connections,
			MaxConnsPerHost:        connections,
			IdleConnTimeout:        time.Minute,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 64 << 10,
		},
	}
}

func (h *Caller) counter(reason string) *metrics.Counter {
	return h.config.Metrics.Counter(metrics.HookAnswers, metrics.Hook(h.config.Name), metrics.Reason(reason))
}

// Load is how many questions are being asked, and how many wait: none of a hook that is nil.
func (h *Caller) Load() (asked, waiting int) {
	if h == nil {
		return 0, 0
	}
	return h.asker.Load()
}

// Forget drops what is remembered of a group: see [verdict.Asker.Forget].
func (h *Caller) Forget(group string) { h.asker.Forget(group) }

// Close closes connections that are not in use.
func (h *Caller) Close() { h.client.CloseIdleConnections() }

// Ask returns what the hook answers to a question. The error is a [*Denial], an
// [*Unavailable], or what ctx ended with.
func (h *Caller) Ask(ctx context.Context, q verdict.Question, question Question) (Answer, error) {
	question.Hook = h.config.Name
	v, known, err := h.asker.Ask(ctx, q, func(ctx context.Context) (verdict.Verdict[Answer], error) {
		return h.exchange(ctx, &question)
	})
	switch {
	case errors.Is(err, verdict.ErrBusy):
		return Answer{}, h.failed(Busy, fmt.Errorf("%w; max-in-flight is %d", err, h.config.Limits.MaxInFlight))
	case err != nil: // it has been counted, or the client has gone
		return Answer{}, err
	case known:
		h.answers[remembered].Add(1)
		return v.Value, nil
	case v.Allowed:
		h.answers[allowed].Add(1)
		return v.Value, nil
	}
	h.answers[denied].Add(1)
	return Answer{}, &Denial{v.Value.Reason}
}

// exchange is one request and its answer.
func (h *Caller) exchange(ctx context.Context, question *Question) (v verdict.Verdict[Answer], err error) {
	body, err := json.Marshal(question)
	if err != nil {
		return v, h.failed(Malformed, fmt.Errorf("what would be asked is no JSON: %w", err))
	}
	start := time.Now()
	status, text, err := h.post(ctx, body)
	h.time.Observe(time.Since(start))
	switch {
	case err != nil:
		return v, err
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		if said, err := parse(text); err == nil && said.Reason != nil { // whatever else it may say
			v.Value.Reason = *said.Reason
		}
		return v, nil
	case status >= 300 && status < 400:
		return v, h.failed(BadStatus, fmt.Errorf("status %d: redirects are not followed; expected is 200, 401 or 403", status))
	case status != http.StatusOK:
		return v, h.failed(BadStatus, fmt.Errorf("status %d: expected is 200, 401 or 403", status))
	}
	said, err := parse(text)
	if err == nil && *said.Allow {
		v.Value, err = said.read(h.config.Name)
	}
	if err != nil {
		return v, h.failed(Malformed, fmt.Errorf("%w; expected is %s", err, expected[h.config.Name]))
	}
	if said.Reason != nil {
		v.Value.Reason = *said.Reason
	}
	v.Allowed, v.Until, v.Bytes = *said.Allow, v.Value.Expires, len(v.Value.Response)
	if !v.Until.IsZero() && !time.Now().Before(v.Until) {
		v.Allowed = false // it ended before it began
	}
	return v, nil
}

// expected is the shape of answers that allow.
var expected = map[string]string{
	Connect: `{"allow": true, "sub": "7", "topics": ["room:*"], "expires_at": 1764209000, "claims": {}}, or {"allow": false, "reason": "…"}`,
	Join:    `{"allow": true, "response": {}, "expires_at": 1764209000}, or {"allow": false, "reason": "…"}`,
	Push:    `{"allow": true, "do": "broadcast", "event": "…", "payload": {}, "reply": {}}, or {"allow": false, "reason": "…"}`,
}

// post makes a request.
func (h *Caller) post(ctx context.Context, body []byte) (status int, text []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, h.config.URL, bytes.NewReader(body))
	if err != nil {
		return 0, nil, h.failed(Unreachable, err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "sluice")
	h.config.Secrets.Sign(request.Header, "hook_"+strings.ToLower(rand.Text()), time.Now(), body)
	if h.config.Name != Push {
		// A question may be asked again where a kept connection turns out to be closed:
		// net/http does so, and sends no header, for one that is there without a value.
		request.Header["Idempotency-Key"] = nil
	}
	response, err := h.client.Do(request)
	if err != nil {
		return 0, nil, h.unanswered(ctx, err)
	}
	defer response.Body.Close()
	text, err = io.ReadAll(io.LimitReader(response.Body, MaxAnswer+1))
	switch {
	case err != nil:
		return 0, nil, h.unanswered(ctx, err)
	case len(text) > MaxAnswer:
		return 0, nil, h.failed(TooLarge, fmt.Errorf("the answer has more than %d bytes, which is what may be", MaxAnswer))
	}
	return response.StatusCode, text, nil
}

// unanswered says why there is no answer; nothing is wrong if who asked has gone.
func (h *Caller) unanswered(ctx context.Context, err error) error {
	if failure := new(url.Error); errors.As(err, &failure) {
		err = failure.Err // without the URL, which may have a password in it
	}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return context.Canceled
	case ctx.Err() != nil:
		return h.failed(Timeout, fmt.Errorf("no answer within %v", h.config.Limits.Timeout))
	}
	return h.failed(Unreachable, err)
}

// failed counts a fault, and tells the log of it once in a while.
func (h *Caller) failed(fault Fault, err error) error {
	h.answers[string(fault)].Add(1)
	if withheld, ok := h.throttle.Allow(string(fault)); ok {
		h.config.Logger.Error("hook gives no answer, and nobody is let in by it", "hook", h.config.Name, "url", h.shown,
			"fault", string(fault), "error", err, "failed_since", withheld)
	}
	return &Unavailable{fault, err}
}
