package socket

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// sseStream is a connection that is the answer to one request. Its goroutine is the
// request's handler, which joins the stream's topics and then writes.
type sseStream struct {
	// Immutable after newSSEStream.
	endpoint *Endpoint
	session  session
	outbound *outbound.Connection
	ready    chan struct{} // wake sends, the handler receives; one is enough to say that there is something
	over     chan struct{} // closed by cut
	writer   http.ResponseWriter
	control  *http.ResponseController
	named    bool

	// Owned by the handler.
	topics []streamTopic
	batch  outbound.WriteBatch
	out    sseWriter

	mu    sync.Mutex
	cause closeReason // why the stream is being closed, "" while it is not; guarded by mu
	ended bool        // cut has been called; guarded by mu
}

func newSSEStream(e *Endpoint, w http.ResponseWriter, socket *channels.Socket, wish *streamRequest) *sseStream {
	s := &sseStream{
		endpoint: e,
		ready:    make(chan struct{}, 1),
		over:     make(chan struct{}),
		writer:   w,
		control:  http.NewResponseController(w),
		named:    wish.named,
		topics:   wish.topics,
	}
	s.out.stream = s
	s.outbound = outbound.NewConnection(e.config.Host.Hub(), outbound.ConnectionConfig{
		Replies:  max(e.config.Options.MailboxSize, e.config.InboundQueue),
		Bytes:    e.config.MailboxBytes,
		Wake:     s.wake,
		Overflow: func() { s.shut(tooSlow, "") },
	})
	s.session.init(e.context, &e.config, phoenix.Streamed, socket, s.outbound)
	return s
}

// wake tells the handler that there is something to take. What is outbound calls it, with
// its lock held.
func (s *sseStream) wake() { signal(s.ready) }

// about implements connection.
func (s *sseStream) about() (*session, string) { return &s.session, sseTransport }

// shut implements connection: after what is queued comes a comment that says why, and the
// end of the answer. Browsers come back then.
func (s *sseStream) shut(info closeInfo, discard outbound.DropReason) bool {
	if !s.begin(info.reason) {
		return false
	}
	if discard != "" || info.reason == closedTooSlow {
		// An error means that the request has been answered.
		_ = s.control.SetWriteDeadline(time.Now().Add(s.endpoint.config.closeTimeout))
	}
	s.outbound.Close(phoenix.AppendComment(nil, info.text), discard)
	return true
}

// cut implements connection.
func (s *sseStream) cut(reason closeReason, discard outbound.DropReason) {
	s.begin(reason)
	s.outbound.Close(nil, discard)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.ended = true
		close(s.over)
		if discard != "" {
			_ = s.control.SetWriteDeadline(longAgo) // ends what the handler is at
		}
	}
}

// begin marks the beginning of the end. It returns false if that has been before.
func (s *sseStream) begin(reason closeReason) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.cause == ""
	if first {
		s.cause = reason
	}
	return first
}

// closing is why the stream is being closed, "" while it is not.
func (s *sseStream) closing() closeReason {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// finish is the last thing that happens to a stream. It waits for the handlers of its
// channels.
func (s *sseStream) finish() {
	s.cut(closedLost, outbound.DropClosed)
	s.session.close()
	s.endpoint.remove(s, s.closing())
}

// join joins all topics, and returns once they are, or why one of them cannot be: then
// there is no stream, since a client that reads one cannot tell what is missing.
func (s *sseStream) join(ctx context.Context) *rejection {
	for i := range s.topics {
		t, ref := &s.topics[i], outbound.Ref(strconv.Itoa(i+1))
		s.session.receive(phoenix.ClientMessage{JoinRef: ref, Ref: ref, Topic: t.name, Event: "phx_join",
			Payload: outbound.Payload{Data: t.params()}})
	}
	timeout := time.NewTimer(s.endpoint.config.HandshakeTimeout)
	defer timeout.Stop()
	for pending := len(s.topics); ; {
		for s.outbound.TakeReplies(&s.batch) {
			for _, frame := range s.batch.Frames {
				joined, rejected := s.answered(frame)
				if rejected != nil {
					return rejected
				}
				pending -= joined
			}
		}
		if cause := s.closing(); cause != "" {
			return endedWhileJoining(cause)
		}
		if pending == 0 {
			return nil
		}
		select {
		case <-s.ready:
		case <-s.over:
		case <-ctx.Done():
			s.cut(closedByClient, outbound.DropClosed)
		case <-timeout.C:
			return laterRejected("the topics could not be joined in time")
		}
	}
}

// answered takes in what channels have answered to joins, and returns how many have let
// the client in.
func (s *sseStream) answered(frame []byte) (joined int, _ *rejection) {
	for len(frame) > 0 {
		r, rest, err := phoenix.NextRecord(frame)
		if err != nil {
			return joined, laterRejected(err.Error())
		}
		frame = rest
		t := s.topic(r.Topic)
		switch {
		case r.Kind == phoenix.CommentRecord: // it is being closed
		case t == nil || r.Kind != phoenix.ReplyRecord: // it has ended before it could begin
			return joined, laterRejected("topic " + strconv.Quote(string(r.Topic)) + " has ended")
		case string(r.Event) != string(outbound.StatusOK):
			return joined, joinRejected(t.name, r.Data)
		case !t.begin(r.Data):
			return joined, laterRejected("topic " + strconv.Quote(t.name) + " has no position")
		default:
			joined++
		}
	}
	return joined, nil
}

// begin takes in the answer to the join of a topic: where it goes on.
func (t *streamTopic) begin(response []byte) bool {
	var at struct {
		Offset  *int64 `json:"offset"`
		Epoch   string `json:"epoch"`
		Resumed bool   `json:"resumed"`
	}
	if json.Unmarshal(response, &at) != nil || at.Offset == nil {
		return false
	}
	if t.offset < 0 || !at.Resumed {
		t.offset = *at.Offset
	}
	t.epoch, t.joined, t.resumed = at.Epoch, true, at.Resumed && !t.unknown
	return true
}

// topic finds one of the stream's topics, nil if it is none.
func (s *sseStream) topic(name []byte) *streamTopic {
	for i := range s.topics {
		if s.topics[i].name == string(name) {
			return &s.topics[i]
		}
	}
	return nil
}

// joinRejected is what a client is told whose join of a topic has been refused.
func joinRejected(topic string, response []byte) *rejection {
	var because struct {
		Reason string `json:"reason"`
	}
	_ = json.Unmarshal(response, &because) // no reason, then
	rejected := &rejection{status: http.StatusForbidden, text: "topic " + strconv.Quote(topic) + ": " + because.Reason,
		hint: "a stream is of all its topics or none: leave this one out, or see the topic rules"}
	switch because.Reason {
	case string(outbound.JoinUnavailable):
		rejected.status, rejected.hint = http.StatusServiceUnavailable, "try again"
	case "unmatched topic":
		rejected.status, rejected.hint = http.StatusNotFound, "nothing serves this topic here"
	case "too many channels joined":
		rejected.status, rejected.hint = http.StatusBadRequest, "name fewer topics, or see --max-channels"
	case "join crashed":
		rejected.status, rejected.hint = http.StatusInternalServerError, "the server's log says why"
	}
	return rejected
}

// endedWhileJoining is what a client is told whose stream is ended before it has begun.
func endedWhileJoining(cause closeReason) *rejection {
	switch cause {
	case closedExpired:
		return &rejection{rejectedHook, http.StatusForbidden, "access ended", "connect with a token that counts"}
	case closedDrain:
		return drainRejected()
	}
	return laterRejected("the connection was closed: " + string(cause))
}

func drainRejected() *rejection {
	return &rejection{rejectedDrain, http.StatusServiceUnavailable, "shutting down", "connect again: another node, or this one once it is back, takes over"}
}

func laterRejected(text string) *rejection {
	return &rejection{rejectedHook, http.StatusServiceUnavailable, text, "try again"}
}

// serve writes what there is for the client, until the stream ends.
func (s *sseStream) serve(ctx context.Context) {
	if err := s.out.opening(s.topics); err != nil {
		s.failed(err)
		return
	}
	silence := time.NewTimer(sseComment)
	defer silence.Stop()
	for quiet := 1; ; {
		for s.outbound.Take(&s.batch, writeBytes, writePieces) {
			if !s.write() {
				return
			}
			quiet = 1
			silence.Reset(sseComment)
		}
		if s.batch.Last {
			return
		}
		select {
		case <-s.ready:
		case <-s.over:
			return
		case <-ctx.Done():
			s.cut(closedByClient, outbound.DropClosed)
			return
		case <-silence.C:
			if err := s.out.silence(quiet%sseQuiet == 0 && s.keepUp()); err != nil {
				s.failed(err)
				return
			}
			quiet++
			silence.Reset(sseComment)
		}
	}
}

// write writes a batch. It returns false if the stream has ended with it.
func (s *sseStream) write() bool {
	start := time.Now()
	err := s.out.frames(s.batch.Frames)
	switch {
	case errors.Is(err, errChannelEnded):
		s.shut(closeInfo{reason: closedChannel, text: "a topic of the stream has ended"}, "")
	case err != nil:
		s.failed(err)
		reason := outbound.DropClosed
		if s.closing() == closedTooSlow {
			reason = outbound.DropTooSlow
		}
		s.batch.Lost(reason)
		return false
	}
	s.batch.Bytes = s.out.taken()
	s.endpoint.metrics.wrote(&s.batch, start)
	return !s.batch.Last
}

// failed cuts the stream, after an error in writing. Over HTTP/2 the deadline ends the
// stream, and the error does not say so.
func (s *sseStream) failed(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) || time.Since(s.out.since) >= s.endpoint.config.WriteTimeout {
		s.cut(closedTooSlow, outbound.DropTooSlow)
		return
	}
	s.cut(closedLost, outbound.DropClosed)
}

// keepUp moves topics for which nothing is on its way to where the node has got, and
// tells whether that is further on: so who watches a topic on which nothing happens does
// not fall out of what the log keeps. The position comes first: what is above it may be on
// its way by the time that a topic has nothing waiting, and what is not has been written.
func (s *sseStream) keepUp() (moved bool) {
	if s.endpoint.config.Position == nil {
		return false
	}
	position := s.endpoint.config.Position()
	for i := range s.topics {
		t := &s.topics[i]
		if a := s.session.actor(t.name); position > t.offset && a != nil && a.Idle() {
			t.offset, moved = position, true
		}
	}
	return moved
}
