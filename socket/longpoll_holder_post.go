package socket

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"time"
)

// heldPiece is a piece of a POST that another node has. Whoever brings it again gets the
// same answer.
type heldPiece struct {
	taken  chan struct{} // closed once answer is set
	answer handedAnswer
}

// errHeldFull is returned for a piece of a message that there is no room for: others hold
// too much. It may be brought again.
var errHeldFull = errors.New("socket: too much is held of messages that come in pieces")

// heldPieceCost is what a piece costs besides its data, in bytes: a goroutine waits.
const heldPieceCost = 4 << 10

// heldPart is the beginning of a message, of which more is to come.
type heldPart struct {
	data  []byte
	stale *time.Timer // drops it
}

// heldPartTime is how long the rest of a message may take to come.
const heldPartTime = pollTimeout + pollGrace

// heldPost takes a piece of a POST that another node has, once. What that waits for goes
// on when the other node does not wait any more.
func (p *longpollSession) heldPost(ctx context.Context, id handedID, r handedRequest, data []byte) handedAnswer {
	size := len(data) + heldPieceCost
	piece, mine := p.heldPieceOf(id, size)
	if piece == nil {
		return handedAnswer{Status: handedFull}
	}
	if !mine {
		select {
		case <-piece.taken:
			return piece.answer
		case <-ctx.Done():
			return handedAnswer{Status: handedFull}
		}
	}
	defer p.endpoint.config.Handover.bodies.release(size)
	post := &posting{session: p, patience: max(r.waits(), time.Millisecond),
		request: &pollRequest{context: p.endpoint.context, changed: make(chan struct{}, 1)}}
	err := post.run(func() error {
		if r.Of != 0 {
			return p.heldPartOf(handedID{id.node, r.Of}, data, r.Rest, post.receive)
		}
		for len(data) > 0 {
			message, rest, err := cutHandedMessage(data)
			if err == nil {
				err = post.receive(message)
			}
			if err != nil {
				return err
			}
			data = rest
		}
		return nil
	})
	if errors.Is(err, errHeldFull) { // nothing of it was taken
		piece.answer = handedAnswer{Status: handedFull}
		close(piece.taken)
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.held.posts, id)
		return piece.answer
	}
	piece.answer = handedAnswer{Status: p.posted(p.endpoint.context, err), Left: max(post.patience, 0).Milliseconds()}
	close(piece.taken)
	p.forgetPiece(id)
	return piece.answer
}

// heldPieceOf finds a piece, or begins it: then it is the caller's. It returns nil if
// there is no room, as many of the session's are under way as are read at a time, or it has come after others that have been forgotten, as it may have
// been.
func (p *longpollSession) heldPieceOf(id handedID, size int) (piece *heldPiece, mine bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if piece := p.held.posts[id]; piece != nil {
		return piece, false
	}
	underWay := len(p.held.posts) - len(p.held.last)
	if id.id <= p.held.old[id.node] || underWay >= maxPosts || !p.endpoint.config.Handover.bodies.reserve(size) {
		return nil, false
	}
	if p.held.posts == nil {
		p.held.posts = make(map[handedID]*heldPiece)
	}
	piece = &heldPiece{taken: make(chan struct{})}
	p.held.posts[id] = piece
	return piece, true
}

// forgetPiece forgets a piece that has been taken, once enough others have.
func (p *longpollSession) forgetPiece(id handedID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held.last = append(p.held.last, id); len(p.held.last) > heldPieces {
		oldest := p.held.last[0]
		p.held.last = slices.Delete(p.held.last, 0, 1)
		delete(p.held.posts, oldest)
		p.held.old = note(p.held.old, oldest)
	}
}

// heldPartOf takes a piece of one message, and has it received when it is whole.
func (p *longpollSession) heldPartOf(first handedID, data []byte, rest int, receive func([]byte) error) error {
	message, err := p.join(first, data, rest)
	if err != nil || rest > 0 {
		return err
	}
	defer p.endpoint.config.Handover.bodies.release(len(message))
	return receive(message)
}

// join adds to a message of which pieces have come.
func (p *longpollSession) join(first handedID, data []byte, rest int) (message []byte, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	part := p.held.parts[first]
	if part == nil {
		part = &heldPart{}
	}
	size := len(part.data) + len(data)
	switch {
	case size+rest > base64.StdEncoding.EncodedLen(p.endpoint.config.MaxMessageBytes):
		return nil, errTooLarge
	case p.state == pollEnded:
		return nil, errPollOver
	case !p.endpoint.config.Handover.bodies.reserve(len(data)):
		return nil, errHeldFull
	}
	part.data = append(part.data, data...)
	if rest == 0 {
		p.drop(first, part)
		return part.data, nil
	}
	if part.stale == nil {
		if p.held.parts == nil {
			p.held.parts = make(map[handedID]*heldPart)
		}
		p.held.parts[first] = part
		part.stale = time.AfterFunc(heldPartTime, func() { p.dropStale(first, part) })
	}
	return nil, nil
}

// drop takes a part out. Called with mu held.
func (p *longpollSession) drop(first handedID, part *heldPart) {
	delete(p.held.parts, first)
	if part.stale != nil {
		part.stale.Stop()
	}
}

// dropStale drops a part whose rest has not come.
func (p *longpollSession) dropStale(first handedID, part *heldPart) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held.parts[first] == part {
		p.drop(first, part)
		p.endpoint.config.Handover.bodies.release(len(part.data))
	}
}

// dropParts drops all parts. Called with mu held.
func (p *longpollSession) dropParts() {
	for first, part := range p.held.parts {
		p.drop(first, part)
		p.endpoint.config.Handover.bodies.release(len(part.data))
	}
}

// heldFail ends a session because of what its client has sent to another node.
func (p *longpollSession) heldFail(ctx context.Context, reason closeReason) handedAnswer {
	if reason != closedTooLarge {
		reason = closedLost
	}
	p.fail(reason)
	select { // what is queued goes first
	case <-p.over:
	case <-ctx.Done():
	}
	return handedAnswer{Status: pollGone}
}
