// Package hooks asks the application's own backend who may connect, who may join, and what
// an event does that a client pushes: HTTP POSTs of JSON, signed as Standard Webhooks are
// (https://www.standardwebhooks.com). The front door makes one [Caller] of each that the
// configuration has; rules for topics say where it counts.
//
// # Guarantees
//
// It fails closed: nothing but an answer 200 of the right shape that says so lets anybody in.
// 401, 403 and "allow": false are a [Denial]; all else is [Unavailable], with a [Fault] that
// is counted, and told in the log once in a while with what was expected. Redirects are not
// followed, and no more than [MaxAnswer] bytes of an answer are read. How much is asked at a
// time is bounded, and what is remembered: see package verdict.
//
// # Shutdown
//
// It starts no goroutine but those of idle HTTP connections, which [Caller.Close] ends.
package hooks
