// Package connlimit bounds what strangers can hold open: TCP connections, so that a
// process never runs out of descriptors, and sockets per client address. The front door
// makes the listeners, package socket asks for each socket.
//
// # Guarantees
//
// Bounds: a [Listener] holds no more than Max connections, and Spare further ones that are
// answered 503. When it is full, the connection that has waited longest without a request
// gives way to a new one; where all are at work, new ones are closed at once.
//
// Addresses: [Addresses] counts an IPv4 address, and of IPv6 the /64 that one subscriber
// has. Of X-Forwarded-For it believes what trusted proxies have added, and nothing else.
//
// # Shutdown
//
// Nothing here has a goroutine. A connection counts until it is closed, or until
// Release where a transport has taken it over.
package connlimit
