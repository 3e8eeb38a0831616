package sluice

import (
	"strconv"
	"time"

	"github.com/sluicehq/sluice/socket/auth"
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

// validateNumbers reports what is out of its bounds.
func (c *Config) validateNumbers(f *faults) {
	const maxMaxDemand = 1 << 20
	maxMinDemand := int64(maxMaxDemand) - 1
	if c.MaxDemand >= 1 && c.MaxDemand <= maxMaxDemand { // otherwise that is what is wrong
		maxMinDemand = int64(c.MaxDemand) - 1
	}
	for _, bound := range []struct {
		field         string
		given, lo, hi int64
		allowed       string
	}{
		{"MaxDemand", int64(c.MaxDemand), 1, maxMaxDemand, "1 to 1048576 events"},
		{"MinDemand", int64(c.MinDemand), 0, maxMinDemand, "less than --max-demand (0: half of it)"},
		{"FetchSize", int64(c.FetchSize), 1, 100_000, "1 to 100000 events"},
		{"Retention", int64(c.Retention), 0, 1 << 62, "0 (for ever) or more"},
		{"FetchBytes", int64(c.FetchBytes), 1 << 10, 1 << 30, "1KiB to 1GiB"},
		{"PollInterval", int64(c.PollInterval), int64(time.Millisecond), int64(time.Minute), "1ms to 1m"},
		{"BatchSize", int64(c.BatchSize), 1, 100_000, "1 to 100000 events"},
		{"BatchTimeout", int64(c.BatchTimeout), 0, int64(time.Minute), "0 (never wait) to 1m"},
		{"Lanes", int64(c.Lanes), 0, 1024, "1 to 1024 (0: one per core)"},
		{"Writers", int64(c.Writers), 0, 1024, "1 to 1024 (0: one per core)"},
		{"RateLimit", int64(c.RateLimit), 0, 1 << 30, "events per second, 0 for no limit"},
		{"MailboxSize", int64(c.MailboxSize), 1, maxMailboxSize, mailboxSizes},
		{"MailboxBytes", int64(c.MailboxBytes), 4 << 10, 1 << 30, "4KiB to 1GiB"},
		{"Recent", int64(c.Recent), 0, 1 << 40, "0 to 1024GiB"},
		{"DedupeWindow", int64(c.DedupeWindow), int64(minDedupeWindow), int64(maxDedupeWindow), dedupeWindows},
		{"DedupeEntries", int64(c.DedupeEntries), 1, maxDedupeEntries, dedupeEntries},
		{"JWTLeeway", int64(c.JWTLeeway), 0, int64(auth.MaxLeeway), "0 to 10m"},
		{"InboundQueue", int64(c.InboundQueue), 1, 1 << 20, "1 to 1048576 messages"},
		{"InboundBytes", int64(c.InboundBytes), 4 << 10, 1 << 30, "4KiB to 1GiB"},
		{"InboundRate", int64(c.InboundRate), 0, 1 << 30, "messages per second, 0 for no bound"},
		{"MaxConnectionAge", int64(c.MaxConnectionAge), 0, 1 << 60, "0 (never) or more"},
		{"MaxConnections", int64(c.MaxConnections), 0, 1 << 30, "a number of connections, 0 for no bound"},
		{"MaxConnectionsPerIP", int64(c.MaxConnectionsPerIP), 0, 1 << 30, "a number of connections, 0 for no bound"},
		{"MaxChannels", int64(c.MaxChannels), 1, 1 << 20, "1 to 1048576 channels"},
		{"MaxMessageBytes", int64(c.MaxMessageBytes), 128, 1 << 30, "128B to 1GiB"},
		{"MaxBodyBytes", int64(c.MaxBodyBytes), 1 << 10, 1 << 30, "1KiB to 1GiB"},
		{"MaxPayloadBytes", int64(c.MaxPayloadBytes), 0, maxPayloadBound, payloadBounds},
		{"HeartbeatTimeout", int64(c.HeartbeatTimeout), int64(time.Second), int64(time.Hour), "1s to 1h"},
		{"DrainTimeout", int64(c.DrainTimeout), 0, int64(time.Hour), "0 to 1h"},
	} {
		if bound.given < bound.lo || bound.given > bound.hi {
			f.add(bound.field, c.given(bound.field, bound.given), bound.allowed)
		}
	}
	if c.MaxPayloadBytes > 0 && c.MaxPayloadBytes < minPayloadBound {
		f.add("MaxPayloadBytes", c.MaxPayloadBytes.String(), payloadBounds)
	}
}

// given writes a bounded field's value as its flag would be written.
func (c *Config) given(field string, v int64) string {
	switch field {
	case "FetchBytes", "MailboxBytes", "InboundBytes", "MaxMessageBytes", "MaxBodyBytes", "MaxPayloadBytes", "Recent":
		return ByteSize(v).String()
	case "PollInterval", "BatchTimeout", "DedupeWindow", "HeartbeatTimeout", "DrainTimeout", "MaxConnectionAge", "Retention", "JWTLeeway":
		return time.Duration(v).String()
	}
	return strconv.FormatInt(v, 10)
}
