package httpserver

import (
	"io"
	"net/http"
	"strconv"
	"time"
)

// Bounds of a lingering close, by which a client that is still sending when it has
// been answered gets to see the answer: closing a connection with unread data
// resets it, and what the client has not read by then is lost (RFC 9112, section 9.6).
const (
	lingerSilence = 5 * time.Second  // how long the client may send nothing
	lingerTime    = 30 * time.Second // in all
	lingerBytes   = 64 << 20         // in all

	lingerAtDrain = time.Second / 2 // at least, for bodies that draining has cut short
)

// maxHeld is how much of an answer is held back while the request's body has not
// been read to its end. All that refuse a request are shorter.
const maxHeld = 2 << 10

// held is the beginning of an answer, until the handler has returned: its length
// is known then, so that the client knows where it ends while the rest of its
// body is still being read.
type held struct {
	status int // 0: none has been given
	body   []byte
}

// WriteHeader implements http.ResponseWriter.
func (x *exchange) WriteHeader(status int) {
	if x.status == 0 && status >= 200 { // others are followed by one of these
		x.status = status
	}
	switch {
	case status < http.StatusOK || !x.holds():
		x.ResponseWriter.WriteHeader(status)
	case x.held.status == 0:
		x.held.status = status
	}
}

// holds tells whether the answer is held back.
func (x *exchange) holds() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.holding
}

// release sends what is held back. Whole says that it is the whole answer.
func (x *exchange) release(whole bool) error {
	if !x.holds() {
		return nil
	}
	x.mu.Lock()
	x.holding = false
	x.allowWrite(x.guard.deadlines.Write)
	unread := x.reading
	x.mu.Unlock()
	status, body := x.held.status, x.held.body
	if status == 0 {
		status = http.StatusOK
	}
	x.held = held{}
	header := x.Header()
	if whole && header.Get("Content-Length") == "" && hasBody(status) && (len(body) > 0 || x.request.Method != http.MethodHead) {
		header.Set("Content-Length", strconv.Itoa(len(body)))
	}
	if unread && x.request.ContentLength < 0 {
		// Of a body without a length the server would not know how much there is to
		// read before it answers, and what it cannot read is no next request.
		header.Set("Connection", "close")
	}
	x.ResponseWriter.WriteHeader(status)
	if len(body) == 0 {
		return nil
	}
	_, err := x.ResponseWriter.Write(body)
	return err
}

// hasBody tells whether answers of this status have a body (RFC 9110, section 6.4.1).
func hasBody(status int) bool {
	return status != http.StatusNoContent && status != http.StatusNotModified
}

// linger sends the answer, then reads what the client is still sending, within
// bounds. The server closes the connection after it if there is more.
func (x *exchange) linger() {
	if !x.lingers {
		return
	}
	x.mu.Lock()
	rest := x.reading && !x.over
	x.write.given = time.Time{} // the handler's ends with it
	x.mu.Unlock()
	if x.release(true) != nil || !rest || x.FlushError() != nil {
		return
	}
	x.mu.Lock()
	x.lingering = true
	limit := time.Now().Add(lingerTime)
	if x.left > 0 { // of which it may have had some
		if limit = time.Now().Add(lingerAtDrain); limit.Before(x.read.limit) {
			limit = x.read.limit
		}
	}
	x.read.given, x.read.limit = time.Time{}, limit
	x.mu.Unlock()
	_, _ = io.CopyN(io.Discard, x.request.Body, lingerBytes) // an error means that the client has gone
}
