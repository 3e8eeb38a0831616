// Package admin is the admin listener's side of a node: the HTTP API that appends,
// broadcasts and erases events and lists who is there, health, metrics, and who may
// use all that. The front door serves [New]'s handler, and hands in what it shows and
// changes as [Config]: parts of lower floors, and the service itself as a [Node].
//
// # Guarantees
//
// What changes something is told to the log, with who did it. Where there is a token,
// nobody reads or changes anything without one; who guesses is slowed, and counted.
// Where there is none, no page of another site may use the listener. A body is bounded
// by [Config.MaxBodyBytes], a list by its limit, what consoles are told ([Feed]) by fixed
// numbers, what is remembered of guesses by a number of networks, and the requests that wait
// for events by their number and time.
//
// # Shutdown
//
// It starts no goroutine and ends with its requests. Those that wait for events are answered
// once the node drains.
package admin
