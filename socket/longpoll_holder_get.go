package socket

import (
	"bytes"
	"context"
	"time"
)

// heldPieceBytes is how much of an answer is sent to another node at a time: what its
// client is given Config.WriteTimeout for.
const heldPieceBytes = 64 << 10

// heldGet is a GET that another node has. What it takes stays here until that node says
// what has become of it.
func (p *longpollSession) heldGet(ctx context.Context, id handedID, r handedRequest) (handedAnswer, []byte) {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	h, longest := p.endpoint.config.Handover, r.waits()
	defer h.gets.Add(-1)
	full := h.gets.Add(1) > heldGets
	if full {
		longest = 0
	}
	g := &pollRequest{context: ctx, changed: make(chan struct{}, 1), handed: id, leave: leave}
	switch p.fetch(g, longest) {
	case pollTook:
		return p.piece(id, 0)
	case pollOver:
		return handedAnswer{Status: pollGone}, nil
	case pollGaveWay:
		return handedAnswer{Status: pollNothing}, nil
	}
	if full {
		return handedAnswer{Status: handedFull}, nil
	}
	return handedAnswer{Status: handedWaits}, nil
}

// id is that of a GET that another node has, else zero.
func (g *pollRequest) id() handedID {
	if g == nil {
		return handedID{}
	}
	return g.handed
}

// unacknowledged tells whether a GET has the batch, and is another node's that has not
// said yet what became of it. Called with mu held.
func (p *longpollSession) unacknowledged(id handedID) bool {
	return id != handedID{} && p.state == pollAnswering && p.turn.handed == id && !p.turn.settled
}

// piece is what follows in an answer that another node has so much of.
func (p *longpollSession) piece(id handedID, offset int) (handedAnswer, []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.unacknowledged(id) || p.denied != "" { // what has come of it is not whole, and nothing to the client
		return handedAnswer{Status: pollGone}, nil
	}
	var length int
	var data []byte
	for i, frame := range p.batch.Frames {
		if i == len(p.batch.Frames)-1 {
			frame = bytes.TrimSuffix(frame, []byte(","))
		}
		if skip := offset - length; skip < len(frame) {
			data = append(data, frame[max(skip, 0):][:min(len(frame)-max(skip, 0), heldPieceBytes-len(data))]...)
		}
		length += len(frame)
	}
	p.turn.until = time.Now().Add(p.endpoint.config.WriteTimeout + 2*handedAnswerTime)
	p.schedule()
	return handedAnswer{Status: pollOK, Length: length}, data
}

// heldDone ends a GET that another node has.
func (p *longpollSession) heldDone(id handedID, result writeResult) handedAnswer {
	if p.settle(id) {
		switch result {
		case answerWritten:
			p.endpoint.metrics.wrote(&p.batch, p.took)
			p.answered(true)
		case answerUnwritten:
			p.keep()
		default:
			p.answered(false)
		}
	}
	return handedAnswer{Status: pollOK}
}

// settle notes that a GET is done with, should it come again. It returns true if it has
// the batch, which then is the caller's to tell about.
func (p *longpollSession) settle(id handedID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held.done = note(p.held.done, id)
	if p.unacknowledged(id) {
		p.turn.settled = true
		return true
	}
	for _, g := range []*pollRequest{p.turn, p.next} {
		if g.id() == id {
			g.leave()
		}
	}
	return false
}
