package presence

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// ref names a state of a presence, over all nodes: its first one names the presence
// itself, and each update gives it another.
type ref struct {
	origin uint64 // the node's, in the lower 48 bits
	n      uint64 // counted by that node, from 1
}

// compare orders presences: the same on all nodes.
func (r ref) compare(other ref) int {
	return cmp.Or(cmp.Compare(r.origin, other.origin), cmp.Compare(r.n, other.n))
}

// refBits is what either half of a ref has on the wire.
const refBits = 48

// String is the ref as clients see it: base64url of both halves.
func (r ref) String() string {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:], r.origin<<16)
	binary.BigEndian.PutUint64(raw[6:], r.n<<16)
	return base64.RawURLEncoding.EncodeToString(raw[:12])
}

// view is a presence as it is seen until it is updated. It is immutable.
type view struct {
	key  string
	meta string // as [Meta] makes it
	id   ref    // the presence
	ref  ref    // this state of it
}

// member is a presence on a topic. The tracker's mu guards it.
type member struct {
	topic    *topic
	now      *view // nil once it has left, or while its node is silent
	told     *view // what clients have been told, nil if they have not
	at       int   // its place in topic.members, -1 while it has none
	dirty    bool  // it is in topic.dirty
	replaces ref   // whose place it takes, until clients have been told; see topic.leaving
}

// Presence is one that this node keeps: of a channel, until that leaves.
type Presence struct {
	// Immutable after Track.
	tracker *Tracker
	n       uint64 // of its first ref

	// Guarded by tracker.mu.
	member
	last      *view     // as long as it has not left
	published *view     // what other nodes have been told
	unsent    bool      // it is in tracker.unsent
	updated   time.Time // when it was updated last
	next      string    // what it is going to be updated to; "": nothing
	left      bool
}
