package sluice

import (
	"strconv"
	"strings"
	"time"

	"github.com/sluicehq/sluice/socket/auth"
	"github.com/sluicehq/sluice/store/relay"
)

// bound is what a number of a configuration may be. What is said of it is made from
// the numbers.
type bound struct {
	field       string
	given       int64
	least, most int64
	zero        string                           // what 0, which is below least, means; "": it is not allowed
	text        string                           // what is allowed, with {least} and {most} for the numbers
	write       func(n int64, short bool) string // as a flag is written, or as people do
}

// number is the bound of what is counted.
func number(field string, given int, least, most int64, text string) bound {
	return bound{field: field, given: int64(given), least: least, most: most, text: text,
		write: func(n int64, _ bool) string { return strconv.FormatInt(n, 10) }}
}

// size is the bound of what is measured in bytes.
func size(field string, given ByteSize, least, most ByteSize, text string) bound {
	return bound{field: field, given: int64(given), least: int64(least), most: int64(most), text: text,
		write: func(n int64, _ bool) string { return ByteSize(n).String() }}
}

// period is the bound of what is measured in time.
func period(field string, given, least, most time.Duration, text string) bound {
	return bound{field: field, given: int64(given), least: int64(least), most: int64(most), text: text,
		write: func(n int64, short bool) string {
			text := time.Duration(n).String()
			if short && strings.HasSuffix(text, "m0s") {
				text = strings.TrimSuffix(text, "0s")
			}
			if short && strings.HasSuffix(text, "h0m") {
				text = strings.TrimSuffix(text, "0m")
			}
			return text
		}}
}

// orZero is the bound with 0 allowed too, and what that means.
func (b bound) orZero(meaning string) bound {
	b.zero = meaning
	return b
}

// allowed says what is.
func (b bound) allowed() string {
	text := strings.NewReplacer("{least}", b.write(b.least, true), "{most}", b.write(b.most, true)).Replace(b.text)
	if b.zero != "" {
		text += " (0: " + b.zero + ")"
	}
	return text
}

// validate reports a number that is out of its bound.
func (b bound) validate(f *faults) {
	if b.given == 0 && b.zero != "" || b.given >= b.least && b.given <= b.most {
		return
	}
	f.add(b.field, b.write(b.given, false), b.allowed())
}

// Bounds that fields and rules for topics share.

func mailboxSize(given int) bound {
	return number("MailboxSize", given, 1, 1<<20, "{least} to {most} messages")
}

func dedupeWindow(given time.Duration) bound {
	return period("DedupeWindow", given, time.Millisecond, 30*24*time.Hour, "{least} to {most}")
}

func flushInterval(given time.Duration) bound {
	return period("FlushInterval", given, time.Millisecond, time.Hour, "{least} to {most}")
}

// maxLast is the most that a rule can allow of a topic's last events.
const maxLast = 10_000

// unbounded is the most of what has no bound that anyone comes to.
const unbounded = 1 << 30

// bounds are those of all numbers.
func (c *Config) bounds() []bound {
	maxDemand := number("MaxDemand", c.MaxDemand, 1, 1<<20, "{least} to {most} events")
	maxMinDemand := maxDemand.most - 1
	if c.MaxDemand >= 1 && int64(c.MaxDemand) <= maxDemand.most { // otherwise that is what is wrong
		maxMinDemand = int64(c.MaxDemand) - 1
	}
	return []bound{
		maxDemand,
		number("MinDemand", c.MinDemand, 1, maxMinDemand, "less than --max-demand").orZero("half of it"),
		number("FetchSize", c.FetchSize, 1, 100_000, "{least} to {most} events"),
		period("Retention", c.Retention, 0, 1<<62, "0 (for ever) or more"),
		size("FetchBytes", c.FetchBytes, 1<<10, 1<<30, "{least} to {most}"),
		period("PollInterval", c.PollInterval, time.Millisecond, time.Minute, "{least} to {most}"),
		number("BatchSize", c.BatchSize, 1, 100_000, "{least} to {most} events"),
		period("BatchTimeout", c.BatchTimeout, 0, time.Minute, "0 (never wait) to {most}"),
		number("Lanes", c.Lanes, 1, 1024, "{least} to {most}").orZero("one per core"),
		number("Writers", c.Writers, 1, 1024, "{least} to {most}").orZero("one per core"),
		number("RateLimit", c.RateLimit, 0, unbounded, "events per second, 0 for no limit"),
		mailboxSize(c.MailboxSize),
		size("MailboxBytes", c.MailboxBytes, 4<<10, 1<<30, "{least} to {most}"),
		size("Recent", c.Recent, 0, 1<<40, "0 to {most}"),
		size("RelayBytes", c.RelayBytes, relay.MinBytes, 1<<40, "{least} to {most}"),
		dedupeWindow(c.DedupeWindow),
		number("DedupeEntries", c.DedupeEntries, 1, 1<<20, "{least} to {most} messages"),
		period("JWTLeeway", c.JWTLeeway, 0, auth.MaxLeeway, "0 to {most}"),
		period("AccessTimeout", c.AccessTimeout, 10*time.Millisecond, time.Minute, "{least} to {most}"),
		period("AccessCache", c.AccessCache, 0, time.Hour, "0 (never) to {most}"),
		number("AccessConnections", c.AccessConnections, 1, 1000, "{least} to {most}"),
		number("InboundQueue", c.InboundQueue, 1, 1<<20, "{least} to {most} messages"),
		size("InboundBytes", c.InboundBytes, 4<<10, 1<<30, "{least} to {most}"),
		number("InboundRate", c.InboundRate, 0, unbounded, "messages per second, 0 for no bound"),
		period("MaxConnectionAge", c.MaxConnectionAge, 0, 1<<60, "0 (never) or more"),
		number("MaxConnections", c.MaxConnections, 0, unbounded, "a number of connections, 0 for no bound"),
		number("MaxConnectionsPerIP", c.MaxConnectionsPerIP, 0, unbounded, "a number of connections, 0 for no bound"),
		number("MaxConnectionsPerUser", c.MaxConnectionsPerUser, 0, unbounded, "a number of connections, 0 for no bound"),
		number("MaxConnectionsPerSecond", c.MaxConnectionsPerSecond, 0, unbounded, "a number of connections, 0 for no bound"),
		number("MaxChannels", c.MaxChannels, 1, 1<<20, "{least} to {most} channels"),
		size("MaxMessageBytes", c.MaxMessageBytes, 128, 1<<30, "{least} to {most}"),
		size("CompressMinBytes", c.CompressMinBytes, 0, 1<<30, "{least} to {most}"),
		size("MaxBodyBytes", c.MaxBodyBytes, 1<<10, 1<<30, "{least} to {most}"),
		size("MaxPayloadBytes", c.MaxPayloadBytes, 1<<10, 256<<20, "{least} to {most}").orZero("what the store says, 1 MiB at first"),
		period("HeartbeatTimeout", c.HeartbeatTimeout, time.Second, time.Hour, "{least} to {most}"),
		period("WriteTimeout", c.WriteTimeout, time.Second, time.Hour, "{least} to {most}"),
		period("DrainTimeout", c.DrainTimeout, 0, time.Hour, "0 to {most}"),
		period("PresenceInterval", c.PresenceInterval, time.Millisecond, 10*time.Second, "{least} to {most}"),
		period("PresencePermdown", c.PresencePermdown, time.Second, time.Hour, "{least} to {most}"),
		number("MaxPresences", c.MaxPresences, 1, 10_000_000, "{least} to {most} presences"),
	}
}
