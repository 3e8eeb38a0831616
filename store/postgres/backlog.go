package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/sluicehq/sluice/store"
)

// countedRows is how many rows of the outbox are counted one by one; where there are
// more, the server's statistics say how many.
const countedRows = 1000

// lookShare is which share of a backend's time looking at the outbox may take, while
// rounds are committed: with many dead rows, which a snapshot holds, it takes long.
const lookShare = 20

// lookSQL begins where rounds do.
const lookSQL = `SELECT current_setting('transaction_read_only') = 'on', few,
	CASE WHEN few > $2 THEN greatest(few, pg_stat_get_live_tuples('sluice_outbox'::regclass)) ELSE few END,
	coalesce((SELECT extract(epoch FROM clock_timestamp() - inserted_at)::float8 FROM sluice_outbox WHERE id > $1 ORDER BY id LIMIT 1), 0),
	holder, since
	FROM (SELECT count(*) AS few FROM (SELECT FROM sluice_outbox WHERE id > $1 ORDER BY id LIMIT $2 + 1) AS counted) AS rows
	LEFT JOIN sluice_leases ON name = $3 AND until > clock_timestamp() AND holder <> ''`

// backlog is the outbox as this node has last seen it.
type backlog struct {
	mu sync.Mutex
	// Guarded by mu.
	last  store.Outbox
	at    time.Time // when it was
	next  time.Time // when to look again, if nothing presses
	start int64     // what a round of this node's, if it leads, has begun after
}

// due tells whether it is time to look again. At rest there is little to see: the leader's
// rounds find no rows, and others have seen that there are none.
func (b *backlog) due(now time.Time, quiet, rests bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	pause := watcherRest
	if !quiet {
		pause = watchedRest
	}
	if rests && b.last.Rows == 0 && now.Sub(b.at) < pause {
		return false
	}
	return quiet || !now.Before(b.next)
}

// seen is what was seen last. Rows that nobody has seen go grow older.
func (b *backlog) seen() store.Outbox {
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.last
	if o.Rows > 0 {
		o.Age += time.Since(b.at)
	}
	return o
}

// begins notes where rounds begin.
func (b *backlog) begins(start int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.start = start
}

// look asks how the outbox stands, and who leads. While rounds are committed, it
// passes over what they do.
func (l *Log) look(ctx context.Context, quiet bool) (readOnly, rows bool, err error) {
	b := &l.backlog
	start := int64(beginning)
	if !quiet {
		b.mu.Lock()
		start = b.start
		b.mu.Unlock()
	}
	began := time.Now()
	var few, all int64
	var age float64 // seconds
	var holder *string
	var since *time.Time
	err = l.pool.QueryRow(ctx, lookSQL, start, int64(countedRows), leaderName).Scan(&readOnly, &few, &all, &age, &holder, &since)
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next = now.Add(lookShare * now.Sub(began))
	if err != nil {
		return false, false, err
	}
	b.at = now
	b.last = store.Outbox{Rows: all, Age: time.Duration(max(0, age) * float64(time.Second))}
	leader := store.Leader{}
	if holder != nil && since != nil {
		leader = store.Leader{Node: *holder, Since: since.UTC()}
	}
	l.leadership.read(leader)
	return readOnly, few > 0, nil
}
