package presence

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// What another node has is fetched in pieces, in the order of its presences' first refs.
// Each piece is of its own moment; what that node sends meanwhile is kept, and applied
// on top of what the pieces say. To apply an op again that a piece has in it changes
// nothing, once all ops up to the last piece's number have been applied too.

// fetchSoon has a node's presences fetched, unless that is under way or has failed just
// now. Called with mu held.
func (t *Tracker) fetchSoon(n *peer) {
	if n.fetching || t.life == nil || time.Now().Before(n.retry) {
		return
	}
	n.fetching, n.queue, n.queued = true, nil, 0
	t.counters.fetches.Add(1)
	t.fetching.Add(1)
	go func(ctx context.Context) {
		defer t.fetching.Done()
		t.fetch(ctx, n)
	}(t.life)
}

// enqueue keeps what comes while a node's presences are fetched. What does not fit is
// missed by its number. Called with mu held.
func (t *Tracker) enqueue(n *peer, p packet, bytes int) {
	if p.kind == kindOps && n.queued+bytes <= maxQueued {
		n.queue = append(n.queue, p)
		n.queued += bytes
	}
}

// fetch fetches a node's presences, and has them in place of what was known.
func (t *Tracker) fetch(ctx context.Context, n *peer) {
	all, seq, err := t.fetchAll(ctx, n, t.config.Max+1) // with one more it is known that there are more
	t.mu.Lock()
	defer t.mu.Unlock()
	n.fetching = false
	queue := n.queue
	n.queue, n.queued = nil, 0
	if t.peers[n.id] != n || n.state == parting || n.state == silent && time.Since(n.heard) > SilentAfter {
		return
	}
	if err != nil {
		n.retry = time.Now().Add(min(mostRetry, leastRetry<<min(n.failures, 10)))
		n.failures++
		if ctx.Err() == nil && n.failures > 3 {
			t.logger.Warn("a node's presences cannot be fetched, and are not shown here", "node", n.name, "error", err)
		}
		return
	}
	n.failures, n.retry = 0, time.Now().Add(leastRetry)
	t.settle(n, all, seq, queue)
}

// settle has the presences that were fetched in place of what was known, and applies what
// came meanwhile. Called with mu held.
func (t *Tracker) settle(n *peer, all []op, seq uint64, queue []packet) {
	there := make(map[uint64]bool, len(all))
	for i := range all {
		there[all[i].n] = true
	}
	for first, m := range n.members {
		if !there[first] {
			t.remove(n, first, m)
		}
	}
	back := n.state == silent
	n.state = heard
	for i := range all {
		t.apply(n, &all[i])
	}
	n.seq, n.whole = seq, true
	for _, p := range queue {
		if p.seq > n.seq && n.whole {
			t.take(n, p)
		}
	}
	if back {
		for _, m := range n.members {
			t.show(&m.member, m.view)
		}
	}
}

// fetchAll asks a node for all that it has, up to a number of presences. The sequence
// number is that of the first piece.
func (t *Tracker) fetchAll(ctx context.Context, n *peer, most int) (all []op, seq uint64, err error) {
	for after, pieces := uint64(0), 0; ; pieces++ {
		piece, err := t.fetchPiece(ctx, n.id, after)
		if err != nil {
			return nil, 0, err
		}
		if pieces == 0 {
			seq = piece.seq
		}
		for _, o := range piece.ops {
			if o.n <= after {
				return nil, 0, fmt.Errorf("%w: presences out of order", errGarbled)
			}
			after = o.n
		}
		if len(all)+len(piece.ops) > most {
			piece.ops = piece.ops[:most-len(all)]
			piece.kind = kindLast
		}
		all = append(all, piece.ops...)
		if piece.kind == kindLast {
			return all, seq, nil
		}
		if len(piece.ops) == 0 {
			return nil, 0, fmt.Errorf("%w: an empty piece that is not the last", errGarbled)
		}
	}
}

func (t *Tracker) fetchPiece(ctx context.Context, node string, after uint64) (packet, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	data, err := t.bus.Request(ctx, node, binary.AppendUvarint([]byte{'S', 'P', wireVersion}, after))
	if err != nil {
		return packet{}, fmt.Errorf("ask node %s for its presences: %w", node, err)
	}
	p, invalid, err := readPacket(data)
	t.counters.invalid.Add(int64(invalid))
	if err == nil && p.kind != kindSnapshot && p.kind != kindLast {
		err = errGarbled
	}
	if err != nil {
		t.mu.Lock()
		t.reject(node, err)
		t.mu.Unlock()
		return packet{}, fmt.Errorf("presences of node %s: %w", node, err)
	}
	return p, nil
}

// answer is what another node gets that asks for this one's presences above a ref.
func (t *Tracker) answer(data []byte) ([]byte, error) {
	if len(data) < 4 || data[0] != 'S' || data[1] != 'P' || data[2] != wireVersion {
		return nil, errVersion
	}
	after, size := binary.Uvarint(data[3:])
	if size <= 0 {
		return nil, errGarbled
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var ops []byte
	count, kind := 0, byte(kindLast)
	i, _ := slices.BinarySearchFunc(t.own, after+1, func(e ownEntry, n uint64) int { return cmp.Compare(e.n, n) })
	for ; i < len(t.own); i++ {
		if len(ops) >= maxPacket {
			kind = kindSnapshot
			break
		}
		if p := t.own[i].p; p != nil && p.published != nil {
			ops = appendOp(ops, p.topic.name, nil, p.published)
			count++
		}
	}
	return append(appendPacket(nil, kind, t.name, t.seq, count), ops...), nil
}
