package channels

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Segment is one topic's part of a batch, encoded once for each format that
// the topic's subscribers use. It is immutable and shared by all of them.
type Segment struct {
	topic     string
	offsets   []int64 // ascending; empty for a broadcast, which is not in the log
	encodings []encoding
	oldest    time.Time
}

// encoding is a segment in one format: frames back to back.
type encoding struct {
	format Format
	data   []byte
	ends   []uint32 // ends[i] is where frame i ends in data
}

// Topic is the topic that the segment's messages belong to.
func (s *Segment) Topic() string { return s.topic }

// Len is the number of messages in the segment.
func (s *Segment) Len() int { return max(len(s.offsets), 1) }

// Logged tells whether the segment's messages are in the log.
func (s *Segment) Logged() bool { return len(s.offsets) > 0 }

// Last is the offset of the segment's last message, 0 if it is not in the log.
func (s *Segment) Last() int64 {
	if len(s.offsets) == 0 {
		return 0
	}
	return s.offsets[len(s.offsets)-1]
}

// Oldest is when the first inserted message of the segment was inserted. It
// is zero for what is not in the log.
func (s *Segment) Oldest() time.Time { return s.oldest }

// After picks, without copying, the frames of messages with an offset above the
// given one, or all frames of a segment that is not in the log. It also says
// how many messages these are, and how many bytes of memory holding them keeps
// alive. It returns nothing for a format that the segment was not encoded in.
func (s *Segment) After(offset int64, f Format) (frames []byte, messages, held int) {
	for i := range s.encodings {
		e := &s.encodings[i]
		if e.format != f {
			continue
		}
		if len(s.offsets) == 0 || s.offsets[0] > offset {
			return e.data, len(e.ends), len(e.data)
		}
		first, found := slices.BinarySearch(s.offsets, offset)
		if found {
			first++
		}
		if first == len(s.offsets) {
			return nil, 0, 0
		}
		return e.data[e.ends[first-1]:], len(e.ends) - first, len(e.data)
	}
	return nil, 0, 0
}

// ErrSegmentFull is returned for a message that would make a segment larger
// than a segment can be (4 GiB in one format).
var ErrSegmentFull = errors.New("channels: segment is full")

// scratchLimit is the capacity up to which a Builder keeps its buffers.
const scratchLimit = 1 << 20

// Builder makes segments, one after the other, reusing its buffers: it
// allocates per segment, not per message. It is not safe for concurrent use.
type Builder struct {
	encoder Encoder

	topic   string
	offsets []int64
	used    int // formats in use: scratch[:used]
	scratch [MaxFormats]encoding
	oldest  time.Time
}

// NewBuilder returns a builder of segments that are encoded by e.
func NewBuilder(e Encoder) *Builder { return &Builder{encoder: e} }

// Start begins a segment of a topic in the given formats.
// What was added since the last Start is forgotten.
func (b *Builder) Start(topic string, formats FormatSet) {
	b.topic, b.offsets, b.oldest, b.used = topic, b.offsets[:0], time.Time{}, 0
	for f := range formats.All() {
		s := &b.scratch[b.used]
		if cap(s.data) > scratchLimit {
			s.data = nil
		}
		s.format, s.data, s.ends = f, s.data[:0], s.ends[:0]
		b.used++
	}
}

// Add encodes m, whose offset is above that of the message added before, or
// 0 for the only message of a broadcast. It keeps no reference to m. With an
// error the segment is as it was before.
func (b *Builder) Add(m *Message) error {
	for i := range b.used {
		s := &b.scratch[i]
		data, err := b.encoder.AppendMessage(s.data, s.format, m)
		if err == nil && len(data) > math.MaxUint32 {
			err = ErrSegmentFull
		}
		if err != nil {
			for j := range i {
				b.scratch[j].undo()
			}
			return fmt.Errorf("encode offset %d: %w", m.Offset, err)
		}
		s.data, s.ends = data, append(s.ends, uint32(len(data)))
	}
	if m.Offset > 0 {
		b.offsets = append(b.offsets, m.Offset)
		if b.oldest.IsZero() || m.InsertedAt.Before(b.oldest) {
			b.oldest = m.InsertedAt
		}
	}
	return nil
}

// Segment returns what was added since Start, or nil if that is nothing.
func (b *Builder) Segment() *Segment {
	if b.used == 0 || len(b.scratch[0].ends) == 0 {
		return nil
	}
	seg := &Segment{
		topic:     strings.Clone(b.topic),
		offsets:   slices.Clone(b.offsets),
		encodings: make([]encoding, b.used),
		oldest:    b.oldest,
	}
	for i := range seg.encodings {
		s := &b.scratch[i]
		seg.encodings[i] = encoding{s.format, slices.Clone(s.data), slices.Clone(s.ends)}
	}
	return seg
}

// undo removes the last frame.
func (e *encoding) undo() {
	e.ends = e.ends[:len(e.ends)-1]
	end := uint32(0)
	if n := len(e.ends); n > 0 {
		end = e.ends[n-1]
	}
	e.data = e.data[:end]
}
