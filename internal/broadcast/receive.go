package broadcast

import (
	"errors"
	"time"

	"github.com/sluicehq/sluice/internal/cluster"
)

// dropReason is why a message of another node was dropped.
type dropReason int

const (
	dropMalformed dropReason = iota // does not parse, was changed on its way, or could not have been broadcast
	dropVersion                     // of another version of what nodes speak
	dropRepeated                    // came before, or was overtaken by a later one
	dropSenders                     // from more nodes than there can be
	dropEncode                      // could not be encoded for clients
	dropReasons
)

var dropNames = [dropReasons]string{"malformed", "version", "repeated", "senders", "encode"}

// position is up to where this node has had what another one has sent to a subject.
type position struct {
	sequence uint64
	since    uint32 // the subscription that it came by: what passed before it was not lost
	at       time.Time
}

const (
	maxSenders = 1024             // nodes whose positions are remembered for one subject
	memory     = 10 * time.Minute // for how long, once nothing comes from them
)

// receive delivers what another node has sent to a subject. It keeps nothing of m.
func (b *Bridge) receive(i int, since uint32, m cluster.Message) {
	p, err := decode(m.Data)
	if err == nil && subjectOf(p.topic) != i {
		err = errMalformed
	}
	switch {
	case errors.Is(err, errVersion):
		b.drop(dropVersion, m, "hint", "nodes that run two versions which follow each other understand each other: update those that are older")
		return
	case err != nil:
		b.drop(dropMalformed, m, "error", err)
		return
	}
	reason, lost, ok := b.subjects[i].advance(m.From, p.sequence, since, time.Now())
	b.lost.Add(int64(lost))
	if !ok {
		b.drops[reason].Add(1) // not told: a bus may repeat
		return
	}
	b.received.Add(int64(len(p.messages)))
	if _, err := b.config.Topics.Deliver(p.topic, p.messages); err != nil {
		b.drop(dropEncode, m, "error", err)
	}
}

// drop counts and tells that a message was dropped.
func (b *Bridge) drop(reason dropReason, m cluster.Message, more ...any) {
	b.drops[reason].Add(1)
	b.failures.Error(b.config.Logger, "broadcast of another node dropped",
		append([]any{"reason", dropNames[reason], "from", m.From, "bytes", len(m.Data)}, more...)...)
}

// advance notes that a node's message has come by a subscription, and how many before it
// have not. If it is not to be delivered, ok is false, and reason says why.
func (s *subject) advance(from string, sequence uint64, since uint32, now time.Time) (reason dropReason, lost uint64, ok bool) {
	s.receiving.Lock()
	defer s.receiving.Unlock()
	last, known := s.positions[from]
	switch {
	case known && sequence <= last.sequence:
		return dropRepeated, 0, false
	case !known && len(s.positions) >= maxSenders:
		return dropSenders, 0, false
	case known && last.since == since:
		lost = sequence - last.sequence - 1
	}
	if s.positions == nil {
		s.positions = make(map[string]position)
	}
	s.positions[from] = position{sequence, since, now}
	return 0, lost, true
}

// forget drops the positions of nodes that have sent nothing for long.
func (s *subject) forget(now time.Time) {
	s.receiving.Lock()
	defer s.receiving.Unlock()
	for from, p := range s.positions {
		if now.Sub(p.at) >= memory {
			delete(s.positions, from)
		}
	}
}
