package store

import "time"

// Selection is events of one topic whose payloads are to be erased: all that are
// kept, or those of them that the other fields choose.
type Selection struct {
	Topic        string
	AfterOffset  int64     // with offsets above this one
	BeforeOffset int64     // with offsets below this one; 0: whatever they are
	BeforeTime   time.Time // inserted before this; zero: whenever
	Key          *string   // with this key; nil: with any and with none
	Limit        int       // of the topic's events to look at in one call; 0: all
}

// UpTo is the last offset that may be among them, of a log that ends at head.
func (s *Selection) UpTo(head int64) int64 {
	if s.BeforeOffset > 0 {
		return min(head, s.BeforeOffset-1)
	}
	return head
}

// Erasure says which events may have been erased. Their number grows by one with
// each.
type Erasure struct {
	Number int64
	Topic  string
	UpTo   int64 // no event after this offset
}
