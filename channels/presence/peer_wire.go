package presence

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/sluicehq/sluice/store"
)

// What nodes send each other, version 1. Numbers are uvarints, texts have their length
// before them:
//
//	'S' 'P' 1  kind  name  seq  count  count × op
//	op: 'j' topic key n ref meta | 'u' n ref meta | 'l' n
//
// n is of a presence's first ref, ref of its state; their other half is the sender's
// origin. The sequence number of ops is one above the message before it, that of a beat
// or goodbye is the last message's. A snapshot is what is asked for by a request that has
// an n: the sender's presences above that, in order, with a sequence number that they
// stand for; only joins are in it.
const (
	wireVersion = 1

	kindOps      = 'o'
	kindBeat     = 'b'
	kindBye      = 'x'
	kindSnapshot = 's' // and there are more after it
	kindLast     = 'e' // a snapshot that ends the list

	opJoin   = 'j'
	opUpdate = 'u'
	opLeave  = 'l'
)

// maxPacket is about where ops are cut into packets, in bytes.
const maxPacket = 256 << 10

// packet is a message between nodes.
type packet struct {
	kind byte
	name string // of the node
	seq  uint64
	ops  []op
}

// op is a change of one presence.
type op struct {
	kind             byte
	topic, key, meta string
	n, ref           uint64
}

// Errors of what cannot be read.
var (
	errVersion = errors.New("another version of the wire")
	errGarbled = errors.New("garbled")
)

// appendPacket appends a packet's head; its ops follow.
func appendPacket(dst []byte, kind byte, name string, seq uint64, count int) []byte {
	dst = appendText(append(dst, 'S', 'P', wireVersion, kind), name)
	return binary.AppendUvarint(binary.AppendUvarint(dst, seq), uint64(count))
}

// appendOp appends what makes one view of a presence another: nil for none.
func appendOp(dst []byte, topic string, from, to *view) []byte {
	switch {
	case to == nil:
		return binary.AppendUvarint(append(dst, opLeave), from.id.n)
	case from == nil:
		dst = appendText(appendText(append(dst, opJoin), topic), to.key)
	default:
		dst = append(dst, opUpdate)
	}
	dst = binary.AppendUvarint(binary.AppendUvarint(dst, to.id.n), to.ref.n)
	return appendText(dst, to.meta)
}

func appendText(dst []byte, text string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}

// readPacket reads a message. It returns errVersion or errGarbled. Ops that no node of
// ours sends, since clients cannot be told of them, are left out and counted.
func readPacket(data []byte) (p packet, invalid int, err error) {
	if len(data) < 4 || data[0] != 'S' || data[1] != 'P' {
		return packet{}, 0, errGarbled
	}
	if data[2] != wireVersion {
		return packet{}, 0, fmt.Errorf("%w: %d", errVersion, data[2])
	}
	r := reader{data: data[4:]}
	p.kind, p.name, p.seq = data[3], r.text(store.MaxNameBytes), r.number()
	count := r.number()
	switch p.kind {
	case kindOps, kindSnapshot, kindLast:
	case kindBeat, kindBye:
		r.failed = r.failed || count > 0
	default:
		return packet{}, 0, errGarbled
	}
	if r.failed || count > uint64(len(r.data)) { // an op has two bytes at least
		return packet{}, 0, errGarbled
	}
	p.ops = make([]op, 0, min(count, 1024))
	for range count {
		o := r.op()
		if r.failed {
			return packet{}, 0, errGarbled
		}
		if o.valid() && (p.kind == kindOps || o.kind == opJoin) {
			p.ops = append(p.ops, o)
		} else {
			invalid++
		}
	}
	if len(r.data) > 0 {
		return packet{}, 0, errGarbled
	}
	return p, invalid, nil
}

// valid tells whether an op is one that a node may send.
func (o *op) valid() bool {
	if o.n == 0 || o.kind != opLeave && o.ref < o.n || max(o.n, o.ref)>>refBits != 0 {
		return false
	}
	if o.kind == opJoin && (!store.ValidTopic(o.topic) || CheckKey(o.key) != nil) {
		return false
	}
	if o.kind != opLeave {
		meta, err := Meta([]byte(o.meta), MaxMeta)
		return err == nil && meta == o.meta
	}
	return true
}

// reader reads a packet's fields. Once one is not there, it has failed.
type reader struct {
	data   []byte
	failed bool
}

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.data)
	if size <= 0 {
		r.failed, r.data = true, nil
		return 0
	}
	r.data = r.data[size:]
	return n
}

func (r *reader) text(most int) string {
	n := r.number()
	if n > uint64(min(most, len(r.data))) {
		r.failed, r.data = true, nil
		return ""
	}
	text := string(r.data[:n])
	r.data = r.data[n:]
	return text
}

func (r *reader) op() (o op) {
	if len(r.data) == 0 {
		r.failed = true
		return op{}
	}
	o.kind, r.data = r.data[0], r.data[1:]
	switch o.kind {
	case opJoin:
		o.topic, o.key = r.text(store.MaxTopicBytes), r.text(MaxKey)
		o.n, o.ref, o.meta = r.number(), r.number(), r.text(MaxMeta)
	case opUpdate:
		o.n, o.ref, o.meta = r.number(), r.number(), r.text(MaxMeta)
	case opLeave:
		o.n = r.number()
	default:
		r.failed = true
	}
	return o
}
