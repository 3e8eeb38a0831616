package postgres

import "context"

// bound sets the bound of payloads for all nodes if one is given, and reads the head,
// which tells which counts.
func (l *Log) bound(ctx context.Context, maxPayload int64) error {
	if maxPayload > 0 {
		if _, err := l.pool.Exec(ctx, `UPDATE sluice_meta SET max_payload = $1 WHERE max_payload <> $1`, maxPayload); err != nil {
			return l.failure("set the bound of payloads", err, reads)
		}
	}
	_, err := l.Head(ctx)
	return err
}
