package sqlite

import (
	"encoding/hex"

	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/internal/groupcommit"
)

const (
	keepRequestSQL = `INSERT INTO sluice_requests (key, body_sha256, count, at) VALUES (?1, unhex(?2), ?3, ?4)
		ON CONFLICT (key) DO UPDATE SET body_sha256 = excluded.body_sha256, count = excluded.count, at = excluded.at
		WHERE at <= ?5`

	requestSQL = `SELECT hex(body_sha256), count FROM sluice_requests WHERE key = ?`

	sweepRequestsSQL = `DELETE FROM sluice_requests WHERE key IN (SELECT key FROM sluice_requests WHERE at <= ?1 ORDER BY at LIMIT ?2)`
)

// sweptRequests is how many requests that count no more are removed with those that are
// kept, at most, so that these wait for that no longer than they would notice.
const sweptRequests = 1000

// keepRequests keeps requests, and says which of them are known.
func (w *writer) keepRequests(requests []groupcommit.Request, at int64) error {
	if len(requests) == 0 {
		return nil
	}
	over := at - store.RequestKept.Microseconds()
	if _, err := w.exec(w.sweepRequests, over, int64(sweptRequests)); err != nil {
		return err
	}
	for i := range requests {
		r := &requests[i]
		r.Known = nil // as a transaction that was rolled back saw it
		kept, err := w.exec(w.keepRequest, r.Key, hex.EncodeToString(r.BodySHA256[:]), int64(r.Count), at, over)
		if err != nil {
			return err
		}
		if kept > 0 {
			continue
		}
		r.Known = &groupcommit.Known{}
		err = w.query(w.request, []any{r.Key}, func() {
			_, _ = hex.Decode(r.Known.BodySHA256[:], w.column(w.request, 0)) // the table's CHECK bounds it
			r.Known.Count = int(w.column64(w.request, 1))
		})
		if err != nil {
			return err
		}
	}
	return nil
}
