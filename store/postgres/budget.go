package postgres

import "time"

// Rows of a round, which the log's readers wait for, and which is done again if
// the session is lost. A backlog is moved in larger ones, since each waits for
// the disk once; but they do not grow beyond what is done in a moment.
const (
	usualRows = 1000
	maxRows   = 4 * usualRows
	longRound = 50 * time.Millisecond
	slowRound = 2 * time.Second
)

// maxRoundBytes bounds a round, as its payloads are stored. One that is larger is
// moved alone.
const maxRoundBytes = 8 << 20

// roundTimeout ends a round, on the server, that has more to do than is done in
// it. maxRoundTimeout is what a single row is given in the end.
const roundTimeout = 10 * time.Second

// roundGrace is how much longer its answer is waited for.
var roundGrace = 5 * time.Second // tests change it

const maxRoundTimeout = time.Hour

// budget is what a round may take. It is kept from one session to the next: what
// was too much for a slow disk or a slow link is too much again. It is owned by
// Run.
type budget struct {
	rows    int
	bytes   int
	timeout time.Duration // for the server
	usual   time.Duration // what timeout is where nothing takes longer
	grace   time.Duration // how much longer an answer is waited for
}

func newBudget() budget {
	return budget{rows: usualRows, bytes: maxRoundBytes, timeout: roundTimeout, usual: roundTimeout, grace: roundGrace}
}

// spent learns from a round that was committed, with more to come or without.
func (b *budget) spent(took time.Duration, more bool) {
	if took < b.timeout/4 { // or a connection that is lost without a word would be waited for as long
		b.timeout = max(b.timeout/2, b.usual)
	}
	switch {
	case took > slowRound:
		b.halve()
	case took < longRound && more:
		b.rows = min(2*b.rows, maxRows)
		b.bytes = min(2*b.bytes, maxRoundBytes)
	case !more && b.rows >= usualRows:
		b.rows = usualRows
	case took < slowRound/4:
		b.rows = min(2*b.rows, usualRows)
		b.bytes = min(2*b.bytes, maxRoundBytes)
	}
}

// exceeded learns from a round that did not come to its end. There is no amount
// with which that goes on for ever: in the end it is one row that gets more time.
func (b *budget) exceeded() {
	if b.rows == 1 || b.bytes == 1 {
		b.rows = 1
		b.timeout = min(2*b.timeout, maxRoundTimeout)
		return
	}
	b.halve()
}

func (b *budget) halve() { b.rows, b.bytes = max(b.rows/2, 1), max(b.bytes/4, 1) }
