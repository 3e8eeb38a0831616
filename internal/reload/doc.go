// Package reload keeps values that are read from files and read again once those
// have changed: the keys, tokens and certificates that are renewed while a service
// runs. It knows nothing of what is in them. Who reads a secret does so by
// [ReadFile], which looks at who else may.
//
// # Guarantees
//
// A [Value] always has one that could be read. Files are looked at when a value is
// asked for, at most once in [Interval], and never by a goroutine of the package's.
package reload
