package postgres

import (
	"math"
	"slices"
	"strings"
	"time"
)

// lowWatermark says which of the outbox's rows a round may pass over: those that were
// moved, or rolled back, and that a held snapshot keeps in the index. It
// decides how long a round takes, never what reaches the log: ids are drawn
// before commit, so it rises only past those that no open transaction can
// still commit, never past a row that a round has seen and not moved, and once in
// a while a round begins at the beginning all the same.
//
// It is owned by a session's loop.
type lowWatermark struct {
	id int64 // rows up to it are done with; 0: none, not even those with a negative id

	// The next one. settled says that its writers have ended, so that a
	// round that begins later finds all rows up to next, or there is none.
	next    int64
	writers []string // transactions that were open when next had been drawn
	settled bool

	watchDue time.Time // when to ask for the writers again
	sweepDue time.Time // when to begin at the beginning again

	file uint32 // of the sequence: another one when it has been restarted
	off  bool   // ids were not drawn in ascending order: it stays where it is, at the beginning
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
func (m *lowWatermark) start(now time.Time) int64 {
	if m.sweepDue.IsZero() {
		m.sweepDue = now.Add(sweepPause)
	}
	if m.id == 0 || now.After(m.sweepDue) {
		return beginning
	}
	return m.id
}

// passedOver tells whether rounds may have passed over a row with this id.
func (m *lowWatermark) passedOver(id int64) bool { return m.id != 0 && id <= m.id }

// reset forgets what is known: it is of another sequence, or of other writers.
func (m *lowWatermark) reset() {
	*m = lowWatermark{watchDue: m.watchDue, file: m.file, off: m.off}
}

// distrust lets rounds begin at the beginning from now on: some session has ids
// that were drawn long ago, and has more of them perhaps.
func (m *lowWatermark) distrust() {
	m.reset()
	m.off = true
}

// moved tells that a round that began after the id start has moved all rows up
// to last, or, when drained, all there are.
func (m *lowWatermark) moved(now time.Time, start, last int64, drained bool) {
	if drained && start == beginning {
		m.sweepDue = now.Add(sweepPause)
	}
	if !m.settled {
		return
	}
	if drained {
		last = m.next
	}
	m.id = max(m.id, min(last, m.next))
	m.settled = m.id < m.next
}

// watched tells which id was drawn last, and who may commit one up to it.
func (m *lowWatermark) watched(w writers) {
	switch {
	case !w.ordered:
		m.distrust()
	case w.drawn < m.next || m.file != 0 && w.file != m.file: // the sequence was set back
		m.reset()
	}
	m.file = w.file
	if m.settled || m.off {
		return
	}
	if m.next > m.id {
		m.settled = !slices.ContainsFunc(w.open, func(name string) bool { return isPrepared(name) || slices.Contains(m.writers, name) })
		return
	}
	m.next, m.writers = w.drawn, w.open
	m.settled = len(w.open) == 0 && w.drawn > m.id
}

// isPrepared reports a prepared transaction: it may have had another name when
// the watermark's writers were listed.
func isPrepared(writer string) bool { return strings.HasPrefix(writer, "-1/") }
