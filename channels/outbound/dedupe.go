package outbound

import (
	"slices"
	"time"
)

// dedupeWindow is a channel's memory of the messages that it has sent, by their hashes:
// of the last ones, at most limit. It is a ring in the order of sending, and a
// hash table of places in the ring (open addressing, at most half full).
//
// A message takes 16 bytes in the ring and 8 in the table, both of which double
// as there is more to remember: at most 48 bytes for each of limit, 24 if that
// is a power of two. What is older than two windows is forgotten, so that a
// quiet topic costs little: one window for what repeats it, and another one for
// what repeats it and was committed late.
type dedupeWindow struct {
	by     Format // keyDigests or payloadDigests
	window int64  // nanoseconds
	limit  int

	ring  []fingerprint // a power of two of them, or none; noHash: it does not count any more
	first int           // the oldest is ring[first & mask]; both count on and on
	end   int           // the next goes to ring[end & mask]
	table []int32       // by hash, a message's place in the ring plus one; 0: empty
	clock int64         // when the newest event was inserted

	journal *dedupeJournal // is told what is changed; nil: nobody asks
}

func newDedupeWindow(by Format, window time.Duration, limit int) *dedupeWindow {
	return &dedupeWindow{by: by, window: int64(window), limit: limit}
}

// of are the fingerprints to look at of a segment's messages, nil if there is nothing
// to look at: what is not in the log repeats nothing.
func (s *dedupeWindow) of(seg *Segment) *encoding {
	if s == nil || !seg.Logged() {
		return nil
	}
	return seg.encoded(s.by)
}

// repeats tells whether a message repeats one that was sent.
func (s *dedupeWindow) repeats(d fingerprint) bool {
	at, ok := s.find(d.hash)
	if !ok {
		return false
	}
	apart := d.inserted - s.ring[s.table[at]-1].inserted
	return max(apart, -apart) < s.window
}

// note remembers a message that is being sent.
func (s *dedupeWindow) note(d fingerprint) {
	s.clock = max(s.clock, d.inserted)
	s.age()
	if s.end-s.first == len(s.ring) {
		s.grow()
	}
	place := s.end & (len(s.ring) - 1)
	s.ring[place] = d
	s.end++
	at, again := s.find(d.hash)
	if again {
		old := int(s.table[at]) - 1
		if s.journal != nil {
			s.journal.replaced = append(s.journal.replaced, replaced{s.first + (old-s.first)&(len(s.ring)-1), d.hash})
		}
		s.ring[old].hash = noHash
	}
	s.table[at] = int32(place + 1)
}

// forget takes back that a message was sent: it has been shed.
func (s *dedupeWindow) forget(d fingerprint) { s.drop(d.hash) }

// age forgets what is too much, or too old.
func (s *dedupeWindow) age() {
	for s.first < s.end {
		oldest := s.ring[s.first&(len(s.ring)-1)]
		if oldest.hash != noHash {
			if s.end-s.first < s.limit && s.clock-oldest.inserted < 2*s.window {
				return
			}
			s.drop(oldest.hash)
		}
		if s.journal != nil {
			s.journal.aged = append(s.journal.aged, oldest)
		}
		s.first++
	}
	if len(s.ring) > leastRing {
		s.ring, s.table = nil, nil
	}
}

// leastRing is how many messages the smallest ring holds. It is kept.
const leastRing = 8

// grow doubles the ring and the table.
func (s *dedupeWindow) grow() {
	old := s.ring
	s.ring = make([]fingerprint, max(leastRing, 2*len(old)))
	s.table = make([]int32, 2*len(s.ring))
	for i := s.first; i < s.end; i++ {
		s.put(i, old[i&(len(old)-1)])
	}
}

// put puts a message into the ring and the table, in which there is none of its hash.
func (s *dedupeWindow) put(i int, d fingerprint) {
	place := i & (len(s.ring) - 1)
	s.ring[place] = d
	if d.hash != noHash {
		at, _ := s.find(d.hash)
		s.table[at] = int32(place + 1)
	}
}

// fill has an empty window remember messages, as a ring had them.
func (s *dedupeWindow) fill(list []fingerprint) {
	for len(s.ring) < len(list) {
		s.ring = make([]fingerprint, max(leastRing, 2*len(s.ring)))
	}
	s.table = make([]int32, 2*len(s.ring))
	for i, d := range list {
		s.put(i, d)
	}
	s.first, s.end = 0, len(list)
}

// clone is a copy.
func (s *dedupeWindow) clone() *dedupeWindow {
	c := *s
	c.ring, c.table = slices.Clone(s.ring), slices.Clone(s.table)
	return &c
}

// same tells whether two windows remember the same, and so always will, if they are given
// the same.
func (s *dedupeWindow) same(o *dedupeWindow) bool {
	if s.by != o.by || s.window != o.window || s.limit != o.limit || s.clock != o.clock || s.end-s.first != o.end-o.first {
		return false
	}
	for i, j := s.first, o.first; i < s.end; i, j = i+1, j+1 {
		if s.ring[i&(len(s.ring)-1)] != o.ring[j&(len(o.ring)-1)] {
			return false
		}
	}
	return true
}

// find returns the place in the table that a hash has, or would get.
func (s *dedupeWindow) find(hash uint64) (at int, ok bool) {
	if len(s.table) == 0 {
		return 0, false
	}
	for at = s.home(hash); s.table[at] != 0; at = (at + 1) & (len(s.table) - 1) {
		if s.ring[s.table[at]-1].hash == hash {
			return at, true
		}
	}
	return at, false
}

// home is where the search for a hash begins.
func (s *dedupeWindow) home(hash uint64) int { return int(hash) & (len(s.table) - 1) }

// drop takes a hash out of the table and the ring. In the table, those behind
// move up, so that a search never meets a gap before what it looks for.
func (s *dedupeWindow) drop(hash uint64) {
	gap, ok := s.find(hash)
	if !ok {
		return
	}
	s.ring[s.table[gap]-1].hash = noHash
	mask := len(s.table) - 1
	for at := (gap + 1) & mask; s.table[at] != 0; at = (at + 1) & mask {
		home := s.home(s.ring[s.table[at]-1].hash)
		if (at-home)&mask >= (at-gap)&mask {
			s.table[gap], gap = s.table[at], at
		}
	}
	s.table[gap] = 0
}
