package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/gobwas/ws"
)

const (
	heartbeatEvery = 30 * time.Second
	joinTimeout    = 10 * time.Second
	maxRetryPause  = 10 * time.Second
)

// watcher is the command watch at work: it follows one topic across connections.
type watcher struct {
	dial  dialer
	topic string
	out   *bufio.Writer
	lines *json.Encoder                    // to out
	tell  func(format string, args ...any) // what is no event

	left  int             // events to go; 0: no end
	after *int64          // where to resume: the last offset known; nil: from now on
	last  *int64          // how many events to begin with where after does not say; nil: none
	epoch json.RawMessage // of the log that after belongs to
	met   bool            // whether the topic was ever joined
}

// finalError ends watching: trying again would not help.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

// errEnough ends a session that has brought as many events as were asked for.
var errEnough = errors.New("enough events")

// newWatcher returns a watcher that prints to out, as it is safe to do if that is
// a terminal.
func newWatcher(dial dialer, topic string, out io.Writer, terminal bool) *watcher {
	w := &watcher{dial: dial, topic: topic, out: bufio.NewWriter(out)}
	var lines io.Writer = w.out
	if terminal {
		lines = terminalWriter{w.out}
	}
	w.lines = json.NewEncoder(lines)
	w.lines.SetEscapeHTML(false) // payloads are printed as they were written
	return w
}

// run watches until ctx is cancelled or enough events have come. Who is not
// there at the first attempt is not waited for, as a wrong address should not
// look like patience; who answers that it is busy, or still starting, is.
func (w *watcher) run(ctx context.Context) error {
	retry := backoff.NewExponentialBackOff()
	retry.MaxInterval = maxRetryPause
	for {
		joined, err := w.session(ctx)
		flushed := w.out.Flush()
		var final finalError
		var busy *connectError // never one that is final
		switch {
		case errors.Is(flushed, syscall.EPIPE): // who read the lines has seen enough
			return nil
		case flushed != nil:
			return fmt.Errorf("print: %w", flushed)
		case errors.Is(err, errEnough), ctx.Err() != nil:
			return nil
		case errors.As(err, &final):
			return final.error
		case !w.met && !errors.As(err, &busy):
			return err
		}
		if joined {
			retry.Reset()
		}
		pause := retry.NextBackOff()
		w.tell("%v; trying again in %v", err, pause.Round(time.Millisecond))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// session is one connection, from its start to its end; it tells whether the topic was joined.
func (w *watcher) session(ctx context.Context) (joined bool, err error) {
	dialled, rest, err := w.dial(ctx)
	if err != nil {
		var refused *connectError
		if errors.As(err, &refused) && !refused.passing() {
			err = finalError{err}
		}
		return false, err
	}
	conn := newWatchConn(dialled, rest)
	defer conn.close()
	s := watchSession{watcher: w, conn: conn}
	err = s.run(ctx)
	return s.joined, err
}

// watchSession is the state of watching that ends with the connection.
type watchSession struct {
	*watcher
	conn         *watchConn
	refs         int    // the last ref that was given out
	joinRef      string // ref of the join
	heartbeatRef string // ref of a heartbeat that is not answered yet
	joined       bool
}

func (s *watchSession) run(ctx context.Context) error {
	if err := s.sendJoin(); err != nil {
		return err
	}
	refused := time.NewTimer(joinTimeout)
	defer refused.Stop()
	heartbeat := time.NewTicker(heartbeatEvery)
	defer heartbeat.Stop()
	for {
		select {
		case f, open := <-s.conn.frames:
			if !open {
				return s.ended()
			}
			if err := s.handle(f); err != nil {
				return err
			}
			if s.joined {
				refused.Stop()
			}
			// Lines are written together while more are waiting, and at once
			// when none is.
			if len(s.conn.frames) == 0 {
				if err := s.out.Flush(); err != nil {
					return finalError{err}
				}
			}
		case <-refused.C:
			return errors.New("the server did not answer the join")
		case <-heartbeat.C:
			if s.heartbeatRef != "" {
				return errors.New("the server did not answer a heartbeat")
			}
			s.heartbeatRef = s.nextRef()
			if err := s.conn.send(phoenixMessage{ref: s.heartbeatRef, topic: "phoenix", event: "heartbeat", payload: json.RawMessage("{}")}); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *watchSession) nextRef() string {
	s.refs++
	return strconv.Itoa(s.refs)
}

func (s *watchSession) sendJoin() error {
	s.joinRef = s.nextRef()
	params, err := json.Marshal(struct {
		After *int64          `json:"after"`
		Last  *int64          `json:"last,omitempty"`
		Epoch json.RawMessage `json:"epoch,omitempty"`
	}{s.after, s.last, s.epoch})
	if err != nil {
		return fmt.Errorf("encode join: %w", err)
	}
	return s.conn.send(phoenixMessage{joinRef: s.joinRef, ref: s.joinRef, topic: s.topic, event: "phx_join", payload: params})
}

// ended is why the connection's reader has stopped. The server says 1000 to a client
// that shall not come back.
func (s *watchSession) ended() error {
	var closed *closedError
	if errors.As(s.conn.err, &closed) && closed.code == ws.StatusNormalClosure {
		return finalError{closed}
	}
	return s.conn.err
}

func (s *watchSession) handle(f watchFrame) error {
	switch f.op {
	case ws.OpPing:
		return s.conn.pong(f.data)
	case ws.OpBinary:
		s.tell("a binary message of %d bytes is not shown", f.size)
		return nil
	}
	if f.size > int64(len(f.data)) {
		s.passOver(f, "it is too large")
		return nil
	}
	m, err := decode(f.data)
	if err != nil {
		s.passOver(f, err.Error())
		return nil
	}
	switch {
	case m.event == "phx_reply" && m.ref == s.heartbeatRef:
		s.heartbeatRef = ""
		return nil
	case m.topic != s.topic:
		return nil
	case m.event == "phx_reply":
		return s.handleReply(m)
	case m.event == "phx_error":
		var why joinReply
		_ = json.Unmarshal(m.payload, &why.Response) // without a reason, none is told
		return fmt.Errorf("the channel ended on the server (%s)", cmp.Or(why.Response.Reason, "no reason given"))
	case m.event == "phx_close":
		return finalError{errors.New("the server closed the channel")}
	}
	if m.event == "sluice_position" {
		return s.position(m)
	}
	return s.print(printedEventOf(m))
}

// position takes in how far the server has come with a topic that is quiet.
func (s *watchSession) position(m phoenixMessage) error {
	var at struct {
		Offset *int64 `json:"offset"`
	}
	if json.Unmarshal(m.payload, &at) == nil && at.Offset != nil {
		s.after = at.Offset
	}
	return nil
}

func (s *watchSession) handleReply(m phoenixMessage) error {
	if m.ref != s.joinRef {
		return nil
	}
	var answer joinReply
	if err := json.Unmarshal(m.payload, &answer); err != nil {
		return fmt.Errorf("decode the answer to the join: %w", err)
	}
	response := answer.Response
	if answer.Status != "ok" {
		return finalError{fmt.Errorf("joining %q was refused: %s", s.topic, response.Reason)}
	}
	switch {
	case s.after == nil:
		s.tell("joined %s at offset %d", s.topic, response.Offset)
	case !response.Resumed:
		s.tell("joined %s, but cannot resume after offset %d: events may be missing; going on from %d", s.topic, *s.after, response.Offset)
	default:
		s.tell("joined %s, resuming after offset %d", s.topic, *s.after)
	}
	if s.after == nil || !response.Resumed {
		s.after = &response.Offset
	}
	s.epoch, s.joined, s.met = response.Epoch, true, true
	return nil
}

// print writes an event's line and moves the position past it.
func (s *watchSession) print(l printedEvent) error {
	if err := s.lines.Encode(l); err != nil {
		return finalError{err}
	}
	if l.Offset != nil {
		s.after = l.Offset
	}
	if s.left--; s.left == 0 {
		return errEnough
	}
	return nil
}
