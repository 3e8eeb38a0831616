package channels

import "sync"

// idleSlots is how many slots an empty queue keeps at most. Most channels of an
// idle connection never need more than one.
const idleSlots = 4

// Queues borrow their slots, four times as many from step to step, and give
// back what they do not need any more: what one client's burst has made is used
// for the next one's. What nobody has used for a while the garbage collector
// frees.
var slots1, slots4, slots16, slots64, slots256, slots1024 sync.Pool

// takeSlots returns empty slots, at least n.
func takeSlots(n int) []entry {
	switch {
	case n <= 1:
		return borrow[[1]entry](&slots1)[:]
	case n <= 4:
		return borrow[[4]entry](&slots4)[:]
	case n <= 16:
		return borrow[[16]entry](&slots16)[:]
	case n <= 64:
		return borrow[[64]entry](&slots64)[:]
	case n <= 256:
		return borrow[[256]entry](&slots256)[:]
	case n <= 1024:
		return borrow[[1024]entry](&slots1024)[:]
	}
	size := 2048
	for size < n {
		size *= 2
	}
	return make([]entry, size)
}

func borrow[T any](pool *sync.Pool) *T {
	if slots, ok := pool.Get().(*T); ok {
		return slots
	}
	return new(T)
}

// leaveSlots gives slots back, which are empty.
func leaveSlots(s []entry) {
	switch len(s) {
	case 1:
		slots1.Put((*[1]entry)(s))
	case 4:
		slots4.Put((*[4]entry)(s))
	case 16:
		slots16.Put((*[16]entry)(s))
	case 64:
		slots64.Put((*[64]entry)(s))
	case 256:
		slots256.Put((*[256]entry)(s))
	case 1024:
		slots1024.Put((*[1024]entry)(s))
	}
}
