// Package socket is where clients connect: the transports, and the session that
// carries many channels over one connection. What their messages look like is
// package phoenix's business, and what happens on a channel is package channels'.
//
// The front door mounts an [Endpoint] as an http.Handler, several if it wants
// several kinds of users, and runs each with [Endpoint.Run]. Coming in are HTTP
// requests to {path}/websocket, {path}/longpoll and {path}/sse; going out are calls of the
// host's channels, and frames from their mailboxes to the kernel.
//
//	reader ── message ──► session ──► Actor (package channels)
//	writer ◄── frames ─── Connection ◄─── mailboxes
//
// The session knows no transport. A transport (conn, longpollSession, sseStream) brings
// complete messages in, takes frames out of what is outbound, and can be closed.
// Frames are encoded for their transport, so that what is shared by a thousand
// connections goes to the kernel as it is.
//
// What carries a WebSocket (connIO) is, on Linux and without TLS, an epollConn: a
// socket that a few goroutines serve together with all others. Each event loop
// reads from its share of the connections, into one buffer, and looks after their
// deadlines; the writers share a queue of the connections that have something to
// send. A connection that waits to be written to collects what is routed to it
// meanwhile, so that one system call carries it all: the busier, the cheaper.
// Everywhere else it is a goroutineConn, on any net.Conn. Both bring the bytes,
// in whatever pieces, to conn.receive, and all above that is the same.
//
// # Guarantees
//
// Order: messages of one connection are handled in the order in which they
// arrive within a channel; frames leave in the order in which they were queued.
//
// Loss: a connection that loses a message is closed, with a code that says why.
// The client joins again and asks for what it missed.
//
// Bounds: a message has at most Config.MaxMessageBytes, a connection
// Config.MaxChannels channels and what its connection allows. A connection from
// which nothing comes for Config.HeartbeatTimeout is closed, and so is one that
// does not accept what is written within Config.WriteTimeout; the clocks for
// this are looked at now and then (looks), so that it takes a little longer. An
// epollConn costs no goroutine and no buffer: Config.Writers goroutines write,
// and as many read. A goroutineConn costs one goroutine that reads, and another
// one while there is something to write; a long-poll session costs none between
// its requests. A stream of server-sent events (sseStream) is a request that goes on: its
// handler writes, and nothing is read from it but that its client has gone.
//
// A long-poll session ends when its grace is over, or soon after it has been
// shut, whatever its requests do: what they read and write has deadlines, and
// ends with the session. What is left to chance is what the kernel has taken for a
// client that went at that moment; stock clients give the session up then.
//
// Where there are other nodes, a [Handover] takes a long-poll's requests to the one
// that holds its session, which is the token's to say. A POST's messages are handled
// once, however often the bus brings them; what a GET takes stays with the holder until
// the other node has said what became of it: written, it is done with; not begun, it is
// for the next GET; anything else ends the session, and so does silence. What a node
// holds for the clients of others is bounded: heldGets that wait, a goroutine each, and
// handedBodyBytes of what they send.
//
// Bad input ends that connection and no other.
//
// # Shutdown
//
// When the context of [Endpoint.Run] ends, new connections are refused, the
// open ones are closed in paced batches once what was queued for them is
// written, and Run returns when all goroutines have ended: those that read and
// write, and those of handlers. After
// Config.DrainTimeout connections are cut.
package socket
