package socket

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/sluicehq/sluice/socket/phoenix"
)

// pollPost hands on what a client sends. Whatever is wrong with it ends the
// session.
func (e *Endpoint) pollPost(w http.ResponseWriter, r *http.Request, token string) {
	if token != "" && !e.config.Handover.awaitOpen(r.Context(), pollTimeout) {
		answer(w, pollTimedOut, "", nil)
		return
	}
	s, holder := e.find(token)
	switch {
	case holder != "":
		e.handPost(w, r, token, holder)
		return
	case s == nil:
		answer(w, pollGone, "", nil)
		return
	}
	post := &posting{session: s, request: newPollRequest(w, r), patience: pollTimeout}
	err := post.run(func() error { return e.readMessages(r, post.receive) })
	status := s.posted(r.Context(), err)
	if status != pollOK {
		token = ""
	}
	answer(w, status, token, nil)
}

// posted is what a POST is answered. Errors end the session.
func (p *longpollSession) posted(ctx context.Context, err error) (status int) {
	var ends *frameError
	switch {
	case err == nil:
		return pollOK
	case errors.Is(err, errDispatch):
		p.fail(closedTooFast)
		return pollTimedOut
	case errors.Is(err, errPollOver):
	case errors.Is(err, phoenix.ErrMalformed):
		p.fail(closedMalformed)
	case isTooLarge(err):
		p.fail(closedTooLarge)
	case errors.As(err, &ends):
		p.fail(ends.reason)
	default:
		p.fail(closedLost)
	}
	// What is queued goes first: on this the client gives the session up.
	select {
	case <-p.over:
	case <-ctx.Done():
	}
	return pollGone
}

// isTooLarge tells whether an error is that a body, or a message, is too large.
func isTooLarge(err error) bool {
	var body *http.MaxBytesError
	return errors.Is(err, errTooLarge) || errors.As(err, &body)
}

var (
	// errDispatch is returned when a client sends more than it may in the time
	// that a request has.
	errDispatch = errors.New("socket: dispatch timed out")

	// errPollOver is returned for what comes when the session is being closed.
	errPollOver = errors.New("socket: session is over")
)

// posting is a POST that is being read and handed on.
type posting struct {
	session  *longpollSession
	request  *pollRequest
	patience time.Duration // that is left for what makes it wait, apart from its client
}

// run hands on what read brings, once not too many other POSTs are being read.
func (o *posting) run(read func() error) error {
	if err := o.begin(); err != nil {
		return err
	}
	defer o.end()
	return read()
}

// readMessages reads a POST's body, and has each of its messages received. It has as
// many lines as fit.
func (e *Endpoint) readMessages(r *http.Request, receive func(message []byte) error) error {
	longest := base64.StdEncoding.EncodedLen(e.config.MaxMessageBytes)
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	lines, most := kind == "application/x-ndjson", longest
	if lines {
		most = e.config.MaxBodyBytes
	}
	if r.ContentLength > int64(most) { // who waits to be asked for it never sends it
		return errTooLarge
	}
	bounded := http.MaxBytesReader(nil, r.Body, int64(most))
	if !lines {
		data, err := io.ReadAll(bounded)
		if err != nil {
			return err
		}
		return receive(data)
	}
	in := lineReader{in: bufio.NewReader(bounded), limit: longest + len("\r\n")}
	for {
		line, end := in.next()
		if end != nil && end != io.EOF {
			return end
		}
		if err := receive(bytes.TrimSpace(line)); err != nil {
			return err
		}
		if end != nil {
			return nil
		}
	}
}

// lineReader reads a body line by line.
type lineReader struct {
	in    *bufio.Reader
	limit int    // bytes of a line, its end included
	long  []byte // a line that is longer than what in holds
}

// next returns the next line, which is the caller's until next is called again.
// Only with io.EOF, or no error, it is complete.
func (l *lineReader) next() ([]byte, error) {
	line, err := l.in.ReadSlice('\n')
	if err != bufio.ErrBufferFull {
		return line, err
	}
	l.long = l.long[:0]
	for {
		if len(l.long)+len(line) > l.limit {
			return nil, errTooLarge
		}
		if l.long = append(l.long, line...); err != bufio.ErrBufferFull {
			return l.long, err
		}
		line, err = l.in.ReadSlice('\n')
	}
}

// begin waits until not too many others are being read.
func (o *posting) begin() error {
	s := o.session
	if err := o.wait(s.slots, 0); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.posts == nil {
		s.posts = make(map[*pollRequest]struct{})
	}
	s.posts[o.request] = struct{}{}
	if s.state == pollEnded {
		o.request.interruptReading()
	}
	return nil
}

func (o *posting) end() {
	s := o.session
	s.mu.Lock()
	delete(s.posts, o.request)
	s.mu.Unlock()
	s.slots <- struct{}{}
}

// wait waits for something to come, or for some time if that is not zero. It
// returns an error if there is no patience left before.
func (o *posting) wait(come <-chan struct{}, pause time.Duration) error {
	patience := o.patience
	if pause > 0 {
		patience = min(patience, pause)
	}
	start := time.Now()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	defer func() { o.patience -= time.Since(start) }()
	select {
	case <-come:
		return nil
	case <-timer.C:
		if patience == pause {
			return nil
		}
		return errDispatch
	case <-o.session.over:
		return errPollOver
	case <-o.request.context.Done():
		return o.request.context.Err()
	}
}

// receive hands on one message: text, or else binary in base64. An empty one is
// nothing.
func (o *posting) receive(data []byte) error {
	limit := o.session.endpoint.config.MaxMessageBytes
	text := len(data) > 0 && (data[0] == '[' || data[0] == '{')
	switch {
	case len(data) == 0:
		return nil
	case text && !utf8.Valid(data):
		return errInvalidText
	case !text:
		decoded, err := base64.StdEncoding.AppendDecode(nil, data)
		if err != nil {
			return fmt.Errorf("%w: %w", phoenix.ErrMalformed, err)
		}
		data = decoded
	}
	if len(data) > limit {
		return errTooLarge
	}
	return o.hand(data, !text)
}

// hand hands a message to the session. It waits while the client sends too much, has
// too much inbound, or has too many answers waiting: its GETs take them meanwhile.
func (o *posting) hand(data []byte, binary bool) error {
	s := o.session
	for eased := s.easing(); s.outbound.Crowded(); eased = s.easing() {
		if err := o.wait(eased, 0); err != nil {
			return err
		}
	}
	s.receiving.Lock()
	for s.session.inbound.Full() && !s.closing() {
		s.receiving.Unlock()
		if err := o.wait(nil, inboundPause); err != nil {
			return err
		}
		s.receiving.Lock()
	}
	if s.closing() {
		s.receiving.Unlock()
		return errPollOver
	}
	after, err := s.session.take(data, binary)
	if after.do != nil {
		s.session.group.Add(1) // before the session waits for those
	}
	s.receiving.Unlock()
	if after.do != nil {
		after.do()
		s.session.group.Done()
	}
	if err != nil || after.wait <= 0 {
		return err
	}
	return o.wait(nil, after.wait)
}
