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

// buffer is a queue of emissions, owned by its producer's loop.
type buffer[T any] struct {
	size  int
	keep  Keep
	queue []Emission[T]
	len   int
	in    int64 // events ever added
	out   int64 // events ever removed
}

// add appends what was asked for: it is bounded by the asking.
func (b *buffer[T]) add(e Emission[T]) {
	if len(e.Events) == 0 {
		return
	}
	b.queue = append(b.queue, e)
	b.len += len(e.Events)
	b.in += int64(len(e.Events))
}

// push appends what nobody asked for and returns what there is no room for.
func (b *buffer[T]) push(e Emission[T]) (discarded []Emission[T]) {
	over := b.len + len(e.Events) - b.size
	if b.keep == KeepFirst {
		if over > 0 {
			room := max(0, len(e.Events)-over)
			discarded = append(discarded, e.part(room, len(e.Events)))
			e = e.part(0, room)
		}
		b.add(e)
		return discarded
	}
	b.add(e)
	for over > 0 && len(b.queue) > 0 {
		n := min(over, len(b.queue[0].Events))
		discarded = append(discarded, b.queue[0].part(0, n))
		b.remove(n)
		over -= n
	}
	return discarded
}

// head is the oldest emission, or the rest of it.
func (b *buffer[T]) head() Emission[T] {
	if len(b.queue) == 0 {
		return Emission[T]{}
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
	if h := b.queue[0]; n < len(h.Events) {
		b.queue[0] = h.part(n, len(h.Events))
		return
	}
	b.queue[0] = Emission[T]{}
	if b.queue = b.queue[1:]; len(b.queue) == 0 {
		b.queue = nil
	}
}
