package socket

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

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
		e.tell(r, pageRejected())
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
		e.reject(w, r, &rejection{rejectedRequest, http.StatusBadRequest, "method is not GET, POST or OPTIONS", "use a Phoenix client"})
	}
}

// allowOrigin tells whether the page that a request comes from may connect, and
// if so lets it read the answer.
func (e *Endpoint) allowOrigin(w http.ResponseWriter, r *http.Request) bool {
	if !e.gate.allows(r) {
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

// find returns the session that a token names, or else the node that holds it, as the
// bus knows it. It returns neither if nobody does.
func (e *Endpoint) find(token string) (p *longpollSession, holder string) {
	node, issued := e.tokens.holder(token)
	switch {
	case !issued:
		return nil, ""
	case node != e.tokens.node:
		return nil, node
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.longpolls[token], ""
}

// pollGet answers with what there is for a client, or begins a session.
func (e *Endpoint) pollGet(w http.ResponseWriter, r *http.Request, params Params, token string) {
	// As long as there is a body, the server does not tell whether the client is
	// still there.
	if _, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxGetBody)); err != nil {
		e.reject(w, r, &rejection{rejectedRequest, http.StatusBadRequest, "a GET with a body", "use a Phoenix client"})
		return
	}
	if token != "" && !e.config.Handover.awaitOpen(r.Context(), handedAway) {
		answer(w, pollNothing, token, nil)
		return
	}
	p, holder := e.find(token)
	switch {
	case holder != "":
		e.handGet(w, r, token, holder)
		return
	case p == nil && token != "":
		// A session of before a restart, or that has ended. Clients before 1.8.2
		// do not join again when they are told that the session is gone.
		answer(w, pollError, "", nil)
		return
	case p == nil:
		e.pollOpen(w, r, params)
		return
	}
	g := newPollRequest(w, r)
	switch p.fetch(g, pollTimeout) {
	case pollTook:
		switch {
		case r.Context().Err() != nil:
			p.keep()
		case answer(w, pollOK, p.token, p.batch.Frames) != nil:
			p.answered(false)
		default:
			e.metrics.wrote(&p.batch, p.took)
			p.answered(true)
		}
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
	if !e.config.Handover.awaitOpen(r.Context(), handedAway) {
		answer(w, pollError, "", nil)
		return
	}
	admitted, rejected := e.admit(r, params, r.Header.Get(authTokenHeader))
	if rejected != nil {
		e.tell(r, rejected)
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
	body := answerHead(status, token)
	for _, frame := range frames {
		body = append(body, frame...)
	}
	body = append(bytes.TrimSuffix(body, []byte(",")), answerTail...)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, err := w.Write(body)
	if err == nil {
		err = http.NewResponseController(w).Flush()
	}
	return err
}

// answerHead is what stands before an answer's messages, and answerTail after them.
func answerHead(status int, token string) []byte {
	head := fmt.Appendf(nil, `{"status":%d,"token":`, status)
	if token == "" {
		head = append(head, "null"...)
	} else {
		head = phoenix.AppendQuoted(head, token)
	}
	return append(head, `,"messages":[`...)
}

const answerTail = "]}"
