// Package stages is the stages between the log and the channels: what reads the log
// as fast as demand asks, encodes each topic's events once, and routes them to those
// who watch. [Delivery] puts them together as a topology of package pipeline, and
// package sluice runs it.
//
//	[Producer]  log → events, as many as were asked for
//	partition   events → lanes, by topic
//	batcher     what arrives together goes on together
//	[Encoder]   events → segments, one per topic, in the wire formats in use
//	[Router]    segments → subscribers' mailboxes; demand goes back
//
// Beside the line stand those who need the log for something else, with the
// [Stream] that it is in once the store is open: [Monitor] looks at the log every
// second and says how this node does ([Readiness]), [LogHistory] reads what channels
// missed, and [LogPublisher] appends what they publish.
//
// # Guarantees
//
// Order: a topic's events stay in one lane, and a lane is one after the other,
// so segments of a topic are routed in the order of offsets.
//
// Loss: an event that was fetched is routed, or counted as failed with its
// offset logged. The position in the cursor is one below which every event
// has been routed or failed: after a restart nothing is passed over, and what
// was routed since the last commit is routed again.
//
// Bounds: no more than a lane's max demand of events is under way in it, and
// the log is read only as lanes ask. A slow lane holds up reading; it piles
// up nothing. While one page of a backlog is awaited, the next one is read too,
// if that much has been asked for: the producer prefetches.
//
// # Shutdown
//
// [Delivery.Run] ends with its context: it stops asking, routes what has been
// fetched, commits the position, and returns when no read is under way.
// [Monitor.Watch] ends with its context too. All else starts no goroutine.
package stages
