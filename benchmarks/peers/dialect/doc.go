// Package dialect has the protocols of the servers that Sluice is measured
// beside, as far as the clients of package swarm need them: connecting, joining
// topics, and answering what keeps a connection alive. Events are found by the
// swarm itself, which looks for the payload, so that nothing here is on the way
// of a delivery.
//
//	[Centrifuge]  JSON commands and replies, several in a message, one a line
//	[SocketIO]    the packets of Engine.IO 4 with those of Socket.IO 5 inside
//	[Plain]       the frames of servers/node/ws.js
//
// # Guarantees
//
// What a dialect does not know ends the client with an error that shows the
// message: a server that refuses, or speaks otherwise than expected, is no
// result.
//
// # Shutdown
//
// Dialects hold nothing, and may be used by any number of goroutines.
package dialect
