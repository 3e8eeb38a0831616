package channels

import (
	"cmp"
	"slices"
)

// TopicInfo describes a topic that somebody watches.
type TopicInfo struct {
	Topic    string
	Channels int // that have joined it
}

// List describes topics: the most watched ones, and at most limit of them. It
// looks at one shard after another, so that it is not a picture of one moment.
func (h *Hub) List(limit int) []TopicInfo {
	var list []TopicInfo
	for i := range h.shards {
		list = h.shards[i].appendTo(list)
		if len(list) > limit {
			slices.SortFunc(list, byAudience)
			list = list[:limit]
		}
	}
	slices.SortFunc(list, byAudience)
	return list
}

func (s *shard) appendTo(list []TopicInfo) []TopicInfo {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, t := range s.topics {
		list = append(list, TopicInfo{t.name, t.live})
	}
	return list
}

// byAudience puts the most watched topics first, and equals in the order of
// their names.
func byAudience(a, b TopicInfo) int {
	return cmp.Or(cmp.Compare(b.Channels, a.Channels), cmp.Compare(a.Topic, b.Topic))
}
