package socket

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/sluicehq/sluice/internal/cluster"
)

const (
	// handedPiece is what is collected of a POST's messages before the holder is sent
	// them.
	handedPiece = 64 << 10

	// handedMessage is how much of one message is sent at a time.
	handedMessage = 512 << 10
)

// handPost has the holder of a session take the messages of a POST.
func (e *Endpoint) handPost(w http.ResponseWriter, r *http.Request, token, holder string) {
	h := e.config.Handover
	if !e.beginHanding() {
		h.metrics.handed[handedBusy].Add(1)
		answer(w, pollTimedOut, "", nil)
		return
	}
	defer e.endHanding()
	p := &handedPost{endpoint: e, handover: h, holder: holder, token: token, context: r.Context(), patience: pollTimeout}
	err := e.readMessages(r, p.collect)
	if err == nil {
		err = p.flush()
	}
	var ended *handedEnd
	status := pollTimedOut
	switch {
	case err == nil:
		p.result, status = handedAnswered, pollOK
	case errors.As(err, &ended):
		p.result, status = handedEnded, ended.status
	case p.result == "", p.result == handedLeft: // its client has done that, or left
		p.fail(err)
		p.result, status = handedEnded, pollGone
	case p.result == handedUnknown, p.result == handedRefused:
		status = pollGone
	}
	if status != pollOK {
		token = ""
	}
	answer(w, status, token, nil)
	h.metrics.handed[p.result].Add(1)
}

// handedEnd is returned when the holder has answered that it takes no more.
type handedEnd struct{ status int }

func (*handedEnd) Error() string { return "socket: the node that holds the session has ended it" }

// handedPost is a POST whose session another node holds. Its messages are sent there in
// pieces, one after the other.
type handedPost struct {
	endpoint *Endpoint
	handover *Handover
	holder   string
	token    string
	context  context.Context
	patience time.Duration // that the holder has left for what makes it wait
	piece    []byte        // messages that have not been sent
	result   handedResult  // of what has not worked
}

// collect takes one message.
func (p *handedPost) collect(message []byte) error {
	if len(message) == 0 {
		return nil
	}
	if len(p.piece) > 0 && len(p.piece)+len(message) > handedPiece {
		if err := p.flush(); err != nil {
			return err
		}
	}
	if len(message) > handedMessage {
		return p.sendLarge(message)
	}
	p.piece = appendHandedMessage(p.piece, message)
	return nil
}

// flush sends what has been collected.
func (p *handedPost) flush() error {
	if len(p.piece) == 0 {
		return nil
	}
	err := p.send(p.request(handPost), p.piece)
	p.piece = p.piece[:0]
	return err
}

// sendLarge sends a message in pieces.
func (p *handedPost) sendLarge(message []byte) error {
	var first uint64
	for len(message) > 0 {
		piece := message[:min(len(message), handedMessage)]
		message = message[len(piece):]
		r := p.request(handPost)
		if first == 0 {
			first = r.ID
		}
		r.Of, r.Rest = first, len(message)
		if err := p.send(r, piece); err != nil {
			return err
		}
	}
	return nil
}

func (p *handedPost) request(verb handedVerb) handedRequest {
	return handedRequest{Version: handedVersion, Verb: verb, Mount: p.endpoint.config.Path, Token: p.token,
		ID: p.handover.ids.Add(1), Wait: p.patience.Milliseconds()}
}

// send sends a piece until it is known to have been taken, once.
func (p *handedPost) send(r handedRequest, data []byte) error {
	// Longer than the holder itself waits.
	longest := retries{away: pollTimeout, unknown: cluster.NodeTimeout, lost: pollTimeout + 2*handedAnswerTime}
	for end := time.Now().Add(pollTimeout); ; {
		got, _, err := p.handover.ask(p.context, p.holder, r, data, longest)
		switch {
		case err != nil:
			p.result = resultOf(err)
			return err
		case got.Status == pollOK:
			p.patience = min(max(time.Duration(got.Left)*time.Millisecond, time.Millisecond), p.patience)
			return nil
		case got.Status != handedFull:
			return &handedEnd{got.Status}
		}
		if time.Now().After(end) || !pause(p.context, handedPause) {
			p.result = handedBusy
			return errDispatch
		}
	}
}

// fail ends the session because of what its client sent, or has not sent whole.
func (p *handedPost) fail(err error) {
	r := p.request(handFail)
	r.Wait = 0
	r.Result = string(closedLost)
	if isTooLarge(err) {
		r.Result = string(closedTooLarge)
	}
	ctx := context.WithoutCancel(p.context)
	_, _, _ = p.handover.ask(ctx, p.holder, r, nil, retries{}) // else it ends by itself
}
