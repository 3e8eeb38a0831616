// Package outbound is what leaves for clients: messages, encoded once for all who
// watch a topic, the bounded mailboxes in which they wait for a connection's writer,
// and the connection that the writer takes them from.
//
// A [Builder] makes a topic's messages a [Segment], in each wire format that somebody
// needs. Package channels routes it, and has each channel's [Mailbox] queue a
// reference to it. A [Connection] has the mailboxes of its channels in line; the
// transport (package socket) takes from it by [Connection.Take].
//
//	Segment ──► Mailbox ─┐
//	Segment ──► Mailbox ─┼► Connection ──► writer
//	replies ─────────────┘
//
// [Options] say how a mailbox keeps, thins out and counts. The package knows nothing
// of hubs and channels: where messages come from is a [Source], and whom a mailbox
// belongs to its [Owner]. A mailbox is a value in its owner's memory, not a thing of
// its own.
//
// # Guarantees
//
// Order: a mailbox's messages leave in the order in which they were queued, and events
// of the log in the order of their offsets. Between mailboxes of one connection the
// writer takes turns.
//
// Loss: nothing is dropped in silence. A message is pushed, withheld as a repeat, or
// dropped for a [DropReason], and counted as one of these.
//
// Bounds: a mailbox holds a bounded number of messages, the mailboxes of a connection
// together a bounded number of bytes ([ConnectionConfig]), what replays under way hold
// is bounded over all connections ([ReplayBudget]), and what a mailbox remembers of what
// it sent takes at most 48 bytes for each of [Options].DedupeEntries.
//
// Cost: a delivery allocates nothing, and fills in one entry where it stands in the
// mailbox's queue, whatever the number of its messages.
//
// # Shutdown
//
// The package starts no goroutine. Timers of mailboxes that collect are stopped when the
// mailbox ends, or its connection closes.
package outbound
