package channels

import "github.com/sluicehq/sluice/channels/outbound"

// What an application's channels say and are told about what goes to their clients:
// the types and rules of package outbound, where they are written with.
type (
	// Message is what travels to a topic: an event of the log, or a broadcast.
	Message = outbound.Message
	// Payload is the content of a message from or to one client.
	Payload = outbound.Payload
	// Options say how what goes to one client is kept, thinned out and counted.
	Options = outbound.Options
	// Overflow is what happens when a message does not fit into a mailbox.
	Overflow = outbound.Overflow
	// Dedupe says which events of the log are withheld as repeats of others.
	Dedupe = outbound.Dedupe
	// NameError says that a text names no such rule.
	NameError = outbound.NameError
	// PanicError is a panic of a handler, or of an encoder.
	PanicError = outbound.PanicError
)

// The rules for a full mailbox.
const (
	CatchUp    = outbound.CatchUp
	DropOldest = outbound.DropOldest
	DropNewest = outbound.DropNewest
	Latest     = outbound.Latest
	Disconnect = outbound.Disconnect
)

// The rules for repeats.
const (
	DedupeOffset  = outbound.DedupeOffset
	DedupeKey     = outbound.DedupeKey
	DedupePayload = outbound.DedupePayload
)

// What [Context.Push] may return.
var (
	ErrClosed   = outbound.ErrClosed
	ErrOverflow = outbound.ErrOverflow
	ErrShed     = outbound.ErrShed
)
