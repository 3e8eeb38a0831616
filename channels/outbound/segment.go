package outbound

import (
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
)

// Segment is one topic's part of a batch, encoded once for each format that the
// topic's subscribers use. It is immutable and shared by all of them.
type Segment struct {
	topic     string
	handle    any            // of the audience
	shared    *SharedWindows // of the audience
	number    uint64         // that no other segment has, if it has fingerprints to remember; else 0
	offsets   []int64        // ascending; empty for broadcasts, which are not in the log
	encodings []encoding
	events    []string    // the messages' events, if one of the formats is Raw
	binary    bool        // the messages, which are broadcasts, are binary; known if one of the formats is Raw
	presence  bool        // the message is a change of who is on the topic
	oldest    int64       // when the first of them was inserted, in nanoseconds; 0 if they are not in the log
	one       [1]encoding // the memory of encodings, if there is only one, which is usual
}

// encoding is a segment in one format: frames back to back.
type encoding struct {
	format Format
	data   []byte
	ends   []uint32 // ends[i] is where frame i ends in data
	gaps   bool     // some frames are empty: these messages cannot be said in the format
}

// Topic is the topic that the segment's messages belong to.
func (s *Segment) Topic() string { return s.topic }

// Len is the number of messages in the segment.
func (s *Segment) Len() int { return len(s.encodings[0].ends) }

// Handle is the topic as the hub keeps it: see [Audience].
func (s *Segment) Handle() any { return s.handle }

// Logged tells whether the segment's messages are in the log.
func (s *Segment) Logged() bool { return len(s.offsets) > 0 }

// First is the offset of the segment's first message, 0 if it is not in the log.
func (s *Segment) First() int64 {
	if len(s.offsets) == 0 {
		return 0
	}
	return s.offsets[0]
}

// Last is the offset of the segment's last message, 0 if it is not in the log.
func (s *Segment) Last() int64 {
	if len(s.offsets) == 0 {
		return 0
	}
	return s.offsets[len(s.offsets)-1]
}

// Offset is that of the message with index i of a segment of the log.
func (s *Segment) Offset(i int) int64 { return s.offsets[i] }

// encoded is the segment in a format, nil if it was not encoded in it.
func (s *Segment) encoded(f Format) *encoding {
	for i := range s.encodings {
		if s.encodings[i].format == f {
			return &s.encodings[i]
		}
	}
	return nil
}

// from is the index of the first message with an offset above the given one.
func (s *Segment) from(offset int64) int {
	if len(s.offsets) == 0 {
		return 0
	}
	first, found := slices.BinarySearch(s.offsets, offset)
	if found {
		first++
	}
	return first
}

// Presence tells whether the segment is a change of who is on the topic: for channels
// that have been given the list, and no others ([Mailbox.FollowPresence]).
func (s *Segment) Presence() bool { return s.presence }

// between picks the frames of messages from index i up to but not including j.
func (s *Segment) between(i, j int, f Format) []byte {
	if e := s.encoded(f); e != nil {
		return e.frames(i, j)
	}
	return nil
}

// Event is the name of the event with index i, which the segment must hold in Raw.
func (s *Segment) Event(i int) string { return s.events[i] }

// Message is the message with index i, which the segment must hold in Raw.
func (s *Segment) Message(i int) Message {
	m := Message{Topic: s.topic, Event: s.events[i], Payload: s.between(i, i+1, Raw), Binary: s.binary}
	if len(s.offsets) > 0 {
		m.Offset = s.offsets[i]
	}
	return m
}

// frames are those from index i up to but not including j.
func (e *encoding) frames(i, j int) []byte { return e.data[e.start(i):e.start(j)] }

// start is where frame i begins.
func (e *encoding) start(i int) uint32 {
	if i == 0 {
		return 0
	}
	return e.ends[i-1]
}

// ErrSegmentFull is returned for a message that would make a segment larger
// than a segment can be (4 GiB in one format).
var ErrSegmentFull = errors.New("channels: segment is full")

// numbers counts segments, to tell them apart without holding on to them.
var numbers atomic.Uint64

// scratchLimit is the capacity up to which a Builder keeps its buffers.
const scratchLimit = 1 << 20

// Builder makes segments, one after the other, reusing its buffers: it
// allocates per segment, not per message. It is not safe for concurrent use.
type Builder struct {
	encoder Encoder

	audience Audience
	offsets  []int64
	used     int // formats in use: scratch[:used]
	scratch  [MaxFormats]encoding
	events   []string
	binary   bool
	presence bool
	oldest   int64
}

// NewBuilder returns a builder of segments that are encoded by e.
func NewBuilder(e Encoder) *Builder { return &Builder{encoder: e} }

// Start begins a segment for an audience. What was added since the last Start is
// forgotten. The segment keeps the topic's string. Route it by the hub whose
// audience it is.
func (b *Builder) Start(to Audience) {
	b.audience, b.offsets, b.events, b.oldest, b.used = to, b.offsets[:0], b.events[:0], 0, 0
	b.presence = false
	for f := range to.Formats.All() {
		s := &b.scratch[b.used]
		if cap(s.data) > scratchLimit {
			s.data = nil
		}
		s.format, s.data, s.ends, s.gaps = f, s.data[:0], s.ends[:0], false
		b.used++
	}
}

// Add encodes m, whose offset is above that of the message added before, or 0
// if the segment is of broadcasts, of which all or none are binary. It keeps no
// reference to m. With an error, which a panic of the encoder is too, the segment
// is as it was before.
func (b *Builder) Add(m *Message) error {
	for i := range b.used {
		s := &b.scratch[i]
		data, err := b.append(s, m)
		if err == nil && uint64(len(data)) > math.MaxUint32 {
			err = ErrSegmentFull
		}
		if err != nil {
			for j := range i {
				b.scratch[j].undo()
			}
			return fmt.Errorf("encode offset %d: %w", m.Offset, err)
		}
		s.gaps = s.gaps || len(data) == len(s.data)
		s.data, s.ends = data, append(s.ends, uint32(len(data)))
	}
	if b.raw() {
		b.binary = m.Binary
		b.events = append(b.events, b.intern(m.Event))
	}
	b.presence = m.Presence
	if m.Offset > 0 {
		b.offsets = append(b.offsets, m.Offset)
		if inserted := nanos(m.InsertedAt); b.oldest == 0 || inserted < b.oldest {
			b.oldest = inserted
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
		topic:    b.audience.Topic,
		handle:   b.audience.Handle,
		shared:   b.audience.Shared,
		offsets:  slices.Clone(b.offsets),
		events:   slices.Clone(b.events),
		binary:   b.binary,
		presence: b.presence,
		oldest:   b.oldest,
	}
	seg.encodings = seg.one[:]
	if b.used > 1 {
		seg.encodings = make([]encoding, b.used)
	}
	for i := range seg.encodings {
		s := &b.scratch[i]
		seg.encodings[i] = encoding{s.format, slices.Clone(s.data), slices.Clone(s.ends), s.gaps}
	}
	if seg.shared != nil && b.audience.Formats&remembered != 0 {
		seg.number = numbers.Add(1)
	}
	return seg
}

// append appends a message in the format of s. A panic is an error of that message
// alone; the room that the encoder was writing to is not written to again.
func (b *Builder) append(s *encoding, m *Message) (data []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			s.data = slices.Clip(s.data)
			data, err = nil, &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	switch s.format {
	case Raw:
		return append(s.data, m.Payload...), nil
	case keyFingerprints, payloadFingerprints:
		return appendFingerprint(s.data, s.format, m), nil
	}
	return b.encoder.AppendMessage(s.data, s.format, m)
}

// raw tells whether Raw, the highest format, is in use.
func (b *Builder) raw() bool { return b.used > 0 && b.scratch[b.used-1].format == Raw }

// intern returns a copy of an event's name, the same one for the same event in
// a row.
func (b *Builder) intern(event string) string {
	if n := len(b.events); n > 0 && b.events[n-1] == event {
		return b.events[n-1]
	}
	return strings.Clone(event)
}

// undo removes the last frame.
func (e *encoding) undo() {
	e.ends = e.ends[:len(e.ends)-1]
	e.data = e.data[:e.start(len(e.ends))]
}

// Size is how much memory the segment holds.
func (s *Segment) Size() int {
	n := segmentSize + 8*len(s.offsets)
	for i := range s.encodings {
		n += len(s.encodings[i].data) + 4*len(s.encodings[i].ends)
	}
	return n
}

// segmentSize is what a segment of nothing takes, with its place among what is
// remembered: about what counts once segments are small.
const segmentSize = 256

// Has tells whether the segment was encoded in all of these formats.
func (s *Segment) Has(formats FormatSet) bool {
	for i := range s.encodings {
		formats &^= 1 << s.encodings[i].format
	}
	return formats == 0
}

// Audience is who watches a topic, as the hub finds it.
type Audience struct {
	// Topic is the topic's name. The hub's is a copy that all share, and that
	// keeps nothing else in memory.
	Topic string
	// Formats are the wire formats that the subscribers need, none when nobody
	// watches.
	Formats FormatSet

	// Handle is the topic as the hub keeps it, for the hub alone. It is nil where
	// the hub was not asked.
	Handle any

	// Shared is what those who watch the topic tell repeats by, as far as they have that
	// in common. It may be nil.
	Shared *SharedWindows
}
