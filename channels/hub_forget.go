package channels

// Forget lets go of what is remembered of a topic's events up to an offset: the
// log has others in their place now, and who catches up reads them there. It is
// called once the log has them; what was read before and is still on its way is
// not remembered either. What is queued for clients is theirs already.
func (h *Hub) Forget(topic string, upTo int64) {
	s := h.shard(topic)
	s.mu.Lock()
	if t := s.topics[topic]; t != nil {
		t.history.erase(upTo)
	}
	// A topic that somebody watches from now on begins at the head: only what is
	// beyond it may still come as it was read before.
	head := h.Head()
	for name, last := range s.erased {
		if last <= head {
			delete(s.erased, name)
		}
	}
	if upTo > head {
		if s.erased == nil {
			s.erased = map[string]int64{}
		}
		s.erased[topic] = max(s.erased[topic], upTo)
	}
	s.mu.Unlock()
	if r := h.replayer.Load(); r != nil {
		r.pages.forget(topic)
	}
}

// ForgetAll is Forget for all topics: where it is not known which.
func (h *Hub) ForgetAll(upTo int64) {
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.RLock()
		names := make([]string, 0, len(s.topics))
		for name := range s.topics {
			names = append(names, name)
		}
		s.mu.RUnlock()
		for _, name := range names {
			h.Forget(name, upTo)
		}
	}
	if r := h.replayer.Load(); r != nil {
		r.pages.forget("")
	}
}

// erase lets go of the segments that begin at an offset or before it, those that
// are yet to be routed included. Their places stay, as others count on them.
func (p *topicHistory) erase(upTo int64) {
	p.erased = max(p.erased, upTo)
	for i := range p.list.Len() {
		if each := p.list.At(i); each.segment != nil && each.segment.First() <= upTo {
			each.segment = nil
			p.since = max(p.since, each.last)
		}
	}
}

// forget lets go of a topic's pages, or of all; those that are being read now are
// not kept.
func (p *pages) forget(topic string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgotten++
	kept := p.list[:0]
	for _, one := range p.list {
		if topic == "" || one.topic == topic {
			p.held -= one.segment.Size()
		} else {
			kept = append(kept, one)
		}
	}
	clear(p.list[len(kept):])
	p.list = kept
}
