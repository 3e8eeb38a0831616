// Package arena holds the bytes of many events in few allocations.
//
// # Guarantees
//
// What is kept never moves and is never written again, so that views of it as
// strings are safe. A batch of one event takes little, a large one a handful of
// allocations, and one if a [Forecast] was right. Memory is freed when nothing
// points into it any more.
package arena

import (
	"sync/atomic"
	"unsafe"
)

// Bounds of a chunk that nobody has forecast. What is larger gets one to itself.
const (
	minChunk = 4 << 10
	maxChunk = 256 << 10
)

// Arena keeps copies. The zero value is empty and ready. It is for one
// goroutine.
type Arena struct {
	chunk []byte
	kept  int
}

// Keep returns a copy of b that lasts; nil for nil.
func (a *Arena) Keep(b []byte) []byte {
	if b == nil {
		return nil
	}
	if a.chunk == nil || cap(a.chunk)-len(a.chunk) < len(b) {
		size := min(max(a.kept/2, minChunk), maxChunk)
		a.chunk = make([]byte, 0, max(size, len(b)))
	}
	a.kept += len(b)
	start := len(a.chunk)
	a.chunk = append(a.chunk, b...)
	return a.chunk[start:len(a.chunk):len(a.chunk)]
}

// Forecast learns from batches what the next one will take: events of one log
// resemble each other. The zero value expects nothing. Its methods may be called
// concurrently.
type Forecast struct{ perEvent atomic.Int64 }

// Arena returns one with room for a batch of so many events.
func (f *Forecast) Arena(events int) Arena {
	expected := int(f.perEvent.Load()) * events
	if expected == 0 {
		return Arena{}
	}
	return Arena{chunk: make([]byte, 0, min(expected, maxChunk))}
}

// Events returns how many events fit into bytes, if they are like those before.
func (f *Forecast) Events(bytes int) int { return bytes / max(int(f.perEvent.Load()), 1) }

// Learn tells what a batch has taken.
func (f *Forecast) Learn(events int, a *Arena) {
	if events == 0 {
		return
	}
	average := int64(a.kept / events)
	f.perEvent.Store(average + average/16 + 1) // few exceed it by much
}

// Text reads b as a string without copying it. Nobody may write to b while
// the string is in use.
func Text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
