package sluice

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluicehq/sluice/channels"
)

// What a channel says about its delivery, in the call of [Context.SetOptions]:
// the types and rules of package channels, at the front door.
type (
	// Options say how what goes to one client is kept, thinned out and
	// counted.
	Options = channels.Options
	// Overflow is what happens when a mailbox is full.
	Overflow = channels.Overflow
	// Dedupe says which events are withheld as repeats of others.
	Dedupe = channels.Dedupe
)

// The rules for a full mailbox.
const (
	CatchUp    = channels.CatchUp
	DropOldest = channels.DropOldest
	DropNewest = channels.DropNewest
	Latest     = channels.Latest
	Disconnect = channels.Disconnect
)

// The rules for repeats.
const (
	DedupeOffset  = channels.DedupeOffset
	DedupeKey     = channels.DedupeKey
	DedupePayload = channels.DedupePayload
)

// Bounds that flags and rules for topics share.
const (
	maxMailboxSize   = 1 << 20
	maxDedupeEntries = 1 << 20
	minDedupeWindow  = time.Millisecond
	maxDedupeWindow  = 30 * 24 * time.Hour
	minFlushInterval = time.Millisecond
	maxFlushInterval = time.Hour
)

// The same and the other choices, in words.
const (
	mailboxSizes   = "1 to 1048576 messages"
	dedupeEntries  = "1 to 1048576 messages"
	dedupeWindows  = "1ms to 720h"
	flushIntervals = "1ms to 1h"
)

// What --max-payload-bytes may be.
const (
	minPayloadBound = 1 << 10
	maxPayloadBound = 256 << 20
	payloadBounds   = "1KiB to 256MiB (0: what the store says, 1 MiB at first)"
)

var (
	overflowNames = []string{"catch-up", "drop-oldest", "drop-newest", "latest", "disconnect"}
	dedupeNames   = []string{"offset", "key", "payload"}
)

// delivery is what the configuration, which is valid, says for all topics.
func (c *Config) options() Options {
	d := named(c.Overflow, c.Dedupe)
	d.MailboxSize, d.DedupeWindow, d.DedupeEntries = c.MailboxSize, c.DedupeWindow, c.DedupeEntries
	return d
}

// delivery is what the rule, which is valid, says for its topics.
func (r *TopicRule) options() Options {
	d := named(r.Overflow, r.Dedupe)
	d.MailboxSize, d.DedupeWindow, d.FlushInterval, d.Tags = r.MailboxSize, r.DedupeWindow, r.FlushInterval, r.Tags
	return d
}

// named is a delivery by the names of its rules: what is unknown is left open,
// as what is empty is.
func named(overflow, dedupe string) (d Options) {
	d.Overflow, _ = channels.ParseOverflow(overflow)
	d.Dedupe, _ = channels.ParseDedupe(dedupe)
	return d
}

// validateDelivery reports what is wrong with a rule's part of how messages are
// delivered. The configuration's own tags are taken.
func (r *TopicRule) validateOptions(f *faults, taken map[string]string) {
	for _, choice := range []struct {
		field, given string
		allowed      []string
	}{{"Overflow", r.Overflow, overflowNames}, {"Dedupe", r.Dedupe, dedupeNames}} {
		if choice.given != "" && !slices.Contains(choice.allowed, choice.given) {
			f.add(choice.field, choice.given, strings.Join(choice.allowed, ", "))
		}
	}
	if r.MailboxSize < 0 || r.MailboxSize > maxMailboxSize {
		f.add("MailboxSize", strconv.Itoa(r.MailboxSize), mailboxSizes)
	}
	for _, each := range []struct {
		field              string
		given, least, most time.Duration
		allowed            string
	}{
		{"DedupeWindow", r.DedupeWindow, minDedupeWindow, maxDedupeWindow, dedupeWindows},
		{"FlushInterval", r.FlushInterval, minFlushInterval, maxFlushInterval, flushIntervals},
	} {
		if each.given != 0 && (each.given < each.least || each.given > each.most) {
			f.add(each.field, each.given.String(), each.allowed)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(r.Tags)) {
		if _, global := taken[key]; global {
			f.add("Tags", key, "as key none of those of --tag")
		} else {
			validateTag(f, "Tags", key, r.Tags[key])
		}
	}
}

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
var ownTags = []string{"commit", "go", "le", "node", "quantile", "reason", "route", "stage", "status", "transport", "version"}

// Tags are what all outlets of metrics can carry without escaping.
var (
	tagKey       = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)
	statsdPrefix = regexp.MustCompile(`^[A-Za-z0-9_.-]{0,200}$`)
	tagValue     = regexp.MustCompile(`^[A-Za-z0-9_./-]{1,200}$`)
)

const tagValues = "as value 1 to 200 letters, digits and any of _.-/"
