package benchmarks

import "math/bits"

// numbers is a set of small ones.
type numbers []uint64

// add enters n, and tells whether it was new.
func (s *numbers) add(n int64) bool {
	for int64(len(*s)) <= n/64 {
		*s = append(*s, 0)
	}
	word, bit := &(*s)[n/64], uint64(1)<<(n%64)
	added := *word&bit == 0
	*word |= bit
	return added
}

// without counts the numbers that other does not have.
func (s numbers) without(other numbers) (n int64) {
	for i, word := range s {
		if i < len(other) {
			word &^= other[i]
		}
		n += int64(bits.OnesCount64(word))
	}
	return n
}

// truth is what was committed: numbers by topic and writer.
type truth [][]numbers

// receipts are what a client has received of a topic, over all its connections.
type receipts struct {
	last     int64     // the highest offset
	seen     []numbers // by writer
	strangeN int64     // of nobody that writes
	check    Check
}

// note enters an arrival, and tells whether it was the first of that event.
func (r *receipts) note(offset int64, writer int, number int64) (first bool) {
	if writer < 0 || writer >= len(r.seen) || number < 0 || number > maxNumber {
		r.strangeN++
		return false
	}
	switch first = r.seen[writer].add(number); {
	case !first:
		r.check.Twice++
	case offset <= r.last:
		r.check.Disordered++
	}
	r.last = max(r.last, offset)
	return first
}

// maxNumber keeps a wrong number from costing memory.
const maxNumber = 1 << 30

// against compares with what was committed of the topic. strange counts what
// arrived and was not.
func (r *receipts) against(committed []numbers) (c Check, strange int64) {
	c, strange = r.check, r.strangeN
	for writer, due := range committed {
		c.Lost += due.without(r.seen[writer])
		strange += r.seen[writer].without(due)
	}
	return c, strange
}
