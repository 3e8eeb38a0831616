package main

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// statsdSample is one line of StatsD.
type statsdSample struct {
	name  string  // with its tags, as name{key=value,…} in the order of their keys
	kind  string  // "c", "g", "ms", "h", "d" or "s"
	value float64 // of all but a set
	delta bool    // of a gauge: it changes by value
	text  string  // of a set
	rate  float64 // of the samples that were taken, this one is sent; 1: all
}

// parseStatsD reads a line: name:value|kind, then |@rate, and tags in one of three forms: |#key:value,…
// (DogStatsD), name,key=value,…: (InfluxDB) or name;key=value;…: (Graphite).
func parseStatsD(line string) (s statsdSample, ok bool) {
	// A tag's value may have a colon in it, the kind has none.
	head, rest, found := strings.Cut(line, "|")
	colon := strings.LastIndexByte(head, ':')
	if !found || colon < 1 {
		return s, false
	}
	name, value := head[:colon], head[colon+1:]
	fields := strings.Split(rest, "|")
	s.kind, s.rate = fields[0], 1
	var tags []string
	for _, field := range fields[1:] {
		switch {
		case strings.HasPrefix(field, "@"):
			rate, err := strconv.ParseFloat(field[1:], 64)
			if err != nil || !(rate > 0 && rate <= 1) {
				return s, false
			}
			s.rate = rate
		case strings.HasPrefix(field, "#"):
			for tag := range strings.SplitSeq(field[1:], ",") {
				tags = append(tags, strings.Replace(tag, ":", "=", 1))
			}
		}
	}
	for _, separator := range []string{";", ","} {
		if before, after, found := strings.Cut(name, separator); found {
			name = before
			tags = append(tags, strings.Split(after, separator)...)
			break
		}
	}
	if name == "" {
		return s, false
	}
	s.name = name
	if len(tags) > 0 {
		slices.Sort(tags)
		s.name += "{" + strings.Join(tags, ",") + "}"
	}
	switch s.kind {
	case "s":
		s.text = value
		return s, value != ""
	case "c", "g", "ms", "h", "d":
	default:
		return s, false
	}
	number, err := strconv.ParseFloat(value, 64)
	if err != nil || math.IsNaN(number) || math.IsInf(number, 0) {
		return s, false
	}
	s.value = number
	s.delta = s.kind == "g" && (value[0] == '+' || value[0] == '-')
	return s, true
}
