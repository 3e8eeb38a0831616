// Package arena holds the bytes of many events in few allocations.
//
// # Guarantees
//
// What is kept never moves and is never written again, so that views of it as
// strings are safe. Chunks grow with what is kept: a batch of one event takes
// little, a large one a handful of allocations. Memory is freed when nothing
// points into it any more.
package arena

import "unsafe"

// Bounds of a chunk. Anything larger gets one to itself.
const (
	minChunk = 4 << 10
	maxChunk = 256 << 10
)

// Arena keeps copies. The zero value is empty and ready. It is for one
// goroutine.
type Arena struct{ chunk []byte }

// Keep returns a copy of b that lasts; nil for nil.
func (a *Arena) Keep(b []byte) []byte {
	if b == nil {
		return nil
	}
	if a.chunk == nil || cap(a.chunk)-len(a.chunk) < len(b) {
		size := min(max(2*cap(a.chunk), minChunk), maxChunk)
		a.chunk = make([]byte, 0, max(size, len(b)))
	}
	start := len(a.chunk)
	a.chunk = append(a.chunk, b...)
	return a.chunk[start:len(a.chunk):len(a.chunk)]
}

// Text reads b as a string without copying it. Nobody may write to b while
// the string is in use.
func Text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
