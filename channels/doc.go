// Package channels is where a topic meets the people who watch it: topics and
// their subscribers, and one channel per client and topic. What waits for a client,
// and how it leaves, is package outbound's.
//
// The line (package stages) encodes a topic's events into an [outbound.Segment], once
// for each wire format in use, and hands it to [Hub.Route]. The hub hands it to
// every subscriber. An [Actor], which runs one [Channel] for one client, queues
// a reference to it in its [outbound.Mailbox]. The connection's writer (package socket)
// takes from all mailboxes of the connection through its [outbound.Connection].
//
//	Hub ── Segment ──► Actor ──► Mailbox ─┐
//	                   Actor ──► Mailbox ─┼► Connection ──► writer
//	       replies of the connection ─────┘
//
// A channel that takes a look at events before they go out ([OutHandler]) has
// them pass through its actor on the way to its mailbox.
//
// How what goes to a client is kept, thinned out and counted ([Options]) is
// said by the endpoint, or by the Channel's Join: what happens when the mailbox
// is full, which events are withheld as repeats, for how long messages are
// collected, and the tags of its metrics.
//
// An application implements [Channel]. Everything else here is used by the
// floors above: serializers fulfil [outbound.Encoder], the front door fulfils
// [Publisher].
//
// # Guarantees
//
// Order: a channel's messages leave in the order in which they were queued, and
// events of the log in the order of their offsets. Between channels of one
// connection the writer takes turns.
//
// Loss: an event that is sequenced after a join was answered reaches the
// mailbox, or the connection is closed, unless the channel's rule sheds. A
// channel that was joined with "after" sheds nothing of the log. Nothing is
// dropped in silence: a message is pushed, withheld as a repeat, or dropped for
// a reason, and counted as one of these, in the counters of its channel's tags.
//
// Repeats: within one join an offset is queued once. With [DedupeKey] or
// [DedupePayload] an event is withheld if it repeats one that was queued, was
// inserted less than the window before or after it, and is among the last
// DedupeEntries that the channel remembers. That is the same for a channel that
// is live, behind or resuming: it depends on the log and on where the channel
// began. What was queued and then shed does not count as sent. Lateness is
// forgiven up to a window: an event that was committed later than that after it
// was inserted may be sent although it repeats another.
//
// Bounds: a mailbox holds a bounded number of messages, a connection's
// mailboxes together a bounded number of bytes ([outbound.ConnectionConfig]), an actor's
// inbox JoinRequest.Queue messages of its client's ([InboundBytes] bounds their
// bytes for a connection) and [InboxSize] of its own, and what a channel remembers of what
// it sent takes at most 48 bytes for each of DedupeEntries, which channels that have been
// sent the same take once, all together; with [DedupeOffset] it remembers an offset.
//
// Who is there: a channel that follows it ([Context.FollowPresence]) is given a list
// once, and then each change, in order. If a change, or the list, is shed it is given a
// fresh list as soon as half of its mailbox is free, and none of the changes before that:
// it is never left with a wrong list.
//
// What was read from the history and is on its way to clients takes a bounded
// number of bytes, of all clients together ([outbound.ReplayBudget]).
//
// Cost: fan-out holds no lock of the hub while it delivers, allocates nothing
// and never waits for a client. A delivery fills in one entry where it stands in
// the mailbox's queue, whatever the number of its messages; the slots of queues
// that have grown are lent out among them. A full mailbox costs no more than one
// that is not, unless its rule is Latest or it dedupes, which look at every
// message. What repeats is looked up once for all channels of a topic that have
// been sent the same and have room ([outbound.SharedWindows]). What it costs to
// remember a segment, and to forget another for it, does not depend on how many
// there are. An idle channel is one actor and one slot; what few channels have is
// made when it is asked for.
//
// Isolation: a handler that panics ends its own channel only.
//
// # Locks
//
// Each lock, with those that are taken while it is held; whoever holds one takes none
// from a line above it:
//
//	Actor.mu         shard.mu, LogLimiter.mu, Connection.mu, that of a presence.Tracker
//	shard.mu         evictionOrder.mu, Connection.mu
//	Connection.mu    Replayer.mu, ReplayBudget.mu, awaiting.mu, SharedWindows.mu, those of the
//	                 metrics.Set, and what its Wake takes (package socket)
//	counterSet.mu    those of the metrics.Set
//	evictionOrder.mu, Replayer.mu, ReplayBudget.mu, pages.mu, LogLimiter.mu, awaiting.mu,
//	SharedWindows.mu
//	                 none
//
// docs/architecture.md has those of all packages in one list.
//
// Connection.mu and those of package outbound guard its mailboxes, too. An encoder may
// be called with Actor.mu or Connection.mu held. Handlers of channels, and a
// Subscriber's Deliver, are called with none held.
//
// # Shutdown
//
// The package starts goroutines only on behalf of a connection, to run an actor
// that has something to do and what handlers run by [Context.Async], and counts
// them in that connection's WaitGroup. Once all actors of a connection have
// been ended with [Actor.End], their timers and those of their mailboxes are
// stopped, their contexts are cancelled, and the WaitGroup ends when their
// handlers have returned.
package channels
