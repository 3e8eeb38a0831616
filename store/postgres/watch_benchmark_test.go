package postgres_test

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// byRowSQL publishes what sluice_watch does, with the same guarantees, by a row trigger.
const byRowSQL = `CREATE FUNCTION by_row() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, YMD' SET intervalstyle = 'iso_8601' SET bytea_output = 'hex' SET extra_float_digits = 1 AS $$
DECLARE
  topic text := 'orders:' || NEW.region;
BEGIN
  IF octet_length(topic) BETWEEN 1 AND 255 AND topic <> 'phoenix' AND NOT starts_with(topic, 'sluice:') AND topic !~ E'[\\x01-\\x1f\\x7f]' THEN
    IF TG_OP = 'INSERT' THEN
      INSERT INTO %[1]s.sluice_outbox (topic, event, payload, key) VALUES (topic, TG_OP, json_build_object('type', TG_OP, 'schema', TG_TABLE_SCHEMA, 'table', TG_TABLE_NAME,
        'commit_timestamp', clock_timestamp(), 'record', row_to_json(NEW)), NEW.id::text);
    ELSE
      INSERT INTO %[1]s.sluice_outbox (topic, event, payload, key) VALUES (topic, TG_OP, json_build_object('type', TG_OP, 'schema', TG_TABLE_SCHEMA, 'table', TG_TABLE_NAME,
        'commit_timestamp', clock_timestamp(), 'record', row_to_json(NEW), 'old_record', json_build_object('id', OLD.id)), NEW.id::text);
    END IF;
  END IF;
  RETURN NULL;
END $$`

// BenchmarkWatch changes a table that nothing is published of, one that sluice_watch has
// published, and one that a row trigger does, in turns. It reports the medians, in
// microseconds a row, and what publishing adds as a share of what the row trigger adds.
func BenchmarkWatch(b *testing.B) {
	url, conn := watchable(b)
	if _, err := conn.Exec(b.Context(), fmt.Sprintf(byRowSQL, schemaOf(b, url))); err != nil {
		b.Fatal(err)
	}
	tables := []string{"plain", "watched", "by_row"}
	for _, table := range tables {
		mustExec(b, conn, `CREATE TABLE `+table+` (id int PRIMARY KEY, region text, state text, amount numeric, at timestamptz DEFAULT now())`)
	}
	mustExec(b, conn, `SELECT sluice_watch('watched', 'orders:{region}')`)
	mustExec(b, conn, `CREATE TRIGGER by_row AFTER INSERT OR UPDATE ON by_row FOR EACH ROW EXECUTE FUNCTION by_row()`)
	for _, bench := range []struct {
		name, sql string
		rows      int
	}{
		{"INSERT of 10000", `INSERT INTO %s SELECT i, 'eu', 'paid', i * 1.5 FROM generate_series(1, 10000) i`, 10000},
		{"UPDATE of 10000", `UPDATE %s SET state = 'shipped'`, 10000},
		{"INSERT of 1", `DO $$ BEGIN FOR i IN 20001..20500 LOOP INSERT INTO %s VALUES (i, 'eu', 'paid', i * 1.5); END LOOP; END $$`, 500},
		{"UPDATE of 1", `DO $$ BEGIN FOR i IN 20001..20500 LOOP UPDATE %s SET state = 'shipped' WHERE id = i; END LOOP; END $$`, 500},
	} {
		b.Run(bench.name, func(b *testing.B) {
			took := map[string][]float64{}
			for b.Loop() {
				for _, table := range tables {
					b.StopTimer()
					mustExec(b, conn, `TRUNCATE `+table)
					if bench.sql[0] == 'U' {
						mustExec(b, conn, `INSERT INTO `+table+` SELECT i, 'eu', 'paid', 1 FROM generate_series(1, 10000) i`)
					} else if bench.name[0] == 'U' {
						mustExec(b, conn, `INSERT INTO `+table+` SELECT i, 'eu', 'paid', 1 FROM generate_series(20001, 20500) i`)
					}
					mustExec(b, conn, `TRUNCATE sluice_outbox`)
					b.StartTimer()
					began := time.Now()
					mustExec(b, conn, fmt.Sprintf(bench.sql, table))
					took[table] = append(took[table], float64(time.Since(began).Microseconds())/float64(bench.rows))
				}
			}
			median := func(table string) float64 { slices.Sort(took[table]); return took[table][len(took[table])/2] }
			for _, table := range tables {
				b.ReportMetric(median(table), table+"-us/row")
			}
			b.ReportMetric((median("watched")-median("plain"))/(median("by_row")-median("plain")), "of-row-trigger")
		})
	}
}
