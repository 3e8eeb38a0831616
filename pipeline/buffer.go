package pipeline

// Keep says which events stay when more are pushed than a buffer holds.
type Keep int

const (
	// KeepLast discards the oldest.
	KeepLast Keep = iota
	// KeepFirst discards the newest.
	KeepFirst
)

// DefaultBuffer bounds what is pushed without demand unless Buffer.Size says otherwise.
const DefaultBuffer = 10_000

// Buffer holds what a producer emits without demand, until there is some.
type Buffer struct {
	// Size is how many events may wait. Zero is DefaultBuffer, less than zero holds none.
	Size int
	Keep Keep
}

// buffer is a queue of what was emitted, owned by its producer's loop.
type buffer[T any] struct {
	size  int
	keep  Keep
	queue []Events[T]
	len   int
	in    int64 // events ever added and kept
	out   int64 // events ever removed from the head
}

// add appends events.
func (b *buffer[T]) add(e Events[T]) {
	if len(e.Items) == 0 {
		return
	}
	b.queue = append(b.queue, e)
	b.len += len(e.Items)
	b.in += int64(len(e.Items))
}

// trim takes out what there is no room for, after pushed events were added that nobody
// asked for: no more than those. What was asked for is bounded by the asking.
func (b *buffer[T]) trim(pushed int) (discarded []Events[T]) {
	for over := min(pushed, b.len-b.size); over > 0; {
		at := 0
		if b.keep == KeepFirst {
			at = len(b.queue) - 1
		}
		e := b.queue[at]
		n := min(over, len(e.Items))
		if over -= n; b.keep == KeepLast {
			discarded = append(discarded, e.part(0, n))
			b.remove(n)
			continue
		}
		rest := len(e.Items) - n
		discarded = append(discarded, e.part(rest, len(e.Items)))
		b.len -= n
		b.in -= int64(n) // as if they had never come: nothing behind them waits
		if b.queue[at] = e.part(0, rest); rest == 0 {
			b.queue[at] = Events[T]{}
			b.queue = b.queue[:at]
		}
	}
	return discarded
}

// head is what was emitted first, or the rest of it.
func (b *buffer[T]) head() Events[T] {
	if len(b.queue) == 0 {
		return Events[T]{}
	}
	return b.queue[0]
}

// remove takes the first n events of the head away.
func (b *buffer[T]) remove(n int) {
	if n == 0 {
		return
	}
	b.len -= n
	b.out += int64(n)
	if h := b.queue[0]; n < len(h.Items) {
		b.queue[0] = h.part(n, len(h.Items))
		return
	}
	b.queue[0] = Events[T]{}
	if b.queue = b.queue[1:]; len(b.queue) == 0 {
		b.queue = nil
	}
}
