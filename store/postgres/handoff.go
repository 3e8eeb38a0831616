package postgres

import (
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/store"
)

// What is read together with the round that moves it, at most: where it is
// more, a round trip is little of what it costs.
const (
	maxHandoff      = 128
	maxHandoffBytes = 128 << 10
)

// maxHandoffRow bounds a payload, as it is stored, that is read so: the round waits
// for a slow link to take it.
const maxHandoffRow = maxHandoffBytes / 2

// handoffSQL says of which epoch the log is along with each row: they are few.
const handoffSQL = `SELECT "offset", topic, event, payload, key, inserted_at,
	(SELECT epoch FROM sluice_epochs ORDER BY number DESC LIMIT 1)
	FROM sluice_log WHERE "offset" > $1 AND "offset" <= $2 AND pg_column_size(payload) <= $3 ORDER BY "offset"`

// maxHandoffAge is for how long a page may be taken: who waits for it takes it at
// once, and later the log may have been trimmed, or be in another epoch.
var maxHandoffAge = 100 * time.Millisecond // tests change it

// handoffPage is events that follow one another in the log.
type handoffPage struct {
	epoch  string
	read   time.Time
	events []store.Event // one at least
}

// handoffSize is how many events to read along with the next round: none if more
// are to be expected than it is good for, or if nobody waits for them, here or on other nodes.
func (s *session) handoffSize() int {
	if !s.trickles || s.head == nil || !s.log.head.Waited() && (s.log.wanted == nil || !s.log.wanted()) {
		return 0
	}
	return min(maxHandoff, s.log.sizes.Events(maxHandoffBytes))
}

// OnSequenced has told called by Run after each round of this process that has moved
// something, in their order; it must not block. While wanted says so, what a round
// moves is read along with it if it is little, whether or not somebody waits for it
// here. Call it before Run.
func (l *Log) OnSequenced(told func(store.Sequenced), wanted func() bool) {
	l.told, l.wanted = told, wanted
}

// Leads tells whether this process moves rows from the outbox to the log. Behind a
// pooler each does that runs its log.
func (l *Log) Leads() bool { return l.leadership.gauge() == 1 }

// tellMoved tells what a round has moved, and committed. It comes before anybody is
// woken to read it.
func (s *session) tellMoved(m move, page *handoffPage) {
	if s.log.told == nil || m.rows <= 0 {
		return
	}
	moved := store.Sequenced{After: *m.head - int64(m.rows), Through: *m.head}
	if page != nil {
		moved.Epoch, moved.Events = page.epoch, page.events
	}
	s.log.told(moved)
}

// readHandoff reads what a round has moved, or as much of it as may be kept; nil
// if that is nothing, or not what follows after: whoever reads it will find out.
func (s *session) readHandoff(results pgx.BatchResults, after int64) (*handoffPage, error) {
	rows, err := results.Query()
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	p := handoffPage{read: time.Now()}
	memory := s.log.sizes.Arena(1)
	for bytes := 0; bytes < maxHandoffBytes && rows.Next(); {
		columns := rows.RawValues()
		p.events = append(p.events, event(columns, &memory))
		bytes += len(columns[3])
		if p.epoch == "" {
			p.epoch = string(columns[6])
		}
	}
	rows.Close()
	s.log.sizes.Learn(len(p.events), &memory)
	if len(p.events) == 0 || p.events[len(p.events)-1].Offset != after+int64(len(p.events)) {
		return nil, rows.Err()
	}
	return &p, rows.Err()
}

// keepHandoff keeps a page for who waits for it, unless that has read all of it meanwhile:
// a round's rows can be read as soon as it is committed, which is before this process has
// them.
func (l *Log) keepHandoff(p *handoffPage) {
	l.handoff.Store(p)
	l.dropHandoff()
}

// readTables notes how far a reader has come without the page, and lets go of what nobody
// is going to ask for.
func (l *Log) readTables(through int64) {
	for was := l.fetched.Load(); was < through && !l.fetched.CompareAndSwap(was, through); was = l.fetched.Load() {
	}
	l.dropHandoff()
}

// dropHandoff lets go of a page that was read from the tables. Whoever keeps a page and
// whoever reads the tables does so after that: so the later of them sees both.
func (l *Log) dropHandoff() {
	if p := l.handoff.Load(); p != nil && p.events[len(p.events)-1].Offset <= l.fetched.Load() {
		l.handoff.CompareAndSwap(p, nil)
	}
}

// takeHandoff returns the events after an offset if they are those of the last
// round: none if they are not, or go beyond the limit.
func (l *Log) takeHandoff(after int64, limit store.Limit) []store.Event {
	p := l.handoff.Load()
	if p == nil || p.events[0].Offset != after+1 || len(p.events) > limit.Events || time.Since(p.read) > maxHandoffAge ||
		limit.Epoch != "" && limit.Epoch != p.epoch || limit.Bytes > 0 && limit.Bytes < maxHandoffBytes {
		return nil
	}
	if !l.handoff.CompareAndSwap(p, nil) { // it is for one reader
		return nil
	}
	return p.events
}
