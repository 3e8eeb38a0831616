// Package client is a client of Sluice's sockets, and of Phoenix Channels in general,
// version 2 of the protocol: it follows topics across connections, pushes, and knows
// who is there. Applications use it, and the command sluice watch; it imports nothing of
// the service.
//
//	c, err := client.Dial(ctx, "wss://example.org/socket", client.Token(token))
//	…
//	defer c.Close()
//	for event, err := range c.Watch(ctx, "orders:eu") {
//		…
//	}
//
// A [Client] is one WebSocket connection at a time for any number of topics. When it is
// lost, the client connects again, with growing pauses that differ from client to client,
// and joins its topics after the last event of each that has come. [Token] is asked at
// every attempt.
//
// # Guarantees
//
// Order, loss: the events of a topic that come from the log come in order, each once, and
// none is left out between two that come, or there is an error between them: a [*ResetError]
// where the server no longer has them, after which it goes on. What cannot be read is left
// out and told by [Skipped]. A broadcast is not logged, and so is lost while the connection
// is away, or when its topic is too far behind.
//
// What a program has done with an event the client does not know. Who has to go on where
// it stopped, when it is started again, keeps [Event.Position] with its results and gives
// it to [From].
//
// Bounds: a message has [MaxMessageBytes]; a larger one is left out. Of a topic
// [QueueEvents] and [QueueBytes] wait for the program, at least one whatever its size. While
// a queue is full nothing is read from the connection, for [Grace] at most, and not at all
// while the answer to a push is awaited: then what comes for that topic is dropped
// until the program has taken all that waits, and the topic is joined again after that, so
// that what was dropped comes from the log. So a loop may push, and a topic whose program
// has stopped does not stop others for longer.
//
// Refusals: what will not be better at the next attempt ends the client or the channel with
// an error: a connection refused with a status other than 429 and 5xx, a join refused for
// another reason than "unavailable", a close with 1000. A first connection that fails, and
// the first join on a connection that is lost, are told at once.
//
// # Shutdown
//
// [Client.Close] returns when the connection is closed and all that the client had started
// has ended. Until then a client has one goroutine, one more while it is connected, and one
// more while it connects. A loop over [Client.Watch] that is left leaves the topic.
package client
