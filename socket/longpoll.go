package socket

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sluicehq/sluice/socket/phoenix"
)

const (
	pollTokenHeader = "X-Phoenix-Longpoll-Token"
	authTokenHeader = "X-Phoenix-Authtoken"
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
		e.metrics.rejected[rejectedOrigin].Add(1)
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
		e.reject(w, &rejection{rejectedRequest, http.StatusBadRequest, "method is not GET, POST or OPTIONS", "use a Phoenix client"})
	}
}

// allowOrigin tells whether the page that a request comes from may connect, and
// if so lets it read the answer.
func (e *Endpoint) allowOrigin(w http.ResponseWriter, r *http.Request) bool {
	if !e.letsPage(r) {
		return false
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Add("Vary", "Origin")
	}
	return true
}

// pollParams reads the parameters of a request, and apart from them the
// session's token, "" if there is none. Older clients send it behind a parameter
// of the same name that is the application's.
func pollParams(r *http.Request) (Params, string) {
	query := r.URL.RawQuery
	token := r.Header.Get(pollTokenHeader)
	if encoded, others, found := cutLast(query, "token"); found {
		if last, err := url.QueryUnescape(encoded); err == nil && (isToken(last) || isNoToken(last)) {
			if !isToken(token) {
				token = last
			}
			query = others
		}
	}
	if !isToken(token) {
		token = ""
	}
	return parseParams(query), token
}

// find returns the session that a token names, or nil.
func (e *Endpoint) find(token string) *longpollSession {
	if !e.tokens.issued(token) {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.longpolls[token]
}

// pollGet answers with what there is for a client, or begins a session.
func (e *Endpoint) pollGet(w http.ResponseWriter, r *http.Request, params Params, token string) {
	// As long as there is a body, the server does not tell whether the client is
	// still there.
	if _, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxGetBody)); err != nil {
		e.reject(w, &rejection{rejectedRequest, http.StatusBadRequest, "a GET with a body", "use a Phoenix client"})
		return
	}
	p := e.find(token)
	switch {
	case p == nil && token != "":
		// A session of before a restart, or of another node. Clients before 1.8.2
		// do not join again when they are told that the session is gone.
		answer(w, pollError, "", nil)
		return
	case p == nil:
		e.pollOpen(w, r, params)
		return
	}
	g := newPollRequest(w, r)
	switch p.fetch(g) {
	case pollTook:
		start := time.Now()
		written := r.Context().Err() == nil && answer(w, pollOK, p.token, p.batch.Frames) == nil
		if written {
			e.metrics.wrote(&p.batch, start)
		}
		p.answered(written)
	case pollOver:
		answer(w, pollError, "", nil)
	default:
		answer(w, pollNothing, p.token, nil)
	}
}

// maxGetBody is more than anybody has a reason to send with a GET.
const maxGetBody = 1 << 10

// pollOpen begins a session.
func (e *Endpoint) pollOpen(w http.ResponseWriter, r *http.Request, params Params) {
	admitted, rejected := e.admit(r, params, r.Header.Get(authTokenHeader))
	if rejected != nil {
		e.metrics.rejected[rejected.reason].Add(1)
		status := pollForbidden
		if rejected.status == http.StatusServiceUnavailable {
			status = pollError // they come back
		}
		answer(w, status, "", nil)
		return
	}
	p := newLongpollSession(e, admitted.socket, admitted.format)
	p.session.leave = admitted.leave
	if !e.register(p) {
		p.timer.Stop()
		e.metrics.rejected[rejectedDrain].Add(1)
		e.release(admitted.leave)
		answer(w, pollError, "", nil)
		return
	}
	e.confirm(p)
	if answer(w, pollGone, p.token, nil) != nil {
		p.fail(closedLost)
	}
}

// answer answers a poll. The frames, in the format of long-polls, become its
// messages.
func answer(w http.ResponseWriter, status int, token string, frames [][]byte) error {
	body := fmt.Appendf(nil, `{"status":%d,"token":`, status)
	if token == "" {
		body = append(body, "null"...)
	} else {
		body = phoenix.AppendQuoted(body, token)
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
