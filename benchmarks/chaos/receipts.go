package chaos

import (
	"fmt"
	"math/bits"
	"strings"
	"time"

	"github.com/sluicehq/sluice/benchmarks/swarm"
)

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

// has tells whether n was added.
func (s numbers) has(n int64) bool {
	return n/64 < int64(len(s)) && s[n/64]&(1<<(n%64)) != 0
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

// told is a word to a client that it cannot have what came after one position
// and up to another: what is in between may be missing, and nothing else.
type told struct {
	fromEpoch, toEpoch string
	from, to           int64
	when               time.Time
}

// receipts are what a client has received of a topic, over all its connections.
type receipts struct {
	last     int64     // the highest offset of this epoch
	seen     []numbers // by writer
	strangeN int64     // of nobody that writes
	check    swarm.Check
	course   []string // its last joins and what they were answered, for who looks for a cause
	odd      []string // the first arrivals that were wrong, with the course until then

	// What is due begins after this position, once started.
	started    bool
	startEpoch string
	start      int64
	told       []told
	erased     []offsetIn // without their payload, and so without their number
}

// offsetIn is an offset in an epoch that a client knows by name.
type offsetIn struct {
	epoch  string
	offset int64
}

// noteErased enters the arrival of an event whose payload was erased.
func (r *receipts) noteErased(epoch string, offset int64) {
	if offset <= r.last {
		r.check.Disordered++
		r.oddity("out of order", offset, -1, -1)
	}
	r.last = max(r.last, offset)
	r.erased = append(r.erased, offsetIn{epoch, offset})
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
		r.oddity("twice", offset, writer, number)
	case offset <= r.last:
		r.check.Disordered++
		r.oddity("out of order", offset, writer, number)
	}
	r.last = max(r.last, offset)
	return first
}

// What is remembered of a client's course, and of what was wrong in it.
const maxCourse, maxOddities = 6, 4

// went notes a step of the course.
func (r *receipts) went(format string, values ...any) {
	if len(r.course) == maxCourse {
		r.course = append(r.course[:0], r.course[1:]...)
	}
	r.course = append(r.course, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, values...))
}

func (r *receipts) oddity(what string, offset int64, writer int, number int64) {
	if len(r.odd) < maxOddities {
		r.odd = append(r.odd, fmt.Sprintf("%s %s: event %d of writer %d at %d, after %d; %s",
			time.Now().Format("15:04:05.000"), what, number, writer, offset, r.last, strings.Join(r.course, ", ")))
	}
}

// maxNumber keeps a wrong number from costing memory.
const maxNumber = 1 << 30

// against compares with what came into the log of the topic. Nothing may be
// missing that the client was not told of. untold is how many were; strange
// counts what arrived and never was in the log.
func (r *receipts) against(topic string, a *audit) (c swarm.Check, excused, strange int64) {
	c, strange = r.check, r.strangeN
	start := a.at(r.startEpoch, r.start)
	for _, e := range a.byTopic[topic] {
		switch {
		case e.writer < 0 || e.writer >= int64(len(r.seen)): // a client's
		case r.seen[e.writer].has(e.number) || r.started && !start.before(e.position):
		case r.excuses(a, e.position):
			excused++
		default:
			c.Lost++
		}
	}
	logged := a.logged(topic, len(r.seen))
	for writer := range r.seen {
		strange += r.seen[writer].without(logged[writer])
	}
	return c, excused, strange
}

// firstLost is where the first event stands that is missing and was not told of.
func (r *receipts) firstLost(topic string, a *audit) (e entry, ok bool) {
	start := a.at(r.startEpoch, r.start)
	for _, e := range a.byTopic[topic] {
		if e.writer >= 0 && e.writer < int64(len(r.seen)) && !r.seen[e.writer].has(e.number) &&
			!(r.started && !start.before(e.position)) && !r.excuses(a, e.position) {
			return e, true
		}
	}
	return e, false
}

// excuses tells whether the client was told that it misses what is there, or
// received it without its payload.
func (r *receipts) excuses(a *audit, p position) bool {
	for _, e := range r.erased {
		if a.at(e.epoch, e.offset) == p {
			return true
		}
	}
	for _, t := range r.told {
		if a.at(t.fromEpoch, t.from).before(p) && !a.at(t.toEpoch, t.to).before(p) {
			return true
		}
	}
	return false
}

// causeless counts the words that a client should not have been told: all that
// it asked for had been in the log for less than the retention, and nobody had
// removed anything by hand until then.
func (r *receipts) causeless(a *audit, retention time.Duration, removed time.Time) (n int64) {
	for _, t := range r.told {
		if !removed.IsZero() && t.when.After(removed) {
			continue
		}
		if at, ok := a.oldestAfter(a.at(t.fromEpoch, t.from)); !ok || t.when.Sub(at) < retention {
			n++
		}
	}
	return n
}
