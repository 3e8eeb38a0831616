package swarm

import (
	"fmt"
	"time"
)

// Tally is what came of a swarm.
type Tally struct {
	Deliveries int64 // different events, over all subscriptions
	Check
	// CutBecause is why the first of the sockets that were cut ended.
	CutBecause string
	// First and Last are when the first and the last delivery arrived.
	First, Last time.Time
	// Latency is from an event's At until a client had it; nil if none said.
	Latency *Percentiles
	// Joins is from the beginning of a connection to the answer to its last
	// join, over all clients.
	Joins *Percentiles
}

// Tally sums up what arrived of all events announced. Call it after Close.
func (s *Swarm) Tally() (t Tally) {
	var events int64
	if list := s.windows.announced(); len(list) > 0 {
		events = list[len(list)-1].events
	}
	for _, c := range s.clients {
		var check Check
		for subscription, topic := range c.topics {
			check = check.Plus(c.sequences[subscription].Check(s.config.Load.Share(int(topic), events)))
		}
		if c.cause != nil {
			check.Cut = 1
			if t.CutBecause == "" {
				t.CutBecause = fmt.Sprintf("client %d: %v", c.number, c.cause)
			}
		}
		t.Check = t.Plus(check)
		t.Deliveries += c.arrived
	}
	for _, r := range s.readers {
		first, last := time.Unix(0, r.first.Load()), time.Unix(0, r.last.Load())
		if r.first.Load() != 0 && (t.First.IsZero() || first.Before(t.First)) {
			t.First = first
		}
		if last.After(t.Last) && r.last.Load() != 0 {
			t.Last = last
		}
	}
	t.Latency, t.Joins = s.Latencies().Percentiles(), s.joins.Percentiles()
	return t
}

// Joins is how long it took each client from the beginning of its connection to
// the answer to its last join.
func (s *Swarm) Joins() *Latencies { return s.joins }

// Latencies is how long it took from events' At until clients had them. Call it after
// Close.
func (s *Swarm) Latencies() *Latencies {
	all := NewLatencies()
	for _, r := range s.readers {
		all.Merge(r.latencies)
	}
	return all
}
