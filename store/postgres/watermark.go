package postgres

import (
	"math"
	"slices"
	"strings"
	"time"
)

// floor says which of the outbox's rows a round may pass over: those that were
// moved, or rolled back, and that a held snapshot keeps in the index. It
// decides how long a round takes, never what reaches the log: ids are drawn
// before commit, so it rises only past those that no open transaction can
// still commit, never past a row that a round has seen and not moved, and once in
// a while a round begins at the beginning all the same.
//
// It is owned by a session's loop.
type floor struct {
	id int64 // rows up to it are done with; 0: none, not even those with a negative id

	// The next floor. settled says that its writers have ended, so that a
	// round that begins later finds all rows up to next, or there is none.
	next    int64
	writers []string // transactions that were open when next had been drawn
	settled bool

	watchDue time.Time // when to ask for the writers again
	sweepDue time.Time // when to begin at the beginning again

	file uint32 // of the sequence: another one when it has been restarted
	off  bool   // ids were not drawn in ascending order: the floor stays where it is, at the beginning
}

// writers is what sluice_writers returns.
type writers struct {
	drawn    int64    // the id that was drawn last
	open     []string // transactions that may, after that, commit one up to it
	ordered  bool     // ids are drawn in ascending order
	file     uint32
	notifier string // the transaction that sends a wake-up when it commits, if there is one
	pid      int    // of its session
}

// beginning is before every id: some can be negative, by hand.
const beginning = math.MinInt64

// How often writers are asked for, and how late a row can be that was given an
// id by hand. Tests watch always, and do not sweep.
var (
	watchPause = time.Second
	sweepPause = time.Minute
)

// start is where the round that begins now begins.
func (f *floor) start(now time.Time) int64 {
	if f.sweepDue.IsZero() {
		f.sweepDue = now.Add(sweepPause)
	}
	if f.id == 0 || now.After(f.sweepDue) {
		return beginning
	}
	return f.id
}

// passedOver tells whether rounds may have passed over a row with this id.
func (f *floor) passedOver(id int64) bool { return f.id != 0 && id <= f.id }

// reset forgets what is known: it is of another sequence, or of other writers.
func (f *floor) reset() {
	*f = floor{watchDue: f.watchDue, file: f.file, off: f.off}
}

// distrust lets rounds begin at the beginning from now on: some session has ids
// that were drawn long ago, and has more of them perhaps.
func (f *floor) distrust() {
	f.reset()
	f.off = true
}

// moved tells that a round that began after the id start has moved all rows up
// to last, or, when drained, all there are.
func (f *floor) moved(now time.Time, start, last int64, drained bool) {
	if drained && start == beginning {
		f.sweepDue = now.Add(sweepPause)
	}
	if !f.settled {
		return
	}
	if drained {
		last = f.next
	}
	f.id = max(f.id, min(last, f.next))
	f.settled = f.id < f.next
}

// watched tells which id was drawn last, and who may commit one up to it.
func (f *floor) watched(w writers) {
	switch {
	case !w.ordered:
		f.distrust()
	case w.drawn < f.next || f.file != 0 && w.file != f.file: // the sequence was set back
		f.reset()
	}
	f.file = w.file
	if f.settled || f.off {
		return
	}
	if f.next > f.id {
		f.settled = !slices.ContainsFunc(w.open, func(name string) bool { return isPrepared(name) || slices.Contains(f.writers, name) })
		return
	}
	f.next, f.writers = w.drawn, w.open
	f.settled = len(w.open) == 0 && w.drawn > f.id
}

// isPrepared reports a prepared transaction: it may have had another name when
// the floor's writers were listed.
func isPrepared(writer string) bool { return strings.HasPrefix(writer, "-1/") }
