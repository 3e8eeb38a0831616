// Package socket is where clients connect: the transports, the wire formats of
// Phoenix Channels, and the session that carries many channels over one
// connection. What happens on a channel is package channels' business.
//
// The front door mounts an [Endpoint] as an http.Handler, several if it wants
// several kinds of users, and runs each with [Endpoint.Run]. Coming in are HTTP
// requests to {path}/websocket and {path}/longpoll; going out are calls of the
// host's channels, and frames from their mailboxes to the kernel.
//
//	reader ── message ──► session ──► Actor (package channels)
//	writer ◄── frames ─── Outlet ◄─── mailboxes
//
// The session knows no transport. A transport (conn, poll) brings complete
// messages in, takes frames out of the outlet, and can be closed. Frames are
// encoded for their transport, so that what is shared by a thousand
// connections goes to the kernel as it is.
//
// # Guarantees
//
// Order: messages of one connection are handled in the order in which they
// arrive within a channel; frames leave in the order of the outlet.
//
// Loss: a connection that loses a message is closed, with a code that says why.
// The client joins again and asks for what it missed.
//
// Bounds: a message has at most Config.MaxMessageBytes, a connection
// Config.MaxChannels channels and what its outlet allows. A connection from
// which nothing comes for Config.HeartbeatTimeout is closed, and so is one that
// does not accept what is written within Config.WriteTimeout. A WebSocket costs
// one goroutine that reads, and another one while there is something to write;
// a long-poll session costs none between its requests.
//
// Bad input ends that connection and no other.
//
// # Shutdown
//
// When the context of [Endpoint.Run] ends, new connections are refused, the
// open ones are closed in paced batches once what was queued for them is
// written, and Run returns when all goroutines of all connections have ended:
// the reader's and the writer's, and those of handlers. After
// Config.DrainTimeout connections are cut.
package socket
