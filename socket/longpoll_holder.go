package socket

import (
	"context"
	"fmt"
	"sync"

	"github.com/sluicehq/sluice/internal/cluster"
)

// handedID names a request of another node.
type handedID struct {
	node string // its id
	id   uint64
}

// answer answers requests of other nodes, whose clients' sessions are held here. Of GETs
// at most two wait for each session, of which one takes the other's place, and heldGets
// for all; what POSTs hold is bounded by handedBodyBytes.
func (h *Handover) answer(ctx context.Context, m cluster.Message) ([]byte, error) {
	r, data, err := parseHandedRequest(m.Data)
	if err != nil {
		return nil, err
	}
	e := h.endpoint(r.Mount)
	if e == nil {
		return nil, fmt.Errorf("nothing is mounted at %q here: all nodes need the same --socket-path, and the same mounts", r.Mount)
	}
	h.metrics.held.Add(1)
	p, _ := e.find(r.Token)
	if p == nil {
		gone := handedAnswer{Status: pollGone}
		return gone.append(nil, nil), nil
	}
	id := handedID{m.From, r.ID}
	var a handedAnswer
	var messages []byte
	switch r.Verb {
	case handGet:
		a, messages = p.heldGet(ctx, id, r)
	case handMore:
		a, messages = p.piece(id, r.Offset)
	case handDone:
		a = p.heldDone(id, writeResult(r.Result))
	case handPost:
		a = p.heldPost(ctx, id, r, data)
	case handFail:
		a = p.heldFail(ctx, closeReason(r.Result))
	default:
		return nil, fmt.Errorf("%w: %q is nothing that can be asked", errHandedMalformed, r.Verb)
	}
	return a.append(nil, messages), nil
}

// heldRequests are what a session knows of requests that other nodes have handed over.
// Each may come again, and late.
type heldRequests struct {
	done  map[string]uint64       // by node, up to which id its GETs are done with
	posts map[handedID]*heldPiece // under way, and the last of those that are not
	last  []handedID              // these, the oldest first
	old   map[string]uint64       // by node, up to which id its POSTs may have been forgotten
	parts map[handedID]*heldPart  // of messages that come in pieces, by the first of them
}

// heldGets bounds the GETs of other nodes' clients that wait here. Those that come on top
// take what there is, and are asked again.
const heldGets = 8 << 10

// Bounds of what is kept of a session's requests.
const (
	heldPieces = 64 // that have been taken
	heldNodes  = 64 // that requests have come from
)

// note notes an id of a node as the highest, if it is.
func note(highest map[string]uint64, id handedID) map[string]uint64 {
	if highest == nil {
		highest = make(map[string]uint64)
	}
	if _, known := highest[id.node]; !known && len(highest) >= heldNodes {
		for other := range highest { // any: hardly one of that many is still there
			delete(highest, other)
			break
		}
	}
	highest[id.node] = max(highest[id.node], id.id)
	return highest
}

// handedBodyBytes is what the POSTs of other nodes' clients may hold here at a time, or twice
// the largest message if that is more. What comes on top is asked again.
const handedBodyBytes = 16 << 20

// budget bounds what is held by many together.
type budget struct {
	mu sync.Mutex

	// Guarded by mu.
	limit int
	used  int
}

// allow raises the limit, if it is lower.
func (b *budget) allow(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit = max(b.limit, n)
}

// reserve takes some, if there is enough left. One may take any amount if nobody else has
// taken any.
func (b *budget) reserve(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used > 0 && b.used+n > b.limit {
		return false
	}
	b.used += n
	return true
}

func (b *budget) release(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
}
