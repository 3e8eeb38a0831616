package sluice

import (
	"regexp"
	"slices"
	"strings"
)

// validateTag reports a tag that not all outlets of metrics can carry, or that clashes
// with one that is there already.
func validateTag(f *faults, field, key, value string) {
	switch {
	case slices.Contains(ownTags, key) || strings.HasPrefix(key, "__") || !tagKey.MatchString(key):
		f.add(field, key, "as key letters, digits and _, with no digit and no __ at the beginning, other than "+strings.Join(ownTags, ", "))
	case !tagValue.MatchString(value):
		f.add(field, value, tagValues)
	}
}

// ownTags are those that metrics have by themselves, or that Prometheus gives a meaning.
var ownTags = []string{"commit", "go", "hook", "le", "node", "quantile", "reason", "route", "stage", "status", "transport", "version"}

// Tags are what all outlets of metrics can carry without escaping.
var (
	tagKey   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)
	tagValue = regexp.MustCompile(`^[A-Za-z0-9_./-]{1,200}$`)
)

const tagValues = "as value 1 to 200 letters, digits and any of _.-/"

// statsdPrefix is what all StatsD servers take before a name.
var statsdPrefix = regexp.MustCompile(`^[A-Za-z0-9_.-]{0,200}$`)
