package stages

import (
	"context"
	"log/slog"

	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/store"
)

// Watchers tells who watches a topic, and which wire formats they use. The
// audience's name of it may be kept.
type Watchers interface {
	Watched(topic string) outbound.Audience
}

// EncoderConfig bounds what an [Encoder] makes.
type EncoderConfig struct {
	// SegmentSize bounds the messages of one segment. It should not exceed
	// the size of a mailbox, which takes a segment whole. At least 1.
	SegmentSize int
	// SegmentBytes ends a segment once its payloads exceed it. At least 1.
	SegmentBytes int
	// Metrics and Logger may be nil.
	Metrics *metrics.Set
	Logger  *slog.Logger
}

// Encoder turns a batch of events into segments: for each topic that somebody
// watches, its events in order, each encoded once per wire format in use. It
// allocates per segment, not per event. It is not safe for concurrent use:
// every lane has its own.
type Encoder struct {
	// Immutable after NewEncoder.
	watchers Watchers
	config   EncoderConfig
	failed   *metrics.Counter

	frames outbound.Encoder

	// Owned by Encode, which takes it out while it works and puts it back when it is
	// done: what a panic leaves behind is never used again.
	idle *scratch
}

// scratch is memory that is reused from batch to batch.
type scratch struct {
	builder *outbound.Builder
	group   map[string]int32 // topic → index into groups
	groups  []group          // topics of the batch, in the order of their first events
	next    []int32          // for each event the next one of its topic, or none
	message outbound.Message // what the builder is given: one for all, since it escapes
}

func newScratch(frames outbound.Encoder) *scratch {
	return &scratch{builder: outbound.NewBuilder(frames), group: make(map[string]int32)}
}

// group is the events of one topic within a batch, as a linked list.
type group struct{ first, last int32 }

const none = -1

// NewEncoder makes an encoder of the frames that frames encodes.
func NewEncoder(frames outbound.Encoder, watchers Watchers, config EncoderConfig) *Encoder {
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	return &Encoder{
		watchers: watchers,
		config:   config,
		failed:   config.Metrics.Counter(metrics.StageErrors, metrics.Stage("encode")),
		frames:   frames,
		idle:     newScratch(frames),
	}
}

// Encode returns the batch's segments. An event that cannot be encoded fails
// alone: it is logged, counted and left out. The error is always nil.
func (e *Encoder) Encode(_ context.Context, events []store.Event) ([]*outbound.Segment, error) {
	s := e.idle
	if e.idle = nil; s == nil {
		s = newScratch(e.frames)
	}
	s.groupByTopic(events)
	var segments []*outbound.Segment
	for _, g := range s.groups {
		if to := e.watchers.Watched(events[g.first].Topic); to.Formats != 0 {
			segments = e.encodeTopic(segments, s, events, g, to)
		}
	}
	clear(s.group) // it and the message would keep the batch's memory
	s.message = outbound.Message{}
	e.idle = s
	return segments, nil
}

// groupByTopic links the events of each topic.
func (s *scratch) groupByTopic(events []store.Event) {
	s.groups, s.next = s.groups[:0], s.next[:0]
	for i := range events {
		s.next = append(s.next, none)
		at, ok := s.group[events[i].Topic]
		if !ok {
			s.group[events[i].Topic] = int32(len(s.groups))
			s.groups = append(s.groups, group{first: int32(i), last: int32(i)})
			continue
		}
		g := &s.groups[at]
		s.next[g.last] = int32(i)
		g.last = int32(i)
	}
}

// encodeTopic makes one topic's segments.
func (e *Encoder) encodeTopic(segments []*outbound.Segment, s *scratch, events []store.Event, g group, to outbound.Audience) []*outbound.Segment {
	count, size := 0, 0
	s.builder.Start(to)
	for i := g.first; i != none; i = s.next[i] {
		if count >= e.config.SegmentSize || size >= e.config.SegmentBytes {
			segments = append(segments, s.builder.Segment())
			s.builder.Start(to)
			count, size = 0, 0
		}
		event := &events[i]
		s.message = outbound.Message{
			Offset:     event.Offset,
			Topic:      event.Topic,
			Event:      event.Name,
			Key:        event.Key,
			Payload:    event.Payload,
			InsertedAt: event.InsertedAt,
		}
		if err := s.builder.Add(&s.message); err != nil {
			e.failed.Add(1)
			e.config.Logger.Error("event left out", "offset", event.Offset, "error", err)
			continue
		}
		count++
		size += len(event.Payload)
	}
	if count > 0 {
		segments = append(segments, s.builder.Segment())
	}
	return segments
}
