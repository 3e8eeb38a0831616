package metrics

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/smira/go-statsd"
)

// statsdClient is what a series needs of the StatsD client.
type statsdClient interface {
	Incr(name string, count int64, tags ...statsd.Tag)
	Gauge(name string, value int64, tags ...statsd.Tag)
	PrecisionTiming(name string, d time.Duration, tags ...statsd.Tag)
	// SampledTiming is PrecisionTiming of one duration that stands for 1/rate of them.
	SampledTiming(name string, d time.Duration, rate float64, tags ...statsd.Tag)
}

// statsdName is a series' name and tags as the StatsD client takes them.
type statsdName struct {
	name string
	tags []statsd.Tag
}

var tagStyles = map[TagStyle]*statsd.TagFormat{
	TagsDatadog:  statsd.TagFormatDatadog,
	TagsInflux:   statsd.TagFormatInfluxDB,
	TagsGraphite: statsd.TagFormatGraphite,
}

// packetsPerFlush is the room for what one flush may send: with the packet
// size of the client it holds about 5,000 lines. Beyond it packets are lost,
// and the client reports how many.
const packetsPerFlush = 256

// Run sends to StatsD until ctx ends, then once more, and returns nil. Without
// StatsD it only waits.
func (s *Set) Run(ctx context.Context) error {
	if s.config.StatsD == "" {
		<-ctx.Done()
		return nil
	}
	client := s.openStatsD()
	// The client panics when it is used after Close. Only this goroutine uses
	// it, so that cannot happen.
	defer client.Close()
	ticker := time.NewTicker(s.config.FlushInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			s.flush(client)
			return nil
		case <-ticker.C:
			s.flush(client)
		}
	}
}

func (s *Set) flush(to statsdClient) {
	for _, one := range s.all() {
		one.flush(to)
	}
}

func label(name Name, tags []Tag) statsdName {
	return statsdName{name: string(name), tags: statsdTags(tags)}
}

func statsdTags(tags []Tag) []statsd.Tag {
	out := make([]statsd.Tag, len(tags))
	for i, tag := range tags {
		out[i] = statsd.StringTag(tag.Key, tag.Value)
	}
	return out
}

// printf lets the StatsD client speak through slog.
type printf struct{ logger *slog.Logger }

func (p printf) Printf(format string, args ...any) {
	p.logger.Warn("statsd trouble", "detail", fmt.Sprintf(format, args...))
}
