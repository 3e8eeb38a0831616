package webhooks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sluicehq/sluice/store"
)

// Pauses between a request and its repetition: they double, and are spread by a quarter
// either way.
const firstPause, longestPause = time.Second, 5 * time.Minute

// maxAnswer is how much of an answer is read, so that its connection can be used again, and
// maxQuoted how much of one that refuses is told.
const maxAnswer, maxQuoted = 64 << 10, 200

// result is what came of a request, as metrics have it.
type result string

// The results that there are.
const (
	accepted    result = "accepted"
	refused     result = "status" // another status than 2xx
	timeout     result = "timeout"
	unreachable result = "unreachable"
)

var results = []result{accepted, refused, timeout, unreachable}

// failing is the kind of what the log tells of requests that fail.
const failing = "failing"

// request is what is sent, as it is for each attempt.
type request struct {
	id   string
	body []byte
}

// failure is a request that was not answered with 2xx.
type failure struct {
	result    result
	err       error
	gone      bool          // the endpoint wants no more of them
	divisible bool          // fewer events may be accepted
	after     time.Duration // that the endpoint asks to be left alone for
}

func (f *failure) Error() string { return f.err.Error() }

// attempt makes a request, for which nobody may do but who has the role. The error is what
// ctx ended with before the answer, or that another node may have the role.
func (s *sender) attempt(ctx context.Context, r *request) (*failure, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.role.Check(); err != nil {
		return nil, err
	}
	// What is under way is answered, or else sent twice: so it outlives ctx for a little.
	under, stop := context.WithTimeout(context.WithoutCancel(ctx), s.hook.Timeout)
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(s.config.Grace, stop) })()
	start := time.Now()
	f := s.post(under, r)
	if f != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	s.counted.time.Observe(time.Since(start))
	if f == nil {
		s.counted.requests[accepted].Add(1)
		return nil, nil
	}
	s.counted.requests[f.result].Add(1)
	if withheld, ok := s.throttle.Allow(failing); ok {
		s.logger.Error("webhook is not accepted, and will be sent again", "url", s.shown, "id", r.id, "error", f, "behind", s.now().Lag, "failed_since", withheld)
	}
	return f, nil
}

func (s *sender) post(ctx context.Context, r *request) *failure {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.hook.URL, bytes.NewReader(r.body))
	if err != nil {
		return &failure{result: unreachable, err: err}
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "sluice")
	s.hook.Secrets.Sign(request.Header, r.id, time.Now(), r.body)
	// It may be sent again where a kept connection turns out to be closed: net/http does so,
	// and sends no header, for one that is there without a value.
	request.Header["Idempotency-Key"] = nil
	response, err := s.client.Do(request)
	if err != nil {
		return s.unanswered(ctx, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	status := response.StatusCode
	switch {
	case status >= 200 && status < 300: // whatever becomes of the rest of the answer
		return nil
	case err != nil:
		return s.unanswered(ctx, err)
	case status >= 300 && status < 400:
		return &failure{result: refused, err: fmt.Errorf("status %d: redirects are not followed, give the URL that it leads to", status)}
	}
	f := &failure{result: refused, err: fmt.Errorf("status %d, expected is 2xx; it says %q", status, answer[:min(len(answer), maxQuoted)])}
	switch status {
	case http.StatusGone:
		f.gone = true
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		f.divisible = true
	}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
		f.after = min(time.Duration(min(seconds, 3600))*time.Second, longestPause)
	}
	return f
}

func (s *sender) unanswered(ctx context.Context, err error) *failure {
	if failed := new(url.Error); errors.As(err, &failed) {
		err = failed.Err // without the URL, which may have a password in it
	}
	if ctx.Err() != nil {
		return &failure{result: timeout, err: fmt.Errorf("no answer within %v", s.hook.Timeout)}
	}
	return &failure{result: unreachable, err: err}
}

// pauseAfter waits until the request may be repeated, and tells whether the position is still
// where it was: somebody may move it past what is refused for good.
func (s *sender) pauseAfter(ctx context.Context, at store.Cursor, f *failure) (mine bool, err error) {
	wait := longestPause
	if s.pauses < 10 {
		wait = min(firstPause<<s.pauses, longestPause)
	}
	s.pauses++
	wait = time.Duration(float64(wait) * (0.75 + rand.Float64()/2))
	wait = min(max(wait, f.after), longestPause)
	for until := time.Now().Add(wait); ; {
		left := time.Until(until)
		if left <= 0 {
			return true, nil
		}
		if err := pause(ctx, min(left, lookEvery)); err != nil {
			return false, err
		}
		is, known, err := s.log.Cursor(ctx, store.ConsumerCursors+s.hook.Name)
		if err != nil {
			return false, err
		}
		if !known || is != at {
			s.restart()
			return false, nil
		}
	}
}
