package metrics

import (
	"errors"
	"strconv"
	"time"

	"github.com/smira/go-statsd"
)

// rateFormat has the library, which knows of no rates, put one where tags stand behind a value.
var rateFormat = &statsd.TagFormat{Placement: statsd.TagPlacementSuffix, FirstSeparator: "|@"}

// statsdOutlet sends to StatsD: by one client what stands for itself, by another what stands for
// several.
type statsdOutlet struct {
	*statsd.Client
	sampled *statsd.Client
	style   *statsd.TagFormat
	tags    []statsd.Tag // of everything
}

// openStatsD makes the clients.
func (s *Set) openStatsD() *statsdOutlet {
	options := []statsd.Option{
		statsd.ReconnectInterval(s.config.ReconnectInterval),
		statsd.MetricPrefix(s.config.Prefix),
		statsd.SendQueueCapacity(packetsPerFlush),
		statsd.BufPoolCapacity(packetsPerFlush),
		statsd.Logger(printf{s.config.Logger}),
	}
	o := &statsdOutlet{style: tagStyles[s.config.TagStyle], tags: statsdTags(s.config.Tags)}
	o.sampled = statsd.NewClient(s.config.StatsD, append(options[:len(options):len(options)], statsd.TagStyle(rateFormat))...)
	o.Client = statsd.NewClient(s.config.StatsD, append(options[:len(options):len(options)], statsd.TagStyle(o.style), statsd.DefaultTags(o.tags...))...)
	return o
}

// SampledTiming implements statsdClient.
func (o *statsdOutlet) SampledTiming(name string, d time.Duration, rate float64, tags ...statsd.Tag) {
	text := o.text(tags)
	behind := strconv.FormatFloat(rate, 'f', 9, 64)
	if o.style.Placement == statsd.TagPlacementName {
		name += text
	} else {
		behind += text
	}
	o.sampled.PrecisionTiming(name, d, statsd.StringTag(behind, ""))
}

// text is all tags of a metric as the style has them.
func (o *statsdOutlet) text(tags []statsd.Tag) string {
	var text []byte
	for i, tag := range append(o.tags[:len(o.tags):len(o.tags)], tags...) {
		if i == 0 {
			text = append(text, o.style.FirstSeparator...)
		} else {
			text = append(text, o.style.OtherSeparator)
		}
		text = tag.Append(text, o.style)
	}
	return string(text)
}

// Close sends what is left.
func (o *statsdOutlet) Close() error { return errors.Join(o.Client.Close(), o.sampled.Close()) }
