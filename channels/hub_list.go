package channels

import (
	"cmp"
	"slices"
	"time"
)

// TopicInfo describes a topic that somebody watches.
type TopicInfo struct {
	Topic    string
	Channels int     // that have joined it
	Rate     float64 // messages a second that have gone to it lately, events and broadcasts, counted once whatever the number of channels
}

// List describes topics: the most watched ones, and at most limit of them. It
// looks at one shard after another, so that it is not a picture of one moment.
func (h *Hub) List(limit int) []TopicInfo { return h.list(limit, byAudience) }

// Busiest is List with those first that have the highest rate.
func (h *Hub) Busiest(limit int) []TopicInfo { return h.list(limit, byRate) }

func (h *Hub) list(limit int, order func(a, b TopicInfo) int) []TopicInfo {
	var list []TopicInfo
	now := time.Now()
	for i := range h.shards {
		list = h.shards[i].appendTo(list, now)
		if len(list) > limit {
			slices.SortFunc(list, order)
			list = list[:limit]
		}
	}
	slices.SortFunc(list, order)
	return list
}

func (s *shard) appendTo(list []TopicInfo, now time.Time) []TopicInfo {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, t := range s.topics {
		list = append(list, TopicInfo{t.name, t.live, t.rate.perSecond(now)})
	}
	return list
}

// byAudience puts the most watched topics first, and equals in the order of
// their names.
func byAudience(a, b TopicInfo) int {
	return cmp.Or(cmp.Compare(b.Channels, a.Channels), cmp.Compare(a.Topic, b.Topic))
}

// byRate puts the busiest topics first, and equals as byAudience does.
func byRate(a, b TopicInfo) int {
	return cmp.Or(cmp.Compare(b.Rate, a.Rate), byAudience(a, b))
}
