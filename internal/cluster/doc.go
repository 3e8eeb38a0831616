// Package cluster carries messages between the nodes that serve one log: broadcasts,
// pages of the log, presences, polls that reach another node than the one that holds
// their session.
//
// What comes in are a [Bus]'s Publish and Request; what goes out are the handlers of
// Subscribe and Answer, on the other nodes. The database stays the truth: nothing may
// depend on a message of the bus having arrived.
//
// # Guarantees
//
// A bus may lose, repeat and delay messages, and it may cut some nodes off from others.
// It keeps the order of what one node publishes to one subject, but for what it loses or
// repeats. Publish never waits for another node, and what is queued for one that is slow
// is bounded: beyond that it is lost to that node, and counted. A node hears nothing of
// what it publishes itself. Messages of other installations, and where there is a secret
// those that are not signed with it, never reach a handler.
//
// [NATS] is the bus between processes, by a server in each or an outside one; [None] that
// of a node that is alone. Each message is in an envelope: see envelope.go. It counts if it
// comes from a node that says hello every second, has named this one among those that it
// hears, and is newer than the last of that node on that subject. So nothing that anybody
// has heard and repeats counts, and no clocks need to agree.
//
// Memory: [Pending] bytes wait to be sent and [Pending] before one subscription at most,
// four times that before all of them; a server keeps up to maxPending for each other node,
// and nats.go up to transitBytes of each subscription until [NATS] has taken it over.
//
// # Shutdown
//
// Run blocks until its context ends, sends what has been published, tells the other nodes
// after that that this one leaves, and returns when no handler runs any more and all connections are closed.
package cluster
