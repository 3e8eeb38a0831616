package channels

import (
	"context"
	"strconv"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
)

// A client that resumes knows where it is by the last event that it got. On a topic on
// which nothing happens that grows old, and is no longer kept in the end, though the
// client has missed nothing. So channels that were joined with "after" or "last" are told
// a position now and then: all that their topic has up to there is in what they were
// sent.

const (
	// positionRounds is how often a channel is looked at while the log keeps an event. One
	// that is told a position is told the next two looks later at the earliest: so a
	// position is a quarter of the retention old at most, or where the channel was not
	// quiet, no more than that and a look.
	positionRounds = 8

	// positionBatch is how many channels are told a position before there is a pause, so
	// that what they are sent does not go out all at once.
	positionBatch = 256
	positionPause = 10 * time.Millisecond
)

// Positions tells clients whose topics are quiet how far they have seen the log. It looks
// at one of the hub's shards after the other, spread over the time: there is one timer
// for all.
type Positions struct {
	hub       *Hub
	routed    func() int64
	retention time.Duration

	marks [hubShards]int64 // what had been routed when a shard was last looked at; owned by Run
}

// NewPositions returns what tells the hub's channels of a log that keeps events for
// that long, 0 for ever: then nobody needs to be told. routed is the offset up to which
// everything has been routed.
func NewPositions(hub *Hub, routed func() int64, retention time.Duration) *Positions {
	return &Positions{hub: hub, routed: routed, retention: retention}
}

// Run works until ctx ends. It returns nil then.
func (p *Positions) Run(ctx context.Context) error {
	if p.retention <= 0 || p.hub.replayer.Load() == nil {
		<-ctx.Done()
		return nil
	}
	look := time.NewTicker(max(p.retention/positionRounds/hubShards, time.Millisecond))
	defer look.Stop()
	for i := 0; ; i = (i + 1) % hubShards {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
			p.look(ctx, i)
		}
	}
}

// look tells those of a shard that have got nothing since it was last looked at, if
// something has been routed to others meanwhile.
func (p *Positions) look(ctx context.Context, i int) {
	routed := p.routed()
	before := p.marks[i]
	p.marks[i] = routed
	told := 0
	for _, subs := range p.hub.shards[i].quiet(before) {
		for i := range subs {
			sub := subs[i].taken()
			if sub == nil {
				continue
			}
			one, ok := sub.subscriber.(positioned)
			if !ok || !one.position(routed, before) {
				continue
			}
			if told++; told%positionBatch > 0 {
				continue
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(positionPause):
			}
		}
	}
}

// quiet are the subscribers of topics that have had nothing from an offset on.
func (s *shard) quiet(before int64) (subs [][]place) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, t := range s.topics {
		if t.history.last < before {
			subs = append(subs, t.subs)
		}
	}
	return subs
}

// positioned is a Subscriber whose client may be told a position, if it has been routed
// everything up to routed, and has got nothing from before on. It tells whether it was.
type positioned interface {
	position(routed, before int64) bool
}

func (a *Actor) position(routed, before int64) bool {
	return a.mailbox.Position(routed, before, func() []byte {
		offset := strconv.AppendInt([]byte(`{"offset":`), routed, 10)
		return a.encodePush("", outbound.EventPosition, Payload{Data: append(offset, '}')})
	})
}
