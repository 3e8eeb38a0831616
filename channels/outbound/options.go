package outbound

import (
	"cmp"
	"time"
)

// Options say how what goes to one client is kept, thinned out and counted.
// An endpoint has one for all its channels; a Channel's Join may say otherwise
// for its own, by Context.SetOptions of package channels. A zero field leaves it as it was.
type Options struct {
	// Overflow is what happens when something does not fit into the mailbox.
	// By default it is CatchUp.
	Overflow Overflow

	// MailboxSize is how many messages may be waiting. More rides out longer
	// stalls of a client, for more memory.
	MailboxSize int

	// Dedupe says which events of the log are withheld as repeats of others.
	// By default it is DedupeOffset.
	Dedupe Dedupe

	// DedupeWindow is how far apart two events may have been inserted for one to
	// repeat the other. Once that much has passed since the one that was sent,
	// the next is sent again. By default it is ten minutes.
	DedupeWindow time.Duration

	// DedupeEntries is how many messages a channel remembers having sent, at up
	// to 48 bytes each (24 if it is a power of two), while something may repeat
	// them. The oldest are forgotten first. Channels of a topic that have been sent
	// the same remember it together. By default it is 4096. Channels that dedupe by
	// offset alone remember nothing.
	DedupeEntries int

	// FlushInterval is how long the topic's messages are collected before they
	// are sent together. With the overflow rule Latest, only the newest of each
	// key is sent. What is for this client alone (replies, pushes) is not held
	// up, and takes along what has been collected; a channel that catches up
	// does not wait. What fills half of the mailbox, or of what the connection
	// may hold, goes out before its time. Negative: not at all, which is the default.
	FlushInterval time.Duration

	// MaxLast is how many of a topic's last events a client may begin with, that joins
	// with "last": what is above is cut to it. By default it is 100. Negative: who asks
	// for some is refused.
	MaxLast int

	// Compress says whether what goes to all on the topic is compressed, for clients that
	// take that. By default it is CompressOn.
	Compress Compress

	// Tags stand on the metrics of the channel's messages and joins. They are
	// few by nature, such as tenants or plans, and never users or topics: each
	// combination costs memory for ever.
	Tags map[string]string
}

// Or fills in what is zero.
func (d Options) Or(otherwise Options) Options {
	d.Overflow = cmp.Or(d.Overflow, otherwise.Overflow)
	d.MailboxSize = cmp.Or(max(d.MailboxSize, 0), otherwise.MailboxSize)
	d.Dedupe = cmp.Or(d.Dedupe, otherwise.Dedupe)
	d.DedupeWindow = cmp.Or(max(d.DedupeWindow, 0), otherwise.DedupeWindow)
	d.DedupeEntries = cmp.Or(max(d.DedupeEntries, 0), otherwise.DedupeEntries)
	d.FlushInterval = cmp.Or(d.FlushInterval, otherwise.FlushInterval)
	d.MaxLast = cmp.Or(d.MaxLast, otherwise.MaxLast)
	d.Compress = cmp.Or(d.Compress, otherwise.Compress)
	if d.Tags == nil {
		d.Tags = otherwise.Tags
	}
	return d
}

// WithDefaults fills in the defaults for what is zero.
func (d Options) WithDefaults() Options {
	return d.Or(Options{
		Overflow:      CatchUp,
		MailboxSize:   1024,
		Dedupe:        DedupeOffset,
		DedupeWindow:  10 * time.Minute,
		DedupeEntries: 4096,
		MaxLast:       100,
		Compress:      CompressOn,
	})
}

// formats are those that it needs of a topic's segments, beside the wire's.
func (d Options) formats() FormatSet {
	formats := d.Dedupe.fingerprints()
	if d.Overflow == Latest {
		formats |= Formats(keyFingerprints)
	}
	return formats
}

// Compress says whether messages are compressed.
type Compress uint8

// What it may say.
const (
	CompressOn Compress = iota + 1
	CompressOff
)

// Dedupe says which events of the log a channel takes for repeats, and
// withholds. No channel gets an offset twice, whatever it says.
type Dedupe uint8

const (
	// DedupeOffset withholds nothing but what comes with the same offset.
	DedupeOffset Dedupe = iota + 1

	// DedupeKey withholds events with the key of another that was sent. Events
	// without a key repeat nothing.
	DedupeKey

	// DedupePayload withholds events with the name and the payload of another
	// that was sent.
	DedupePayload
)

var dedupeNames = []string{DedupeOffset: "offset", DedupeKey: "key", DedupePayload: "payload"}

// ParseDedupe reads a dedupe rule by its name. The error is a [*NameError].
func ParseDedupe(name string) (Dedupe, error) { return named[Dedupe](dedupeNames, name) }

// String is the rule's name; zero, which is no rule, has an empty one.
func (d Dedupe) String() string { return nameOf(dedupeNames, d) }

// Valid tells whether there is such a rule. Zero is none.
func (d Dedupe) Valid() bool { return d > 0 && int(d) < len(dedupeNames) }

// MarshalText implements [encoding.TextMarshaler].
func (d Dedupe) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]; an empty text is zero.
func (d *Dedupe) UnmarshalText(text []byte) error { return orNone(d, text, ParseDedupe) }

// fingerprints are what the rule compares, none for DedupeOffset.
func (d Dedupe) fingerprints() FormatSet {
	switch d {
	case DedupeKey:
		return Formats(keyFingerprints)
	case DedupePayload:
		return Formats(payloadFingerprints)
	}
	return 0
}
