// Package presence knows who is on which topic, on all nodes, and what of that has
// changed since clients were told.
//
// Package channels puts its clients in by [Tracker.Track], and passes on what a [Change]
// says: a presence_diff to those who have been given the list, and the list
// ([Tracker.State]), a presence_state, to those who wait for it. Other nodes are told, and
// tell, by a [Bus], which the front door makes of the cluster's.
//
//	Track, Update, Leave ─► Tracker ─► Changes, every Config.Interval ─► clients
//	                           ▲ │
//	          other nodes' ops │ ▼ own ops, and a beat with their number
//	                            Bus
//
// Each node is the only writer of the presences that it keeps, so nothing has to be
// merged: what a node sends is numbered without a gap, and who misses a number asks that
// node for all that it has.
//
// # Guarantees
//
// A list and the changes after it, one after the other, are at each step who was there
// when the change was gathered; what comes and goes within one interval is not told. Of N
// who come in one interval all are told by one message.
//
// A node that is not heard for [SilentAfter] is taken for gone: its presences leave. If
// it is heard again within Config.Permdown they come again, without a transfer if nothing
// was missed. One that says that it shuts down has its presences stay for [Grace], so
// that clients who come to another node in time are updated there and never leave. Once
// all nodes hear each other, the lists of all are who is there, within seconds.
//
// A presence is refused, not shown, if its key or meta is none that all clients can read
// ([CheckKey], [Meta]), or Config.Max would be exceeded; of those that other nodes send,
// too. Each refusal is counted.
//
// Bounds: Config.Max presences of all nodes together, with keys of [MaxKey] and metas of
// [MaxMeta] bytes; of a topic those with the lowest refs are listed, the same on all
// nodes, up to what Config.Listed says, and the others only counted. What waits while a
// node's presences are fetched is bounded by maxQueued.
//
// # Locks
//
// Tracker.sending is held while ops are gathered and published, so that they go out in
// the order of their numbers; Tracker.mu within it, or alone. Config.Listed is called
// with mu held.
//
// # Shutdown
//
// [Tracker.Leave] says goodbye to the other nodes; call it before the clients' sockets
// are closed. Run returns once its context has ended and no fetch is under way.
package presence
