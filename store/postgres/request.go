package postgres

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/store/internal/groupcommit"
)

const (
	// insertOnceSQL is insertSQL, but for the drafts of requests that are known: it returns
	// the keys of all others, which it keeps. Where another node keeps one at the
	// moment it waits to see whether that is committed; in the order of the keys, so that
	// no two wait for each other.
	insertOnceSQL = `WITH kept AS (
			INSERT INTO sluice_requests AS r (key, body_sha256, count)
			SELECT key, decode(body_sha256, 'hex'), count FROM unnest($6::text[], $7::text[], $8::bigint[]) AS request (key, body_sha256, count)
			ORDER BY key COLLATE "C"
			ON CONFLICT (key) DO UPDATE SET body_sha256 = excluded.body_sha256, count = excluded.count, at = excluded.at
				WHERE r.at <= clock_timestamp() - interval '1 day'
			RETURNING key
		), written AS (
			INSERT INTO sluice_outbox (topic, event, payload, key)
			SELECT topic, event, payload::json, key
			FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY AS draft (topic, event, payload, key, request, n)
			WHERE request IS NULL OR request IN (SELECT kept.key FROM kept)
			ORDER BY n
		)
		SELECT key FROM kept`

	requestsSQL = `SELECT key, body_sha256, count FROM sluice_requests WHERE key = ANY($1)`

	// sweepRequestsSQL removes what has counted no more for so long that nobody is about
	// to read it.
	sweepRequestsSQL = `DELETE FROM sluice_requests WHERE key IN (
		SELECT key FROM sluice_requests WHERE at <= clock_timestamp() - interval '25 hours' ORDER BY at LIMIT $1 FOR UPDATE SKIP LOCKED)`
)

// Requests that count no more are removed every so often, and so many at a time, by who
// keeps others.
const (
	sweepRequestsPause = 10 * time.Second
	sweptRequests      = 10_000
)

var errNotRecalled = errors.New("it is gone: it was removed a moment ago")

// insertOnce writes a batch that has requests, with the arguments of insertSQL.
func (l *Log) insertOnce(ctx context.Context, batch *groupcommit.Batch, args []any) error {
	of := make([]*string, len(batch.Drafts)) // the key of a draft's request
	keys := make([]string, len(batch.Requests))
	digests := make([]string, len(batch.Requests))
	counts := make([]int64, len(batch.Requests))
	for i := range batch.Requests {
		r := &batch.Requests[i]
		keys[i], digests[i], counts[i] = r.Key, hex.EncodeToString(r.BodySHA256[:]), int64(r.Count)
		for n := range r.Count {
			of[r.First+n] = &keys[i]
		}
	}
	var kept []string
	read := func(rows pgx.Rows) (err error) {
		kept, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	}
	err := l.insertBy(append(args, of, keys, digests, counts), func(args []any) error {
		rows, err := l.pool.Query(ctx, insertOnceSQL, args...)
		if err != nil {
			return err
		}
		return read(rows)
	}, func(args []any) error { return l.insertQuietly(ctx, insertOnceSQL, args, read) })
	if err != nil {
		return err
	}
	if len(kept) < len(keys) {
		l.recall(ctx, batch.Requests, kept)
	}
	if now := time.Now(); now.Sub(l.requestsSwept) >= sweepRequestsPause {
		l.requestsSwept = now
		l.sweepRequests(ctx)
	}
	return nil
}

// recall says how the requests were kept that have not been kept now.
func (l *Log) recall(ctx context.Context, requests []groupcommit.Request, kept []string) {
	known := map[string]*groupcommit.Known{}
	var keys []string
	for i := range requests {
		if r := &requests[i]; !slices.Contains(kept, r.Key) {
			r.Known = &groupcommit.Known{}
			known[r.Key] = r.Known
			keys = append(keys, r.Key)
		}
	}
	found := 0
	var key string
	var digest []byte
	var count int
	rows, err := l.pool.Query(ctx, requestsSQL, keys)
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&key, &digest, &count}, func() error {
			copy(known[key].BodySHA256[:], digest)
			known[key].Count = count
			found++
			return nil
		})
	}
	if err == nil && found < len(keys) {
		err = errNotRecalled
	}
	if err != nil {
		for _, k := range known {
			k.Err = l.server.unavailable("look up a request that was made before", err)
		}
	}
}

// sweepRequests removes some that count no more. What fails is done with the next.
func (l *Log) sweepRequests(ctx context.Context) {
	done, err := l.pool.Exec(ctx, sweepRequestsSQL, sweptRequests)
	if err != nil {
		l.logger.Warn("requests that are kept no longer cannot be removed; trying again with the next", "error", l.failure("remove requests", err, reads))
		return
	}
	if done.RowsAffected() == sweptRequests {
		l.requestsSwept = time.Time{} // there may be more
	}
}
