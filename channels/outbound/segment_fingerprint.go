package outbound

import (
	"encoding/binary"
	"hash/maphash"
	"time"
)

// Beside the wire formats and Raw a segment may be asked for fingerprints of its
// messages: what dedupe and Latest compare, computed once for all subscribers
// of a topic, and only if one of them wants it.
const (
	keyFingerprints     Format = Raw - 1
	payloadFingerprints Format = Raw - 2
)

// remembered are those that channels remember.
const remembered FormatSet = 1<<keyFingerprints | 1<<payloadFingerprints

// fingerprint is what is compared of a message, and when the event was inserted, in
// nanoseconds.
type fingerprint struct {
	hash     uint64
	inserted int64
}

// fingerprintSize is what a fingerprint takes in a segment.
const fingerprintSize = 8 + 8

// seed makes hashes unpredictable. That two keys out of thousands have the same
// hash in a window happens about once in 10^15 messages.
var seed = maphash.MakeSeed()

// noHash is the hash of a null key, and of nothing else.
const noHash = 0

// appendFingerprint appends a message's fingerprint.
func appendFingerprint(dst []byte, f Format, m *Message) []byte {
	hash := uint64(noHash)
	switch {
	case m.Presence: // somebody may come, go, and come again
	case f == payloadFingerprints:
		hash = payloadHash(m)
	case m.Key != nil:
		hash = max(maphash.Bytes(seed, m.Key), noHash+1)
	}
	dst = binary.NativeEndian.AppendUint64(dst, hash)
	return binary.NativeEndian.AppendUint64(dst, uint64(nanos(m.InsertedAt)))
}

// payloadHash is the hash of what a client gets to see of a message, but for
// its offset: two events of different names are no repeats of each other.
func payloadHash(m *Message) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	h.WriteString(m.Event)
	h.WriteByte(0)
	h.Write(m.Payload)
	return max(h.Sum64(), noHash+1)
}

// fingerprint is that of the message with index i, zero if the segment has none.
func (s *Segment) fingerprint(f Format, i int) fingerprint {
	return s.encoded(f).fingerprint(i)
}

func (e *encoding) fingerprint(i int) fingerprint {
	if e == nil {
		return fingerprint{}
	}
	d := e.data[fingerprintSize*i:]
	return fingerprint{binary.NativeEndian.Uint64(d), int64(binary.NativeEndian.Uint64(d[8:]))}
}

// nanos is a time as a number, 0 for none.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
