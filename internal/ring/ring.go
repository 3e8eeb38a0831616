package ring

// Ring is a FIFO whose elements can also be looked at where they are. Its memory
// is at most four times what is in it, but for leastCapacity.
type Ring[T any] struct {
	slots []T // a power of two of them, or none
	first int // the oldest is slots[first]
	n     int
}

// leastCapacity is how many slots a ring has that has ever held anything.
const leastCapacity = 4

// Len is how many elements there are.
func (r *Ring[T]) Len() int { return r.n }

// At is the element that would leave after i others.
func (r *Ring[T]) At(i int) *T { return &r.slots[(r.first+i)&(len(r.slots)-1)] }

// Push puts an element behind all others.
func (r *Ring[T]) Push(v T) {
	if r.n == len(r.slots) {
		r.resize(max(2*r.n, leastCapacity))
	}
	r.n++
	*r.At(r.n - 1) = v
}

// Pop removes the oldest. There must be one.
func (r *Ring[T]) Pop() T {
	var zero T
	oldest := r.At(0)
	v := *oldest
	*oldest = zero
	r.first = (r.first + 1) & (len(r.slots) - 1)
	r.n--
	if r.n < len(r.slots)/4 && len(r.slots) > leastCapacity {
		r.resize(len(r.slots) / 2)
	}
	return v
}

func (r *Ring[T]) resize(capacity int) {
	slots := make([]T, capacity)
	end := min(r.first+r.n, len(r.slots))
	n := copy(slots, r.slots[r.first:end])
	copy(slots[n:], r.slots[:r.n-n])
	r.slots, r.first = slots, 0
}
