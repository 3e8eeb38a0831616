package socket

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sluicehq/sluice/channels"
)

const (
	pollTokenHeader = "X-Phoenix-Longpoll-Token"
	authTokenHeader = "X-Phoenix-Authtoken"
	maxPollLines    = 100 // messages in one POST, as many as the stock client sends
)

// Statuses of the long-poll protocol, which stand in the body. HTTP's is 200.
const (
	pollOK        = 200
	pollNothing   = 204
	pollForbidden = 403
	pollTimedOut  = 408
	pollGone      = 410
	pollError     = 500 // stock clients of all versions connect and join again
)

// longpoll serves what stands in for a WebSocket where none gets through.
func (e *Endpoint) longpoll(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if !e.allowOrigin(w, r) {
		e.meters.refused[refusedOrigin].Add(1)
		answer(w, pollForbidden, "", nil)
		return
	}
	params, token := pollParams(r)
	switch r.Method {
	case http.MethodOptions:
		w.Header().Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
		w.Header().Set("Access-Control-Allow-Headers", "Content-Type, "+authTokenHeader+", "+pollTokenHeader)
		w.Header().Set("Access-Control-Max-Age", "3600")
		w.WriteHeader(http.StatusOK)
	case http.MethodGet:
		e.pollGet(w, r, params, token)
	case http.MethodPost:
		e.pollPost(w, r, token)
	default:
		e.refuse(w, &refusal{refusedRequest, http.StatusBadRequest, "method is not GET, POST or OPTIONS", "use a Phoenix client"})
	}
}

// allowOrigin tells whether the page that a request comes from may connect, and
// if so lets it read the answer.
func (e *Endpoint) allowOrigin(w http.ResponseWriter, r *http.Request) bool {
	if !checkOrigin(r, e.origins) {
		return false
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Add("Vary", "Origin")
	}
	return true
}

// pollParams reads the parameters of a request, and apart from them the
// session's token. Older clients send it behind a parameter of the same name
// that is the application's.
func pollParams(r *http.Request) (Params, string) {
	pairs := strings.Split(r.URL.RawQuery, "&")
	token := r.Header.Get(pollTokenHeader)
	for i := len(pairs) - 1; i >= 0; i-- {
		encoded, found := strings.CutPrefix(pairs[i], "token=")
		if !found {
			continue
		}
		if last, err := url.QueryUnescape(encoded); err == nil && isToken(last) {
			if token == "" {
				token = last
			}
			pairs = append(pairs[:i], pairs[i+1:]...)
		}
		break
	}
	return parseParams(strings.Join(pairs, "&")), token
}

// find returns the session that a token names, or nil.
func (e *Endpoint) find(token string) *poll {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.polls[token]
}

// pollGet answers with what there is for a client, or begins a session.
func (e *Endpoint) pollGet(w http.ResponseWriter, r *http.Request, params Params, token string) {
	p := e.find(token)
	switch {
	case p == nil && e.tokens.issued(token):
		// Clients before 1.8.2 do not join again when they are told that the
		// session is gone.
		answer(w, pollError, "", nil)
	case p == nil:
		e.pollOpen(w, r, params)
	case p.take(r.Context().Done()):
		start := time.Now()
		written := answer(w, pollOK, p.token, p.batch.Frames) == nil
		if written {
			e.meters.wrote(&p.batch, start)
		}
		p.taken(written)
	case p.closing():
		p.taken(true)
		answer(w, pollError, "", nil)
	default:
		p.taken(true)
		answer(w, pollNothing, p.token, nil)
	}
}

// pollOpen begins a session.
func (e *Endpoint) pollOpen(w http.ResponseWriter, r *http.Request, params Params) {
	socket, format, refused := e.admit(r, params, r.Header.Get(authTokenHeader))
	if refused != nil {
		e.meters.refused[refused.reason].Add(1)
		status := pollForbidden
		if refused.status == http.StatusServiceUnavailable {
			status = pollError // they come back
		}
		answer(w, status, "", nil)
		return
	}
	p := newPoll(e, socket, format)
	if !e.register(p) {
		p.grace.Stop()
		e.meters.refused[refusedDrain].Add(1)
		e.release()
		answer(w, pollError, "", nil)
		return
	}
	e.confirm(p)
	if answer(w, pollGone, p.token, nil) != nil {
		p.cut(closedLost, "")
	}
}

// pollPost hands on what a client sends. Whatever is wrong with it ends the
// session.
func (e *Endpoint) pollPost(w http.ResponseWriter, r *http.Request, token string) {
	p := e.find(token)
	if p == nil {
		answer(w, pollGone, "", nil)
		return
	}
	var ends *frameError
	switch err := p.post(r.Body, r.Header.Get("Content-Type")); {
	case err == nil:
		answer(w, pollOK, p.token, nil)
		return
	case errors.Is(err, errDispatch):
		p.cut(closedTooFast, channels.DropClosed)
		answer(w, pollTimedOut, "", nil)
		return
	case errors.Is(err, errMalformed):
		p.cut(closedMalformed, channels.DropClosed)
	case errors.As(err, &ends):
		p.cut(ends.reason, channels.DropClosed)
	default:
		p.cut(closedLost, channels.DropClosed)
	}
	answer(w, pollGone, "", nil)
}

// errDispatch is returned when a client sends more than it may in the time that
// a request has.
var errDispatch = errors.New("socket: dispatch timed out")

// post reads the messages of a POST.
func (p *poll) post(body io.Reader, contentType string) error {
	p.posting.Lock()
	defer p.posting.Unlock()
	limit := p.endpoint.config.MaxMessageBytes
	if kind, _, _ := mime.ParseMediaType(contentType); kind != "application/x-ndjson" {
		data, err := io.ReadAll(io.LimitReader(body, int64(limit)+1))
		if err != nil {
			return err
		}
		return p.receive(data)
	}
	start := time.Now()
	in := bufio.NewScanner(body)
	in.Buffer(nil, base64.StdEncoding.EncodedLen(limit)+2) // a line and its end
	for n := 0; in.Scan(); n++ {
		switch {
		case n == maxPollLines:
			return fmt.Errorf("%w: more than %d lines", errMalformed, maxPollLines)
		case time.Since(start) > pollTimeout:
			return errDispatch
		}
		if err := p.receive(bytes.TrimSpace(in.Bytes())); err != nil {
			return err
		}
	}
	if errors.Is(in.Err(), bufio.ErrTooLong) {
		return errTooLarge
	}
	return in.Err()
}

// receive hands on one message: text, or else binary in base64. An empty one is
// nothing. It waits if the client sends too much.
func (p *poll) receive(data []byte) error {
	limit := p.endpoint.config.MaxMessageBytes
	switch {
	case p.closing():
		return io.ErrClosedPipe
	case len(data) == 0:
		return nil
	case data[0] != '[' && data[0] != '{':
		data, err := base64.StdEncoding.AppendDecode(nil, data)
		if err != nil {
			return fmt.Errorf("%w: %w", errMalformed, err)
		}
		return p.hand(data, true)
	case len(data) > limit:
		return errTooLarge
	case !utf8.Valid(data):
		return errInvalidText
	}
	return p.hand(data, false)
}

func (p *poll) hand(data []byte, binary bool) error {
	time.Sleep(p.session.pace.wait(time.Now()))
	after, err := p.session.take(data, binary)
	if after.do != nil {
		after.do()
	}
	return err
}

// answer answers a poll. The frames, in the format of long-polls, become its
// messages.
func answer(w http.ResponseWriter, status int, token string, frames [][]byte) error {
	body := fmt.Appendf(nil, `{"status":%d,"token":`, status)
	if token == "" {
		body = append(body, "null"...)
	} else {
		body = appendQuoted(body, token)
	}
	body = append(body, `,"messages":[`...)
	for _, frame := range frames {
		body = append(body, frame...)
	}
	body = append(bytes.TrimSuffix(body, []byte(",")), "]}"...)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, err := w.Write(body)
	if err == nil {
		err = http.NewResponseController(w).Flush()
	}
	return err
}
