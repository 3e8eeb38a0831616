package channels

// A node that falls behind what the log keeps will never route what was trimmed
// before it was read. Nobody can know any more which topics that was for: so every
// channel that has not got beyond it is ended, whatever its rule and however it
// was joined, and its client joins again. One that resumes is told then that it
// cannot have all; one that does not gets the answer to its join anew, which is
// where a page reads its state.

// Skip tells the hub that this node will not route what it has not fetched yet up
// to an offset: it is no longer kept. The producer calls it before anybody sees
// an event beyond that.
//
// The order leaves no channel out: the head comes first, so that a join that is
// answered from now on begins beyond, then the topics. A join that has read the
// head before has subscribed before that.
func (h *Hub) Skip(through int64) {
	h.Advance(through)
	raise(&h.skipped, through)
	for i := range h.shards {
		for _, subs := range h.shards[i].skip(through) {
			for i := range subs {
				if sub := subs[i].taken(); sub != nil {
					if m, ok := sub.subscriber.(misser); ok {
						m.miss(through)
					}
				}
			}
		}
	}
}

// Skipped is the highest offset that was skipped: who resumes from below it misses
// something.
func (h *Hub) Skipped() int64 { return h.skipped.Load() }

// misser is a Subscriber that is told that it will not get what it has not got yet
// up to an offset.
type misser interface{ miss(through int64) }

// skip notes that what is remembered is not whole up to an offset. It returns the
// subscribers of all topics.
func (s *shard) skip(through int64) [][]place {
	s.mu.Lock()
	defer s.mu.Unlock()
	subs := make([][]place, 0, len(s.topics))
	for _, t := range s.topics {
		t.history.since = max(t.history.since, through)
		subs = append(subs, t.subs)
	}
	return subs
}

// miss ends the channel, unless it has got that far.
func (a *Actor) miss(through int64) {
	if a.mailbox.Misses(through) {
		a.missed()
	}
}

// missed ends the channel because something for it is gone: its client joins
// again.
func (a *Actor) missed() {
	p, _ := payloadOf(Reason("missed"))
	a.end(ErrGone, a.encodePush(a.joinRef, "phx_error", p))
}
