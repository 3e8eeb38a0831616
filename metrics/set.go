package metrics

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TagStyle is how StatsD lines carry tags.
type TagStyle string

const (
	TagsDatadog  TagStyle = "datadog"  // name:1|c|#key:value
	TagsInflux   TagStyle = "influx"   // name,key=value:1|c
	TagsGraphite TagStyle = "graphite" // name;key=value:1|c
)

// Config says where metrics go.
type Config struct {
	// StatsD is the host:port of a StatsD server. Empty: Prometheus only.
	StatsD string
	// Prefix stands before every name sent to StatsD, such as "sluice.".
	Prefix string
	// TagStyle is how StatsD lines carry tags. Empty: TagsDatadog.
	TagStyle TagStyle
	// Tags stand on every metric, in StatsD and in Prometheus.
	Tags []Tag
	// FlushInterval is how often StatsD gets sums and gauges. More often
	// costs packets, less often hides short peaks. Zero: one second.
	FlushInterval time.Duration
	// ReconnectInterval is how often the address of StatsD is looked up again: it
	// moves, where containers do. Zero: half a minute.
	ReconnectInterval time.Duration
	// Logger hears of trouble on the way to StatsD. Nil: slog.Default().
	Logger *slog.Logger
}

// A Set is all the metrics of one node. Make it with [New]; nil is a Set that
// measures nothing.
type Set struct {
	// Immutable after New.
	config   Config
	registry *prometheus.Registry

	mu sync.Mutex
	// Guarded by mu. Grows as handles are asked for, never shrinks.
	series map[string]series
	order  []series // in the order of creation
}

// series is one name with one combination of tags: a *Counter, *Gauge,
// *gaugeFunc or *Timing.
type series interface {
	prometheus.Collector
	// flush sends what StatsD is due. Only Run calls it.
	flush(statsdClient)
}

// New makes an empty set. It starts nothing: see [Set.Run].
func New(config Config) (*Set, error) {
	config.FlushInterval = cmp.Or(config.FlushInterval, time.Second)
	config.ReconnectInterval = cmp.Or(config.ReconnectInterval, 30*time.Second)
	config.TagStyle = cmp.Or(config.TagStyle, TagsDatadog)
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	if _, ok := tagStyles[config.TagStyle]; !ok {
		return nil, fmt.Errorf("metrics: TagStyle is %q: allowed is datadog, influx, graphite", config.TagStyle)
	}
	s := &Set{
		config:   config,
		registry: prometheus.NewRegistry(),
		series:   make(map[string]series),
	}
	s.registry.MustRegister((*collector)(s))
	return s, nil
}

// Counter returns the counter of that name and those tags.
func (s *Set) Counter(name Name, tags ...Tag) *Counter {
	if s == nil {
		return nil
	}
	return intern(s, name, tags, func() *Counter {
		return &Counter{desc: s.describe(name, "_total", tags), label: label(name, tags), name: name, tags: tags}
	})
}

// Totals adds up the counters of a name by the value of one of their tags, such as
// "reason", and leaves out what is zero.
func (s *Set) Totals(name Name, key string) map[string]int64 {
	totals := map[string]int64{}
	if s == nil {
		return totals
	}
	for _, one := range s.all() {
		counter, ok := one.(*Counter)
		if !ok || counter.name != name {
			continue
		}
		for _, tag := range counter.tags {
			if n := counter.Value(); tag.Key == key && n > 0 {
				totals[tag.Value] += n
			}
		}
	}
	return totals
}

// Gauge returns the gauge of that name and those tags.
func (s *Set) Gauge(name Name, tags ...Tag) *Gauge {
	if s == nil {
		return nil
	}
	return intern(s, name, tags, func() *Gauge {
		return &Gauge{desc: s.describe(name, "", tags), label: label(name, tags)}
	})
}

// GaugeFunc has read called whenever the gauge of that name and those tags is
// looked at, from any goroutine. A second call for the same gauge is ignored.
func (s *Set) GaugeFunc(name Name, read func() int64, tags ...Tag) {
	if s == nil {
		return
	}
	intern(s, name, tags, func() *gaugeFunc {
		return &gaugeFunc{desc: s.describe(name, "", tags), label: label(name, tags), read: read}
	})
}

// Timing returns the timing of that name and those tags.
func (s *Set) Timing(name Name, tags ...Tag) *Timing {
	if s == nil {
		return nil
	}
	return intern(s, name, tags, func() *Timing {
		return newTiming(label(name, tags), s.describe(name, "_seconds", tags), s.config.StatsD != "")
	})
}

// intern finds a series or makes it. Asking for one name as two kinds of
// metric is a programmer's error.
func intern[S series](s *Set, name Name, tags []Tag, make func() S) S {
	id := fmt.Sprint(name, tags)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.series[id]; ok {
		same, ok := old.(S)
		if !ok {
			panic(fmt.Sprintf("metrics: %s is a %T already", id, old))
		}
		return same
	}
	made := make()
	s.series[id] = made
	s.order = append(s.order, made)
	return made
}

// all returns the series made so far.
func (s *Set) all() []series {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.order)
}

func (s *Set) describe(name Name, suffix string, tags []Tag) *prometheus.Desc {
	return prometheus.NewDesc(prometheusName(name, suffix), Meaning[name], nil, s.labels(tags))
}

func (s *Set) labels(tags []Tag) prometheus.Labels {
	labels := prometheus.Labels{}
	for _, tag := range slices.Concat(s.config.Tags, tags) {
		labels[labelName(tag.Key)] = tag.Value
	}
	return labels
}

func prometheusName(name Name, suffix string) string {
	return "sluice_" + strings.ReplaceAll(string(name), ".", "_") + suffix
}

// labelName makes a tag's key one that Prometheus accepts.
func labelName(key string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, key)
}
