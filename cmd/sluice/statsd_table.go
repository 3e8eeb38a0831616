package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// What a table keeps at most: metrics, and of one timing or set what arrives between two pages. What
// is beyond is counted.
const (
	maxStatsDSeries  = 10_000
	maxStatsDSamples = 1_000
)

// statsdTable is what has arrived. Its methods may be called concurrently.
type statsdTable struct {
	mu sync.Mutex
	// Guarded by mu.
	series  map[statsdKey]*statsdSeries
	unread  int64 // lines that are none
	dropped int64 // lines of metrics that there is no room for
}

type statsdKey struct{ name, kind string }

// statsdSeries is what has arrived of one metric.
type statsdSeries struct {
	sum   float64 // of a counter, for good
	value float64 // of a gauge
	count float64 // of what arrived since the last page, those included that it stands for

	samples  []float64           // of a timing since then: a uniform choice of those that arrived
	arrived  int                 // how many did
	distinct map[string]struct{} // of a set since then
}

func newStatsDTable() *statsdTable { return &statsdTable{series: map[statsdKey]*statsdSeries{}} }

// take takes in a line whose metric has the filter in it.
func (t *statsdTable) take(line []byte, filter string) {
	sample, ok := parseStatsD(string(line))
	t.mu.Lock()
	defer t.mu.Unlock()
	if !ok {
		t.unread++
		return
	}
	if filter != "" && !strings.Contains(sample.name, filter) && !strings.Contains(string(line), filter) {
		return
	}
	key := statsdKey{sample.name, sample.kind}
	s := t.series[key]
	if s == nil {
		if len(t.series) >= maxStatsDSeries {
			t.dropped++
			return
		}
		s = &statsdSeries{}
		t.series[key] = s
	}
	s.take(sample)
}

func (s *statsdSeries) take(sample statsdSample) {
	switch sample.kind {
	case "c":
		s.sum += sample.value / sample.rate
		s.count += sample.value / sample.rate
	case "g":
		if sample.delta {
			s.value += sample.value
		} else {
			s.value = sample.value
		}
	case "s":
		if s.distinct == nil {
			s.distinct = map[string]struct{}{}
		}
		if len(s.distinct) < maxStatsDSamples {
			s.distinct[sample.text] = struct{}{}
		}
	default:
		s.count += 1 / sample.rate
		s.arrived++
		if len(s.samples) < maxStatsDSamples {
			s.samples = append(s.samples, sample.value)
		} else if at := rand.IntN(s.arrived); at < maxStatsDSamples {
			s.samples[at] = sample.value
		}
	}
}

// statsdKinds are the kinds, in the order of the table, by what it calls them.
var statsdKinds = map[string]string{"c": "counter", "g": "gauge", "ms": "timing", "h": "histogram", "d": "distribution", "s": "set"}

// page is the table as text, of what has arrived during the time since the last one, which begins
// anew with it.
func (t *statsdTable) page(since time.Duration) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out strings.Builder
	seconds := max(since.Seconds(), 1e-9)
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "METRIC\tKIND\tRATE/S\tVALUE\tP50\tP90\tP99\tMAX\n")
	keys := slices.SortedFunc(maps.Keys(t.series), func(a, b statsdKey) int {
		return strings.Compare(a.name+" "+a.kind, b.name+" "+b.kind)
	})
	for _, key := range keys {
		s := t.series[key]
		fmt.Fprintf(table, "%s\t%s\t", harmless([]byte(key.name)), statsdKinds[key.kind])
		switch key.kind {
		case "c":
			fmt.Fprintf(table, "%s\t%s\t\t\t\t\n", number(s.count/seconds), number(s.sum))
		case "g":
			fmt.Fprintf(table, "\t%s\t\t\t\t\n", number(s.value))
		case "s":
			fmt.Fprintf(table, "\t%d\t\t\t\t\n", len(s.distinct))
		default:
			fmt.Fprintf(table, "%s\t\t%s\t%s\t%s\t%s\n", number(s.count/seconds), s.quantile(.5), s.quantile(.9), s.quantile(.99), s.quantile(1))
		}
		s.count, s.samples, s.arrived, s.distinct = 0, s.samples[:0], 0, nil
	}
	table.Flush()
	fmt.Fprintf(&out, "%d metrics", len(t.series))
	if t.unread > 0 {
		fmt.Fprintf(&out, ", %d lines that are no StatsD", t.unread)
	}
	if t.dropped > 0 {
		fmt.Fprintf(&out, ", %d lines of more metrics than are kept", t.dropped)
	}
	out.WriteString("\n\n")
	return out.String()
}

// quantile is a timing's, "" if none has arrived.
func (s *statsdSeries) quantile(q float64) string {
	if len(s.samples) == 0 {
		return ""
	}
	slices.Sort(s.samples)
	return number(s.samples[min(len(s.samples)-1, int(q*float64(len(s.samples))))])
}

// number is short, and exact where it is a whole one.
func number(v float64) string {
	if v == float64(int64(v)) {
		return fmt.Sprintf("%d", int64(v))
	}
	return fmt.Sprintf("%.4g", v)
}
