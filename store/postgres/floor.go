package postgres

import (
	"slices"
	"strings"
	"time"
)

// floor says which of the outbox's rows a round may pass over: those that were
// moved, or rolled back, and that a held snapshot keeps in the index. It
// decides how long a round takes, never what reaches the log: ids are drawn
// before commit, so it rises only past those that no open transaction can
// still commit, and once in a while a round begins at 0 all the same.
//
// It is owned by a session's loop.
type floor struct {
	id int64 // rows up to it are done with

	// The next floor. settled says that its writers have ended, so that a
	// round that begins later finds all rows up to next, or there is none.
	next    int64
	writers []string // transactions that were open when next had been drawn
	settled bool

	watchDue time.Time // when to ask for the writers again
	sweepDue time.Time // when to begin at 0 again
}

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
	if now.After(f.sweepDue) {
		return 0
	}
	return f.id
}

// moved tells that a round that began after the id start has moved all rows up
// to last, or, when drained, all there are.
func (f *floor) moved(now time.Time, start, last int64, drained bool) {
	if drained && start == 0 {
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

// watched tells which id was drawn last, and which transactions may, after
// that, commit one up to it.
func (f *floor) watched(drawn int64, writers []string) {
	if drawn < f.next { // the sequence was set back
		*f = floor{watchDue: f.watchDue}
	}
	if f.settled {
		return
	}
	if f.next > f.id {
		f.settled = !slices.ContainsFunc(writers, func(w string) bool { return isPrepared(w) || slices.Contains(f.writers, w) })
		return
	}
	f.next, f.writers = drawn, writers
	f.settled = len(writers) == 0 && drawn > f.id
}

// isPrepared reports a prepared transaction: it may have had another name when
// the floor's writers were listed.
func isPrepared(writer string) bool { return strings.HasPrefix(writer, "-1/") }
