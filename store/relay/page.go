package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
	"unsafe"

	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/internal/arena"
)

// A page, as it goes over the bus. Numbers are uvarints unless their size is given:
//
//	"SL" 2 | version 1 | flags 1 | epoch: length 1, bytes | shard | prev | head | count
//	count × { delta | topic: length, bytes | event: length, bytes | key: 0 or length+1, bytes
//	          | inserted_at, varint, in microseconds since 1970 | payload: length, bytes }
//
// A delta is what an offset is above that of the event before it, and the first one's
// above prev. A version that reads another's pages says so in versions.
const (
	magic   = "SL"
	version = 1
)

// versions are those that are read: the present one, and the one before it if there is
// one, so that a cluster can be upgraded node by node.
var versions = [...]byte{version}

// Flags of a page.
const (
	flagMark    = 1 << iota // it has no events: it says how far the log, and what was published, reach
	flagMissing             // events were left out, as too large: they are to be read from the log
	flagsKnown  = flagMark | flagMissing
)

// Bounds of a page.
const (
	maxEpoch      = 255
	maxPageEvents = 4096
	pageTarget    = 256 << 10       // in bytes: a page ends once it has as many
	maxPage       = cluster.MaxData // of one that holds a single large event
	minEventBytes = 8               // what an event takes at the least
)

// What an event of a page takes in memory, besides its bytes, and a page besides its
// events.
const (
	eventSize = int(unsafe.Sizeof(store.Event{}))
	pageSize  = int(unsafe.Sizeof(page{})) + maxEpoch
)

// Errors of a page that is not taken.
var (
	errMalformed = errors.New("relay: not a page")
	errVersion   = errors.New("relay: a page of another version of this program")
)

// page is events that follow one another in the log, but for what flagMissing tells.
type page struct {
	flags  byte
	epoch  string
	shard  uint64
	prev   int64 // up to where its publisher had published; 0: it has just begun
	head   int64 // how far its publisher knows the log to reach
	events []store.Event

	bytes int // that it takes in memory
}

// last is the offset of the last event of a page that has one.
func (p *page) last() int64 { return p.events[len(p.events)-1].Offset }

// encodedSize is how many bytes an event takes in a page, at most.
func encodedSize(e *store.Event) int {
	return len(e.Topic) + len(e.Name) + len(e.Key) + len(e.Payload) + 6*binary.MaxVarintLen64
}

// headerSize is how many bytes a page takes without its events, at most.
const headerSize = len(magic) + 2 + 1 + maxEpoch + 4*binary.MaxVarintLen64

// appendPage appends a page as it goes over the bus. Its events' offsets ascend from
// above prev, and its epoch has maxEpoch bytes at most.
func appendPage(dst []byte, p *page) []byte {
	dst = append(dst, magic...)
	dst = append(dst, version, p.flags, byte(len(p.epoch)))
	dst = append(dst, p.epoch...)
	dst = binary.AppendUvarint(dst, p.shard)
	dst = binary.AppendUvarint(dst, uint64(p.prev))
	dst = binary.AppendUvarint(dst, uint64(p.head))
	dst = binary.AppendUvarint(dst, uint64(len(p.events)))
	before := p.prev
	for i := range p.events {
		e := &p.events[i]
		dst = binary.AppendUvarint(dst, uint64(e.Offset-before))
		before = e.Offset
		dst = appendBytes(dst, e.Topic)
		dst = appendBytes(dst, e.Name)
		if e.Key == nil {
			dst = append(dst, 0)
		} else {
			dst = binary.AppendUvarint(dst, uint64(len(e.Key))+1)
			dst = append(dst, e.Key...)
		}
		dst = binary.AppendVarint(dst, e.InsertedAt.UnixMicro())
		dst = appendBytes(dst, e.Payload)
	}
	return dst
}

func appendBytes[B ~string | ~[]byte](dst []byte, b B) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// parsePage reads a page, whose events point into data from then on. Its error is
// errMalformed or errVersion, wrapped.
func parsePage(data []byte) (*page, error) {
	r := reader{rest: data}
	if string(r.take(len(magic))) != magic {
		return nil, r.malformed("no page")
	}
	v := r.byte()
	if r.err == nil && !isSpoken(v) {
		return nil, fmt.Errorf("%w: %d", errVersion, v)
	}
	p := &page{}
	p.flags = r.byte()
	p.epoch = string(r.take(int(r.byte())))
	p.shard = r.uvarint()
	p.prev = r.offset()
	p.head = r.offset()
	count := r.uvarint()
	switch {
	case r.err != nil:
		return nil, r.err
	case p.flags&^flagsKnown != 0:
		return nil, r.malformed("unknown flags")
	case p.epoch == "":
		return nil, r.malformed("no epoch")
	case count > maxPageEvents || count > uint64(len(r.rest)/minEventBytes):
		return nil, r.malformed("too many events")
	case p.flags&flagMark != 0 != (count == 0):
		return nil, r.malformed("a mark with events, or a page without")
	}
	p.events = make([]store.Event, count)
	p.bytes = cap(data) + int(count)*eventSize + pageSize
	at := p.prev
	for i := range p.events {
		delta := r.uvarint()
		if r.err == nil && (delta == 0 || delta > uint64(math.MaxInt64-at) || i > 0 && delta > 1 && p.flags&flagMissing == 0) {
			return nil, r.malformed("offsets that do not ascend, or leave some out")
		}
		at += int64(delta)
		r.event(&p.events[i])
		p.events[i].Offset = at
		if r.err != nil {
			return nil, r.err
		}
	}
	switch {
	case len(r.rest) > 0:
		return nil, r.malformed("more than its events")
	case p.head < at:
		return nil, r.malformed("a head before its events")
	}
	return p, nil
}

func isSpoken(v byte) bool {
	for _, spoken := range versions {
		if v == spoken {
			return true
		}
	}
	return false
}

// reader takes a page apart. After an error it returns zeros.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) malformed(why string) error {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", errMalformed, why)
	}
	r.rest = nil
	return r.err
}

// take returns the next n bytes, and no room behind them.
func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.rest) {
		_ = r.malformed("it ends early")
		return nil
	}
	taken := r.rest[:n:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) byte() byte {
	if b := r.take(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		_ = r.malformed("a number that is none")
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		_ = r.malformed("a number that is none")
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) offset() int64 {
	v := r.uvarint()
	if v > math.MaxInt64 {
		_ = r.malformed("an offset that is none")
		return 0
	}
	return int64(v)
}

// bytes takes what its length precedes, from least to most bytes.
func (r *reader) bytes(least, most int) []byte {
	n := r.uvarint()
	if r.err == nil && (n < uint64(least) || n > uint64(most)) {
		_ = r.malformed("a length out of bounds")
	}
	if r.err != nil {
		return nil
	}
	return r.take(int(n))
}

// event reads all of an event but its offset.
func (r *reader) event(e *store.Event) {
	e.Topic = arena.Text(r.bytes(1, store.MaxTopicBytes))
	e.Name = arena.Text(r.bytes(1, store.MaxNameBytes))
	if n := r.uvarint(); n > store.MaxKeyBytes+1 {
		_ = r.malformed("a key that is too long")
	} else if n > 0 {
		e.Key = r.take(int(n) - 1)
	}
	e.InsertedAt = time.UnixMicro(r.varint()).UTC()
	e.Payload = r.bytes(0, maxPage)
}
