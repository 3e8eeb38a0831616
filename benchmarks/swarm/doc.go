// Package swarm is very many WebSocket clients in one process that cost very
// little, so that what is measured is the server. They are told apart from a
// protocol by a [Dialect], and from the way in by a [Publisher]: the same
// clients measure Sluice and what it is compared with.
//
//	Publisher ──▶ server ──▶ sockets ──▶ readers ──▶ sequences, latencies, windows
//	                           └── each speaks the Dialect, joins its topics ──┘
//
// [Open] connects and joins the clients of a [Load]. On Linux they are bare file
// descriptors that a few readers, each with an epoll instance and one buffer of
// its own, read from; elsewhere each is a connection with a goroutine. An event
// is known by the head of its payload, wherever that stands in a message: so
// one reader counts what any protocol delivers, several in a message too.
//
// A [Window] is a number of events and the clients that have not yet received them
// all: whoever publishes announces it first, and waits for it as long as he will.
//
// # Guarantees
//
// Every subscription keeps a [SequenceCheck] of the numbers that its events carry:
// what is lost, comes twice or out of order is always counted, and costs memory
// only where it happened. Reading an event allocates nothing.
//
// Clients connect from as many loopback addresses as it takes not to run out of
// ports.
//
// # Shutdown
//
// Close ends all connections, with a reset so that no port stays taken, and
// returns when the readers have ended. What was counted may be read then.
package swarm
