package channels

import (
	"encoding/binary"
	"hash/maphash"
	"time"
)

// Beside the wire formats and Raw a segment may be asked for digests of its
// messages: what dedupe and Latest compare, computed once for all subscribers
// of a topic, and only if one of them wants it.
const (
	keyDigests     Format = Raw - 1
	payloadDigests Format = Raw - 2
)

// digest is what is compared of a message, and when the event was inserted, in
// nanoseconds.
type digest struct {
	print    uint64
	inserted int64
}

// digestSize is what a digest takes in a segment.
const digestSize = 8 + 8

// seed makes prints unpredictable. That two keys out of thousands have the same
// print in a window happens about once in 10^15 messages.
var seed = maphash.MakeSeed()

// noPrint is the print of a null key, and of nothing else.
const noPrint = 0

// appendDigest appends a message's digest.
func appendDigest(dst []byte, f Format, m *Message) []byte {
	print := uint64(noPrint)
	switch {
	case f == payloadDigests:
		print = payloadPrint(m)
	case m.Key != nil:
		print = max(maphash.Bytes(seed, m.Key), noPrint+1)
	}
	dst = binary.NativeEndian.AppendUint64(dst, print)
	return binary.NativeEndian.AppendUint64(dst, uint64(nanos(m.InsertedAt)))
}

// payloadPrint is the print of what a client gets to see of a message, but for
// its offset: two events of different names are no repeats of each other.
func payloadPrint(m *Message) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	h.WriteString(m.Event)
	h.WriteByte(0)
	h.Write(m.Payload)
	return max(h.Sum64(), noPrint+1)
}

// digest is that of the message with index i, zero if the segment has none.
func (s *Segment) digest(f Format, i int) digest {
	return s.encoded(f).digest(i)
}

func (e *encoding) digest(i int) digest {
	if e == nil {
		return digest{}
	}
	d := e.data[digestSize*i:]
	return digest{binary.NativeEndian.Uint64(d), int64(binary.NativeEndian.Uint64(d[8:]))}
}

// nanos is a time as a number, 0 for none.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
