// Package httpserver is what stands around the handlers of an http.Server that
// anybody may reach: each phase of each request has a deadline, and paths mean
// what they say without a redirect.
//
// The listeners of the front door and the endpoints of package socket put their
// handlers into it. What comes in are requests; what goes out are the same
// requests, with a body and a ResponseWriter that move the connection's
// deadlines.
//
// # Guarantees
//
// A client that stalls holds its connection for a bounded time, in whatever
// phase: the head by http.Server.ReadHeaderTimeout, the time between requests by
// IdleTimeout, a body by [Deadlines.Body] and the rate that it must keep, an
// answer by [Deadlines.Write] for each piece. A client that is slow and moves is
// served. How long a handler thinks is up to the handler.
//
// A client that is answered before its body has been read gets to see the answer,
// though it may read none before it has sent all: the rest is read and dropped, as
// long as the client goes on, within bounds.
//
// # Shutdown
//
// [Guard.Drain] leaves those that stall, or are slow, a little while and no
// more, so that http.Server.Shutdown need not wait for them.
package httpserver
