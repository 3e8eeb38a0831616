// Package broadcast carries broadcasts between the nodes of a cluster. The front door
// makes a [Bridge] and joins it, on one side, with the topics of this node (package
// channels), and on the other with the bus (package cluster).
//
//	PubSub.Broadcast ── Bridge.Send ──► bus ──► Bridge of another node ── PubSub.Deliver
//	Hub ── Bridge.Enter, Leave ──► which subjects this node subscribes to
//
// Topics are spread by a hash over [Subjects] subjects of the bus. A node subscribes to
// those that a topic with a subscriber of its own falls to, and keeps a subscription for a
// while after the last has left. So a broadcast goes to the nodes that may have somebody
// for it, and where there is none it costs nobody anything.
//
// # Guarantees
//
// At most once: a broadcast reaches who has joined its topic on a node that hears this
// one, and is repeated to nobody, whatever the bus repeats. It is lost where the bus loses
// it: with a node that is cut off, or so slow that its queue is full. Nodes are not told
// of an interest at once, either: who is the first on its node to join a topic of a
// subject may miss what other nodes broadcast in the moments after its join was answered.
// What answers a broadcast of its own it does not miss for that: a node subscribes before
// it sends on.
//
// Order: what one node broadcasts to one topic arrives in the order in which it was sent,
// and so it does here, since it is sent before it is delivered. Between nodes there is no
// order.
//
// All or nothing: where the bus takes nothing at all, or a payload is larger than the bus
// carries, nothing is sent, and the error says so. Else what is sent has been sent to all
// that hear it; cluster.Missing says who does not.
//
// Bounds: a message of the bus is cluster.MaxData at most, larger batches are split.
// Nothing is queued here: Send waits for no node, and what is received is handed on before
// the next is taken. Of each node that sends, and each subject, a position is remembered,
// for ten minutes after its last message, of a bounded number of nodes.
//
// What arrives is believed only as far as it can be checked: what does not parse, is of
// another version, has been changed on its way or could not have been broadcast is
// counted and dropped whole.
//
// # Shutdown
//
// It starts no goroutine: [Bridge.Run] works until its context ends, and ends all
// subscriptions then.
package broadcast
