package postgres_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store/postgres"
)

// auditSQL has row triggers write what sluice_watch is to publish, in a way of their own.
const auditSQL = `
CREATE TABLE people (id int PRIMARY KEY);
CREATE TABLE orders (id int PRIMARY KEY, region text NOT NULL, n int NOT NULL, customer int REFERENCES people ON DELETE CASCADE, agent int REFERENCES people ON DELETE SET NULL);
CREATE TABLE audit (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text, what text NOT NULL);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' OR TG_OP = 'UPDATE' AND NEW.region <> OLD.region THEN
    INSERT INTO audit (key, what) VALUES (OLD.id, concat_ws(' ', 'orders:' || OLD.region, 'DELETE', json_build_object('id', OLD.id)::jsonb));
  END IF;
  IF TG_OP <> 'DELETE' THEN
    INSERT INTO audit (key, what) VALUES (NEW.id, concat_ws(' ', 'orders:' || NEW.region, TG_OP, row_to_json(NEW)::jsonb, CASE WHEN TG_OP = 'UPDATE' THEN json_build_object('id', OLD.id)::jsonb END));
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION audit();
CREATE FUNCTION audit_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO audit (what) SELECT DISTINCT 'orders:' || region || ' TRUNCATE' FROM orders;
  RETURN NULL;
END $$;
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON orders FOR EACH STATEMENT EXECUTE FUNCTION audit_truncate();`

// TestWatchEqualsAudit has eight writers do all that can be done to a table, while it is
// altered, and compares the log with what row triggers have written: of each key the
// same events in the same order, and nothing else.
func TestWatchEqualsAudit(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: url})
	mustRun(t, log)
	conn := connect(t, url)
	if _, err := conn.Exec(t.Context(), auditSQL, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	var version int
	if err := conn.QueryRow(t.Context(), `SELECT current_setting('server_version_num')::int / 10000`).Scan(&version); err != nil {
		t.Fatal(err)
	}
	mustExec(t, conn, `INSERT INTO people SELECT generate_series(1, 60)`)
	mustExec(t, conn, `SELECT sluice_watch('orders', 'orders:{region}')`)

	const writers, transactions = 8, 25
	var wg sync.WaitGroup
	for writer := range writers {
		w := connect(t, url)
		wg.Go(func() {
			random := rand.New(rand.NewPCG(18, uint64(writer)))
			for range transactions {
				auditedTransaction(t.Context(), w, random, version)
			}
		})
	}
	alters := connect(t, url)
	wg.Go(func() {
		for i := range 6 {
			for _, sql := range []string{`ALTER TABLE orders ADD COLUMN note int DEFAULT ` + strconv.Itoa(i), `ALTER TABLE orders RENAME COLUMN note TO remark`,
				`ALTER TABLE orders ALTER COLUMN remark TYPE text`, `ALTER TABLE orders DROP COLUMN remark`} {
				_, err := alters.Exec(t.Context(), sql)
				for err != nil && strings.Contains(err.Error(), "40P01") { // a deadlock with the writers
					_, err = alters.Exec(t.Context(), sql)
				}
				if err != nil {
					t.Errorf("%s: %v", sql, err)
				}
			}
		}
	})
	wg.Wait()
	mustExec(t, conn, `SELECT sluice_watch('orders', 'orders:{region}')`)
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('end', 'end')`)
	until(t, "all to be sequenced", func() bool {
		var ended bool
		err := conn.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM sluice_log WHERE topic = 'end') AND NOT EXISTS (SELECT FROM sluice_outbox)`).Scan(&ended)
		return err == nil && ended
	})
	logged := byKey(t, conn, `SELECT coalesce(key, ''), concat_ws(' ', topic, event, (payload -> 'record')::jsonb, (payload -> 'old_record')::jsonb) FROM sluice_log WHERE topic <> 'end' ORDER BY "offset"`)
	audited := byKey(t, conn, `SELECT coalesce(key, ''), what FROM audit ORDER BY seq`)
	slices.Sort(logged[""]) // which topics lose their rows, in no order
	slices.Sort(audited[""])
	total := 0
	for key, want := range audited {
		total += len(want)
		if !slices.Equal(logged[key], want) {
			t.Errorf("key %q: the log has\n\t%s\nwant\n\t%s", key, strings.Join(logged[key], "\n\t"), strings.Join(want, "\n\t"))
		}
		delete(logged, key)
	}
	if len(logged) > 0 || total < 100 {
		t.Errorf("%d events, and of keys that nothing was done to %v", total, logged)
	}
}

func byKey(t *testing.T, conn *pgx.Conn, sql string) map[string][]string {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	list := map[string][]string{}
	var key, what string
	if _, err := pgx.ForEachRow(rows, []any{&key, &what}, func() error {
		list[key] = append(list[key], what)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

// auditedTransaction does some of what can be done. Whatever the server refuses, for a
// key that is there or a deadlock, is rolled back, to the savepoint if there is one.
func auditedTransaction(ctx context.Context, conn *pgx.Conn, random *rand.Rand, version int) {
	id := func() int { return random.IntN(200) }
	person := func() string { return []string{"NULL", strconv.Itoa(1 + random.IntN(60))}[random.IntN(2)] }
	region := func() string { return []string{"eu", "us", "asia"}[random.IntN(3)] }
	if _, err := conn.Exec(ctx, `BEGIN`); err != nil {
		return
	}
	end := `COMMIT`
	if random.IntN(5) == 0 {
		end = `ROLLBACK`
	}
	defer func() { conn.Exec(ctx, end) }()
	for range 1 + random.IntN(4) {
		if _, err := conn.Exec(ctx, `SAVEPOINT s`); err != nil {
			return
		}
		var err error
		switch kind := random.IntN(40); {
		case kind < 8:
			_, err = conn.Exec(ctx, fmt.Sprintf(`INSERT INTO orders (id, region, n, customer, agent) SELECT i, '%s', 0, %s, %s FROM generate_series(%d, %d) i ON CONFLICT (id) DO UPDATE SET n = orders.n + 1, region = EXCLUDED.region`,
				region(), person(), person(), id(), id()%7+id()))
		case kind < 16:
			_, err = conn.Exec(ctx, fmt.Sprintf(`UPDATE orders SET n = n + 1, region = CASE n %% 3 WHEN 0 THEN '%s' ELSE region END WHERE id BETWEEN %d AND %d`, region(), id(), id()))
		case kind < 20:
			_, err = conn.Exec(ctx, fmt.Sprintf(`UPDATE orders SET id = %d WHERE id = %d`, id(), id()))
		case kind < 24:
			_, err = conn.Exec(ctx, fmt.Sprintf(`DELETE FROM orders WHERE id IN (%d, %d, %d)`, id(), id(), id()))
		case kind < 28:
			_, err = conn.CopyFrom(ctx, pgx.Identifier{"orders"}, []string{"id", "region", "n"}, pgx.CopyFromRows([][]any{{id(), region(), 1}, {id(), region(), 1}}))
		case kind < 33 && version >= 15:
			_, err = conn.Exec(ctx, fmt.Sprintf(`MERGE INTO orders o USING (SELECT i, '%s' AS region FROM generate_series(%d, %d) i) s ON o.id = s.i
				WHEN MATCHED AND s.i %% 5 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET n = o.n + 10, region = s.region WHEN NOT MATCHED THEN INSERT (id, region, n) VALUES (s.i, s.region, 100)`, region(), id(), id()%5+id()))
		case kind < 38:
			_, err = conn.Exec(ctx, `DELETE FROM people WHERE id = `+strconv.Itoa(1+random.IntN(60)))
			if err == nil {
				_, err = conn.Exec(ctx, `INSERT INTO people SELECT i FROM generate_series(1, 60) i ON CONFLICT DO NOTHING`)
			}
		case kind < 39:
			_, err = conn.Exec(ctx, `TRUNCATE orders`)
		default:
			_, err = conn.Exec(ctx, `ROLLBACK TO s`)
		}
		if err != nil || random.IntN(8) == 0 {
			if _, err := conn.Exec(ctx, `ROLLBACK TO s`); err != nil {
				end = `ROLLBACK`
				return
			}
		}
	}
}

// TestPositionMissesNothing reads a table and the position while writers go on, in both
// of the ways that are documented: what is in the table, with what the log has after the
// position, is the table at the end.
func TestPositionMissesNothing(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: url})
	mustRun(t, log)
	conn := connect(t, url)
	mustExec(t, conn, `CREATE TABLE orders (id int PRIMARY KEY, n int NOT NULL)`)
	mustExec(t, conn, `INSERT INTO orders SELECT i, 0 FROM generate_series(1, 20) i`)
	mustExec(t, conn, `SELECT sluice_watch('orders', 'orders')`)

	var epoch string
	var at int64
	if err := conn.QueryRow(t.Context(), `SELECT epoch, "offset" FROM sluice_position()`).Scan(&epoch, &at); err != nil || at != 0 || epoch != epochOf(t, log) {
		t.Errorf("an empty log is at %d of %s, %v", at, epoch, err)
	}
	var wg sync.WaitGroup
	for writer := range 4 {
		w := connect(t, url)
		wg.Go(func() {
			random := rand.New(rand.NewPCG(19, uint64(writer)))
			for range 100 {
				w.Exec(t.Context(), fmt.Sprintf(`UPDATE orders SET n = n + 1 WHERE id = %d`, 1+random.IntN(20)))
			}
		})
	}
	type reading struct {
		offset int64
		state  map[string]string
	}
	var readings []reading
	const read = `SELECT id::text, n::text FROM orders`
	for i := range 60 {
		r := reading{state: map[string]string{}}
		err := pgx.BeginTxFunc(t.Context(), conn, pgx.TxOptions{IsoLevel: []pgx.TxIsoLevel{pgx.RepeatableRead, pgx.ReadCommitted}[i%2]}, func(tx pgx.Tx) error {
			state := func() error {
				rows, err := tx.Query(t.Context(), read)
				if err != nil {
					return err
				}
				var id, n string
				_, err = pgx.ForEachRow(rows, []any{&id, &n}, func() error { r.state[id] = n; return nil })
				return err
			}
			position := func() error {
				return tx.QueryRow(t.Context(), `SELECT "offset" FROM sluice_position()`).Scan(&r.offset)
			}
			steps := []func() error{position, state}
			if i%4 == 0 { // in one snapshot the order is the reader's choice
				steps = []func() error{state, position}
			}
			for _, step := range steps {
				if err := step(); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		readings = append(readings, r)
	}
	wg.Wait()
	until(t, "all to be sequenced", func() bool {
		var waiting int
		return conn.QueryRow(t.Context(), `SELECT count(*) FROM sluice_outbox`).Scan(&waiting) == nil && waiting == 0
	})
	final := map[string]string{}
	for key, list := range byKey(t, conn, `SELECT id::text, n::text FROM orders`) {
		final[key] = list[0]
	}
	for _, r := range readings {
		for key, list := range byKey(t, conn, fmt.Sprintf(`SELECT key, payload #>> '{record,n}' FROM sluice_log WHERE "offset" > %d ORDER BY "offset"`, r.offset)) {
			r.state[key] = list[len(list)-1]
		}
		for key, n := range final {
			if r.state[key] != n {
				t.Errorf("who has read offset %d ends with %s for %s, want %s", r.offset, r.state[key], key, n)
			}
		}
	}
}
