// Package logtail keeps the end of the log for who has no other way to it: the last
// warnings and errors, and those messages of a lower level that are asked for by name,
// such as that a client was refused. The front door hands the service a logger with a
// [Tail] in it; the console shows what it has.
//
// # Guarantees
//
// All goes on to the handler behind it as before: what that one leaves out by its level,
// it goes on to leave out. At most [Kept] records are kept, of [MaxText] bytes each at
// most, and nothing that a log would not have: no tokens, no payloads.
//
// # Shutdown
//
// It starts nothing.
package logtail
