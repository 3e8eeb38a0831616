package socket

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// How a stream is kept open. Proxies cut what is silent for 30 to 60 seconds.
const (
	sseRetry   = 2 * time.Second  // how long a browser waits before it comes back
	sseComment = 15 * time.Second // how long a stream is silent at most
	sseQuiet   = 4                // of how many comments one is an id instead, so that who watches quiet topics keeps up
)

// sse serves topics as a stream of server-sent events (WHATWG HTML, section 9.2), to
// whatever speaks HTTP: each topic is a channel that its client has joined with a position.
func (e *Endpoint) sse(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if !e.allowOrigin(w, r) {
		e.reject(w, r, pageRejected())
		return
	}
	switch r.Method {
	case http.MethodOptions:
		w.Header().Set("Access-Control-Allow-Methods", "GET, OPTIONS")
		w.Header().Set("Access-Control-Allow-Headers", "Authorization, Cache-Control, Last-Event-ID")
		w.Header().Set("Access-Control-Max-Age", "3600")
		w.WriteHeader(http.StatusNoContent)
	case http.MethodGet:
		e.sseGet(w, r)
	default:
		w.Header().Set("Allow", "GET, OPTIONS")
		e.reject(w, r, &rejection{rejectedRequest, http.StatusMethodNotAllowed, "method is not GET or OPTIONS", "read the stream with GET"})
	}
}

// sseGet answers with a stream, as long as its client and its access last.
func (e *Endpoint) sseGet(w http.ResponseWriter, r *http.Request) {
	// As long as there is a body, the server does not tell whether the client is
	// still there.
	if _, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxGetBody)); err != nil {
		e.reject(w, r, badStream("a GET with a body", "send none"))
		return
	}
	wish, rejected := parseStreamRequest(r)
	if rejected != nil {
		e.reject(w, r, rejected)
		return
	}
	admitted, rejected := e.enter(r, parseParams(r.URL.RawQuery), authorization(r.Header))
	if rejected != nil {
		e.rejectStream(w, r, rejected)
		return
	}
	s := newSSEStream(e, w, admitted.socket, wish)
	s.session.leave = admitted.leave
	if !e.register(s) {
		e.metrics.rejected[rejectedDrain].Add(1)
		e.release(admitted.leave)
		e.rejectStream(w, r, drainRejected())
		return
	}
	e.confirm(s)
	defer s.finish()
	if rejected := s.join(r.Context()); rejected != nil {
		s.cut(closedChannel, "")
		retryLater(w, rejected)
		respond(w, rejected.status, rejected.text, rejected.hint)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // so that nginx passes each event on as it comes
	w.WriteHeader(http.StatusOK)
	s.serve(r.Context())
}

// rejectStream answers a request that does not become a stream. Browsers come back by
// themselves after a stream has ended, until they are answered 204 (WHATWG HTML, 9.2.3):
// so is who comes back with a token that counts no longer.
func (e *Endpoint) rejectStream(w http.ResponseWriter, r *http.Request, rejected *rejection) {
	over := rejected.reason == rejectReason(TokenExpired) || rejected.reason == rejectReason(TokenRevoked)
	if over && r.Header.Get(lastEventID) != "" {
		e.tell(r, rejected)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	retryLater(w, rejected)
	e.reject(w, r, rejected)
}

func retryLater(w http.ResponseWriter, rejected *rejection) {
	if rejected.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
}

// authorization is the token that a client sends as "Authorization: Bearer", or "".
func authorization(h http.Header) string {
	scheme, token, _ := strings.Cut(h.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// badStream is what is wrong with a request for a stream.
func badStream(text, hint string) *rejection {
	return &rejection{rejectedRequest, http.StatusBadRequest, text, hint}
}

// errChannelEnded says that one of a stream's topics has ended.
var errChannelEnded = errors.New("socket: a channel of the stream has ended")
