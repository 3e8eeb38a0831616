package outbound

// Overflow is what happens when a message does not fit into a channel's mailbox
// any more. Whatever the rule, other clients do not notice, and replies are
// never shed. A channel that was joined with "after" never sheds what is in the
// log: it catches up, unless its rule is to disconnect.
type Overflow uint8

const (
	// CatchUp queues nothing more of the log, and reads what was missed as soon
	// as the client has taken what is queued. Broadcasts, which are not in the
	// log, are shed.
	CatchUp Overflow = iota + 1

	// DropOldest sheds what has waited longest.
	DropOldest

	// DropNewest sheds what does not fit.
	DropNewest

	// Latest sheds what a newer event with the same key makes superfluous, from
	// when the mailbox is full until the client has taken all of it. If that is
	// not enough, it sheds what has waited longest. An event without a key, or a
	// broadcast, makes nothing superfluous.
	Latest

	// Disconnect closes the socket of the client that is too slow. It joins
	// again and asks for what it missed.
	Disconnect
)

var overflowNames = []string{
	CatchUp: "catch-up", DropOldest: "drop-oldest", DropNewest: "drop-newest", Latest: "latest", Disconnect: "disconnect"}

// ParseOverflow reads an overflow rule by its name. The error is a [*NameError].
func ParseOverflow(name string) (Overflow, error) { return named[Overflow](overflowNames, name) }

// String is the rule's name; zero, which is no rule, has an empty one.
func (o Overflow) String() string { return nameOf(overflowNames, o) }

// Valid tells whether there is such a rule. Zero is none.
func (o Overflow) Valid() bool { return o > 0 && int(o) < len(overflowNames) }

// MarshalText implements [encoding.TextMarshaler].
func (o Overflow) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]; an empty text is zero.
func (o *Overflow) UnmarshalText(text []byte) error { return orNone(o, text, ParseOverflow) }

// DropReason says why messages that were meant for a client were not sent.
type DropReason string

const (
	// DropOverflow are messages that the rule of a full mailbox has shed.
	DropOverflow DropReason = "overflow"

	// DropSuperseded are messages that Latest has shed for a newer one with the
	// same key.
	DropSuperseded DropReason = "superseded"

	// DropTooSlow are messages of a client that was disconnected because a
	// mailbox overflowed.
	DropTooSlow DropReason = "too_slow"

	// DropClosed are messages still queued, or being written, when their connection
	// was closed or lost, and those that a channel was looking at when it ended.
	DropClosed DropReason = "closed"

	// DropReplaced are messages still queued for a channel when its client
	// joined the topic again.
	DropReplaced DropReason = "replaced"

	// DropWithheld are messages that the channel, which looked at them first, did
	// not let out.
	DropWithheld DropReason = "withheld"

	// DropUnreadable are messages that the client's wire format has no form for.
	DropUnreadable DropReason = "unreadable"
)

var dropReasons = []DropReason{DropOverflow, DropSuperseded, DropTooSlow, DropClosed, DropReplaced, DropWithheld, DropUnreadable}
