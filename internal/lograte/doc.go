// Package lograte keeps what happens again and again from filling the log: lines of one
// kind are written once in a while, and each says how many were not. Parts of the service
// that log what clients do, or what fails for as long as an outage lasts, ask it first.
//
// # Guarantees
//
// The first line of a kind is written at once. The memory is bounded: of more kinds at a
// time than [MaxKinds], all further ones count as one.
//
// # Shutdown
//
// There is none: nothing runs. What was withheld last is told by no line.
package lograte
