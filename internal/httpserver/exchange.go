package httpserver

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// exchange is a request that is being served: the ResponseWriter that its
// handler has, and the deadlines of its connection. Whoever has it may set those
// too, by http.ResponseController, until the handler returns: the earlier of theirs and
// ours counts.
//
// Errors in setting a deadline mean that the connection has none, as in tests
// with a recorder, or is closed.
type exchange struct {
	http.ResponseWriter

	// Immutable after Handler.
	guard   *Guard
	control *http.ResponseController
	request *http.Request // as the handler has it
	lingers bool          // once the handler has returned

	held held // owned by the handler

	mu sync.Mutex // also held while a deadline is set, which does not block

	// Guarded by mu.
	reading   bool          // the body has not been read to its end
	holding   bool          // the answer is held back
	lingering bool          // the handler has returned, and the rest of the body is being read
	spent     time.Duration // in reading
	received  int64         // bytes of the body
	left      time.Duration // see Guard; 0 while not draining
	wrote     time.Time     // when the first piece of the answer was written, or draining began since
	read      deadline
	write     deadline
	over      bool // the connection is the handler's (hijacked), or the server's again

	// Owned by the handler's goroutine, for Guard.Measure.
	status int    // 0: none was written
	route  string // of a mux within the handler
}

// deadline is a connection's, in one direction. Zero is none.
type deadline struct {
	own   time.Time // by what we allow
	given time.Time // by whoever else
	limit time.Time // by draining
}

func (d deadline) earliest() time.Time { return earlier(earlier(d.own, d.given), d.limit) }

// earlier is the earlier of two times, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// restOfBody is how long the rest of a body may take once it is being answered:
// the server reads it first if it is not long, so that the connection can serve the
// next request. What comes later, linger reads.
const restOfBody = 5 * time.Second

// restOfAnswer is how long what is left in the server's buffer, some KiB at most,
// may take to be written after the handler has returned.
const restOfAnswer = 5 * time.Second

// begin bounds what comes before the handler reads or writes, or if it never
// does: the server reads the rest of a body that has been left.
func (x *exchange) begin(left time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := time.Now()
	if x.reading {
		x.read.own = now.Add(x.guard.deadlines.Body)
	}
	if !x.streams() {
		x.write.own = now.Add(x.guard.deadlines.Write) // "100 Continue", say
	}
	if x.left = left; left > 0 && x.reading {
		x.read.limit = now.Add(left)
	}
	x.setRead()
	x.setWrite()
}

// end leaves the server time to write what is buffered.
func (x *exchange) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.allowWrite(restOfAnswer)
	x.over = true
}

// drain is Guard.Drain for one exchange.
func (x *exchange) drain(left time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := time.Now()
	x.left = left
	if x.reading {
		x.read.limit = earlier(x.read.limit, now.Add(left))
		x.setRead()
	}
	if !x.wrote.IsZero() {
		x.wrote = now
		x.write.limit = now.Add(left)
		x.setWrite()
	}
}

// allowWrite gives the client time for the next piece. Called with mu held.
func (x *exchange) allowWrite(longest time.Duration) {
	now := time.Now()
	if x.wrote.IsZero() {
		x.wrote = now
		if x.reading { // the server reads the rest before it answers: see restOfBody
			x.read.limit = earlier(x.read.limit, now.Add(restOfBody))
			x.setRead()
		}
	}
	x.write.own = now.Add(min(x.guard.deadlines.Write, longest))
	if x.left > 0 {
		x.write.limit = x.wrote.Add(x.left)
	}
	x.setWrite()
}

func (x *exchange) setRead() {
	if !x.over {
		_ = x.control.SetReadDeadline(x.read.earliest())
	}
}

func (x *exchange) setWrite() {
	if !x.over {
		_ = x.control.SetWriteDeadline(x.write.earliest())
	}
}

// Write implements http.ResponseWriter.
func (x *exchange) Write(p []byte) (n int, err error) {
	if x.holds() {
		if x.held.status == 0 {
			x.WriteHeader(http.StatusOK)
		}
		if len(x.held.body)+len(p) <= maxHeld {
			x.held.body = append(x.held.body, p...)
			return len(p), nil
		}
		if err := x.release(false); err != nil {
			return 0, err
		}
	}
	for {
		piece := p[:min(len(p), writePiece)]
		x.mu.Lock()
		x.allowWrite(x.guard.deadlines.Write)
		x.mu.Unlock()
		wrote, err := x.ResponseWriter.Write(piece)
		n += wrote
		if p = p[wrote:]; err != nil || len(p) == 0 {
			return n, err
		}
	}
}

// FlushError is what http.ResponseController.Flush calls.
func (x *exchange) FlushError() error {
	if err := x.release(false); err != nil {
		return err
	}
	x.mu.Lock()
	x.allowWrite(x.guard.deadlines.Write)
	x.mu.Unlock()
	if err := x.control.Flush(); err != nil {
		return err
	}
	if x.streams() {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.write.own = time.Time{}
		x.setWrite()
	}
	return nil
}

// streams tells whether the request is one of many on its connection (HTTP/2). A deadline
// that passes ends it then, though nothing is being written.
func (x *exchange) streams() bool { return x.request.ProtoMajor > 1 }

// Flush implements http.Flusher.
func (x *exchange) Flush() { _ = x.FlushError() }

// Hijack implements http.Hijacker. The connection comes without deadlines.
func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := x.control.Hijack()
	if err == nil {
		x.mu.Lock()
		x.over, x.holding = true, false
		x.mu.Unlock()
	}
	return conn, rw, err
}

// Unwrap is for http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// SetReadDeadline is what http.ResponseController calls.
func (x *exchange) SetReadDeadline(t time.Time) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		return os.ErrClosed
	}
	x.read.given = t
	return x.control.SetReadDeadline(x.read.earliest())
}

// SetWriteDeadline is what http.ResponseController calls.
func (x *exchange) SetWriteDeadline(t time.Time) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		return os.ErrClosed
	}
	x.write.given = t
	return x.control.SetWriteDeadline(x.write.earliest())
}

// body is a request's body that is read within its time.
type body struct {
	io.ReadCloser
	exchange *exchange
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	began := time.Now()
	b.exchange.beforeRead(began)
	n, err := b.ReadCloser.Read(p)
	b.exchange.afterRead(n, time.Since(began), err == io.EOF)
	return n, err
}

func (x *exchange) beforeRead(now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.reading {
		return
	}
	if x.lingering {
		x.read.own = now.Add(lingerSilence)
		x.setRead()
		return
	}
	d := x.guard.deadlines
	earned := time.Duration(float64(x.received) / float64(d.BodyRate) * float64(time.Second))
	x.read.own = now.Add(d.Body + earned - x.spent)
	x.setRead()
}

func (x *exchange) afterRead(n int, took time.Duration, ended bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.received += int64(n)
	x.spent += took
	if ended && x.reading {
		// What the server reads from now on is whether the client leaves.
		x.reading = false
		x.read.own, x.read.limit = time.Time{}, time.Time{}
		x.setRead()
	}
}
