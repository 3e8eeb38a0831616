package cluster

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"sync"
)

// What stands around each message on the wire. All numbers are big-endian.
//
//	0   2   "SB"
//	2   1   version
//	3   1   flags: signedFlag
//	4   16  of the SHA-256 of the cluster's name and installation
//	20  8   the sending node's id
//	28  8   its number: grows by each message that the node sends, to whatever subject
//	36  …   data
//	-32 32  where signed, the HMAC-SHA256 of the subject and all before
//
// Whoever reads takes this version and the one before it; what a later version adds to
// the data of messages between nodes is left out where it is not known.
const (
	wireVersion   = 1
	oldestVersion = 1 // the one before wireVersion, once there is one
	signedFlag    = 1

	headBytes = 36
	macBytes  = sha256.Size
	// overhead is what a message has on the wire beside its data, at most; a request's
	// kind and numbers are among it.
	overhead = headBytes + macBytes + 512
)

// Reasons why a message was dropped, as the metric has them.
const (
	dropMalformed    = "malformed"    // is none of this bus
	dropVersion      = "version"      // of a version that is not spoken
	dropInstallation = "installation" // of another cluster
	dropUnsigned     = "unsigned"
	dropSignature    = "signature" // signed with another secret, or changed since
	dropStranger     = "stranger"  // of a node that has not been heard to be there now
	dropRepeated     = "repeated"  // came before
	dropOverflow     = "overflow"  // more waits than may
	dropAway         = "away"      // the bus went away before it was sent
)

var reasons = []string{
	dropMalformed, dropVersion, dropInstallation, dropUnsigned, dropSignature, dropStranger, dropRepeated, dropOverflow, dropAway,
}

// key identifies a life of a process on the wire.
type key [8]byte

func parseKey(id string) (k key, ok bool) {
	n, err := hex.Decode(k[:], []byte(id))
	return k, err == nil && n == len(k) && len(id) == 2*len(k)
}

func (k key) String() string { return hex.EncodeToString(k[:]) }

// seal puts messages into envelopes and takes them out. It may be used concurrently.
type seal struct {
	tag  [16]byte
	self key
	macs *sync.Pool // of hash.Hash; nil: nothing is signed
}

// newSeal is that of a node. It is of no other use than that of the cluster with this
// name and installation.
func newSeal(self key, name, installation string, secret []byte) *seal {
	sum := sha256.Sum256([]byte(name + "/" + installation))
	s := &seal{self: self, tag: [16]byte(sum[:])}
	if len(secret) > 0 {
		signing := derive(secret, "messages")
		s.macs = &sync.Pool{New: func() any { return hmac.New(sha256.New, signing) }}
	}
	return s
}

// derive makes a key for one purpose of a secret (RFC 5869), so that what one of them
// is found out by says nothing of the others.
func derive(secret []byte, purpose string) []byte {
	key, err := hkdf.Key(sha256.New, secret, nil, "sluice cluster 1 "+purpose, sha256.Size)
	if err != nil {
		panic(fmt.Sprintf("cluster: derive a key: %v", err)) // of a fixed length, which is fit
	}
	return key
}

// wrap makes what goes over the wire of the parts of a message.
func (s *seal) wrap(subject string, number uint64, parts ...[]byte) []byte {
	size := headBytes + macBytes
	for _, part := range parts {
		size += len(part)
	}
	data := append(make([]byte, 0, size), 'S', 'B', wireVersion, 0)
	data = append(data, s.tag[:]...)
	data = append(data, s.self[:]...)
	data = binary.BigEndian.AppendUint64(data, number)
	for _, part := range parts {
		data = append(data, part...)
	}
	if s.macs != nil {
		data[3] |= signedFlag
		data = s.sign(data, subject, data)
	}
	return data
}

// sign appends the signature of data, as a message to the subject, to out.
func (s *seal) sign(out []byte, subject string, data []byte) []byte {
	mac := s.macs.Get().(hash.Hash)
	defer s.macs.Put(mac)
	mac.Reset()
	_, _ = io.WriteString(mac, subject) // a hash never fails
	_, _ = mac.Write([]byte{0})         // which no subject has
	_, _ = mac.Write(data)
	return mac.Sum(out)
}

// envelope is what was taken out of one. Its data is that of what was read.
type envelope struct {
	from   key
	number uint64
	data   []byte
}

// open reads what came over the wire. dropped says why it counts for nothing, empty if it
// counts.
func (s *seal) open(subject string, wire []byte) (e envelope, dropped string) {
	if len(wire) < headBytes || wire[0] != 'S' || wire[1] != 'B' {
		return e, dropMalformed
	}
	if wire[2] < oldestVersion || wire[2] > wireVersion {
		return e, dropVersion
	}
	if [16]byte(wire[4:20]) != s.tag {
		return e, dropInstallation
	}
	signed := wire[3]&signedFlag != 0
	switch {
	case wire[3]&^signedFlag != 0:
		return e, dropMalformed
	case s.macs == nil && signed: // a node that has a secret, and this one has none
		return e, dropSignature
	case s.macs != nil && !signed:
		return e, dropUnsigned
	case signed && len(wire) < headBytes+macBytes:
		return e, dropMalformed
	case signed:
		end := len(wire) - macBytes
		var want [macBytes]byte
		if !hmac.Equal(s.sign(want[:0], subject, wire[:end]), wire[end:]) {
			return e, dropSignature
		}
		wire = wire[:end]
	}
	e.from, e.number, e.data = key(wire[20:28]), binary.BigEndian.Uint64(wire[28:headBytes]), wire[headBytes:]
	return e, ""
}
