package postgres_test

import (
	"errors"
	"testing"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
)

// TestReadersSeeWhatWasRemovedWhileTheyWaited has reads wait for a lock on the log,
// whose holder trims it, removes its partition, or begins an epoch.
func TestReadersSeeWhatWasRemovedWhileTheyWaited(t *testing.T) {
	t.Parallel()
	const dropPartitions = `DO $$ DECLARE part regclass; BEGIN
		FOR part IN SELECT p.part FROM sluice_partitions p LOOP
			EXECUTE format('ALTER TABLE sluice_log DETACH PARTITION %s', part);
			EXECUTE format('DROP TABLE %s', part);
		END LOOP; END $$`
	for _, test := range []struct {
		name    string
		changes []string
		want    error
	}{
		{"partition removed", []string{`UPDATE sluice_meta SET trimmed = part_end - 1`, dropPartitions}, store.ErrTrimmed},
		{"rows removed", []string{`UPDATE sluice_meta SET trimmed = 8`, `DELETE FROM sluice_log WHERE "offset" <= 8`}, store.ErrTrimmed},
		{"epoch begun", []string{`SELECT sluice_begin_epoch()`}, store.ErrNewEpoch},
	} {
		for _, primed := range []bool{false, true} { // with a plan that is kept
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				url := pgtest.Schema(t)
				log := mustOpen(t, postgres.Config{DatabaseURL: url})
				insertAll(t, log, url, "t", "u", "t", "u", "t", "u", "t", "u", "t", "u")
				limit := store.Limit{Events: 100, Epoch: epochOf(t, log)}
				reads := map[string]func(log *postgres.Log) error{
					"replay": func(log *postgres.Log) error { _, _, err := log.Replay(t.Context(), "t", 0, 10, limit); return err },
					"replay of a page": func(log *postgres.Log) error {
						_, _, err := log.Replay(t.Context(), "t", 0, 10, store.Limit{Events: 2, Epoch: limit.Epoch})
						return err
					},
					"fetch": func(log *postgres.Log) error { _, err := log.Fetch(t.Context(), 0, limit); return err },
				}
				logs := map[string]*postgres.Log{}
				for name, read := range reads {
					logs[name] = mustOpen(t, postgres.Config{DatabaseURL: url + "&pool_max_conns=1"})
					for range 7 { // until its plans are kept
						if !primed {
							break
						}
						if err := read(logs[name]); err != nil {
							t.Fatalf("%s: %v", name, err)
						}
					}
				}
				holder, conn := connect(t, url), connect(t, url)
				mustExec(t, holder, `BEGIN`)
				mustExec(t, holder, `LOCK TABLE sluice_log`)
				results := map[string]chan error{}
				for name, read := range reads {
					result := make(chan error, 1)
					results[name] = result
					go func() { result <- read(logs[name]) }()
				}
				for waiting := 0; waiting < len(reads); {
					if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE relation = 'sluice_log'::regclass AND NOT granted`).Scan(&waiting); err != nil {
						t.Fatal(err)
					}
				}
				for _, sql := range test.changes {
					mustExec(t, holder, sql)
				}
				mustExec(t, holder, `COMMIT`)
				for name, result := range results {
					if err := <-result; !errors.Is(err, test.want) {
						t.Errorf("%s: %v, want %v", name, err, test.want)
					}
				}
			})
		}
	}
}
