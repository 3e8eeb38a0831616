package postgres_test

import (
	"encoding/json"
	"errors"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store/postgres"
)

// watchable is a schema with the tables of Sluice, of which nothing is sequenced.
func watchable(t testing.TB) (url string, conn *pgx.Conn) {
	t.Helper()
	url = pgtest.Schema(t)
	if err := postgres.Migrate(t.Context(), url, quiet); err != nil {
		t.Fatal(err)
	}
	return url, connect(t, url)
}

var when = regexp.MustCompile(`"commit_timestamp" : "[0-9-]{10}T[0-9:.]+\+00:00"`)

// published takes what is in the outbox, as "topic EVENT key payload", in its order.
// Of the payload it has what follows the time.
func published(t testing.TB, conn *pgx.Conn) (list []string) {
	t.Helper()
	rows, err := conn.Query(t.Context(), `WITH taken AS (DELETE FROM sluice_outbox RETURNING *)
		SELECT topic || ' ' || event || ' ' || coalesce(key, '-'), payload::text FROM taken ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	var event, payload string
	if _, err := pgx.ForEachRow(rows, []any{&event, &payload}, func() error {
		if !json.Valid([]byte(payload)) {
			t.Errorf("%s: no JSON: %s", event, payload)
		}
		head, tail, found := strings.Cut(when.ReplaceAllString(payload, "@"), "@")
		if !found {
			t.Errorf("%s: no time in %s", event, payload)
		}
		if want := `{"type" : "` + strings.Fields(event)[1] + `", "schema" : "`; !strings.HasPrefix(head, want) {
			t.Errorf("%s: begins with %s", event, head)
		}
		list = append(list, event+strings.TrimSuffix(strings.TrimPrefix(" "+strings.TrimPrefix(tail, ", "), " }"), "}"))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

func wantPublished(t testing.TB, conn *pgx.Conn, what string, want ...string) {
	t.Helper()
	if got := published(t, conn); !slices.Equal(got, want) {
		t.Errorf("%s: published\n\t%s\nwant\n\t%s", what, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// broken is what sluice_watched finds.
func broken(t testing.TB, conn *pgx.Conn) string {
	t.Helper()
	var list []string
	if err := conn.QueryRow(t.Context(), `SELECT broken FROM sluice_watched`).Scan(&list); err != nil {
		t.Fatal(err)
	}
	return strings.Join(list, "\n")
}

func TestWatch(t *testing.T) {
	t.Parallel()
	_, conn := watchable(t)
	mustExec(t, conn, `CREATE TABLE orders (id int PRIMARY KEY, region text, n numeric)`)
	mustExec(t, conn, `SELECT sluice_watch('orders', 'orders:{region}')`)
	for _, test := range []struct {
		sql  string
		want []string
	}{
		{`INSERT INTO orders VALUES (7, 'eu', 1.50), (8, 'us', 2)`, []string{
			`orders:eu INSERT 7 "record" : {"id":7,"region":"eu","n":1.50}`, `orders:us INSERT 8 "record" : {"id":8,"region":"us","n":2}`}},
		{`UPDATE orders SET n = 3 WHERE id = 7`, []string{`orders:eu UPDATE 7 "record" : {"id":7,"region":"eu","n":3}, "old_record" : {"id":7}`}},
		{`UPDATE orders SET region = 'us', id = 9 WHERE id = 7`, []string{
			`orders:eu DELETE 7 "old_record" : {"id":7}`, `orders:us UPDATE 9 "record" : {"id":9,"region":"us","n":3}, "old_record" : {"id":7}`}},
		{`UPDATE orders SET id = id + 1 WHERE n > 0 AND id > 8`, []string{`orders:us UPDATE 10 "record" : {"id":10,"region":"us","n":3}, "old_record" : {"id":9}`}},
		{`UPDATE orders SET region = NULL WHERE id = 10`, []string{`orders:us DELETE 10 "old_record" : {"id":10}`}},
		{`UPDATE orders SET region = repeat('x', 250) WHERE id = 10`, nil},
		{`UPDATE orders SET region = E'a\nb' WHERE id = 10`, nil},
		{`UPDATE orders SET region = 'eu' WHERE id = 10`, []string{`orders:eu UPDATE 10 "record" : {"id":10,"region":"eu","n":3}, "old_record" : {"id":10}`}},
		{`INSERT INTO orders VALUES (8, 'us', 4), (11, 'us', 5) ON CONFLICT (id) DO UPDATE SET n = EXCLUDED.n`, []string{
			`orders:us UPDATE 8 "record" : {"id":8,"region":"us","n":4}, "old_record" : {"id":8}`, `orders:us INSERT 11 "record" : {"id":11,"region":"us","n":5}`}},
		{`UPDATE orders SET n = 0 WHERE false`, nil},
		{`DELETE FROM orders WHERE id = 8`, []string{`orders:us DELETE 8 "old_record" : {"id":8}`}},
		{`TRUNCATE orders`, []string{`orders:eu TRUNCATE -`, `orders:us TRUNCATE -`}},
		{`SELECT sluice_watch('orders', 'all', columns => '{region,id}', key => '{{{id}}}/{region}', events => '{INSERT,Truncate}')`, nil},
		{`INSERT INTO orders VALUES (7, 'eu', 1)`, []string{`all INSERT {7}/eu "record" : {"region":"eu","id":7}`}},
		{`UPDATE orders SET n = 2`, nil},
		{`TRUNCATE orders`, []string{`all TRUNCATE -`}},
		{`SELECT sluice_watch('orders', 'all', key => 'region')`, nil},
		{`INSERT INTO orders VALUES (7, repeat('x', 2000), 1)`, []string{`all INSERT - "record" : {"id":7,"region":"` + strings.Repeat("x", 2000) + `","n":1}`}},
		{`SELECT sluice_unwatch('orders')`, nil},
		{`INSERT INTO orders VALUES (9, 'eu', 1)`, nil},
	} {
		mustExec(t, conn, test.sql)
		wantPublished(t, conn, test.sql, test.want...)
		if strings.Contains(test.sql, "a\\nb") {
			var unpublished int
			if err := conn.QueryRow(t.Context(), `SELECT unpublished FROM sluice_watched`).Scan(&unpublished); err != nil || unpublished != 3 {
				t.Errorf("%d changes without a topic, %v; want 3", unpublished, err)
			}
		}
	}
	var left int
	if err := conn.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM sluice_watched) + (SELECT count(*) FROM pg_proc WHERE pronamespace = current_schema()::regnamespace AND prorettype = 'trigger'::regtype AND proname LIKE 'sluice\_watch\_%')
		+ (SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname LIKE 'sluice\_watch\_%')`).Scan(&left); err != nil || left > 0 {
		t.Errorf("sluice_unwatch leaves %d objects, %v", left, err)
	}
}

// TestWatchPairsRows updates many rows, by a plan that was made for one, while keys move.
func TestWatchPairsRows(t *testing.T) {
	t.Parallel()
	_, conn := watchable(t)
	mustExec(t, conn, `CREATE TABLE orders (id int PRIMARY KEY, n int)`)
	mustExec(t, conn, `CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.n = NEW.n + 1000; RETURN CASE WHEN NEW.id % 7 = 0 THEN NULL ELSE NEW END; END $$`)
	mustExec(t, conn, `SELECT sluice_watch('orders', 'orders')`)
	mustExec(t, conn, `INSERT INTO orders VALUES (0, 0)`)
	mustExec(t, conn, `UPDATE orders SET n = 1`)
	mustExec(t, conn, `DELETE FROM orders`)
	mustExec(t, conn, `INSERT INTO orders SELECT i, i FROM generate_series(1, 20000) i`)
	mustExec(t, conn, `CREATE TRIGGER skip BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION skip()`)
	mustExec(t, conn, `TRUNCATE sluice_outbox`)
	mustExec(t, conn, `UPDATE orders o SET id = o.id + 100000 FROM (SELECT id FROM orders ORDER BY id DESC) p WHERE p.id = o.id`)
	var rows, want, wrong int
	if err := conn.QueryRow(t.Context(), `SELECT count(*), (SELECT count(*) FROM orders WHERE id > 100000), count(*) FILTER (WHERE (payload #>> '{record,n}')::int <> (payload #>> '{old_record,id}')::int + 1000
		OR key::int <> (payload #>> '{old_record,id}')::int + 100000) FROM sluice_outbox`).Scan(&rows, &want, &wrong); err != nil || wrong > 0 || rows != want || rows < 10000 {
		t.Errorf("%d of %d rows are paired wrongly, %v; want %d", wrong, rows, err, want)
	}
}

// TestWatchRefuses what cannot be watched, and says what to do instead.
func TestWatchRefuses(t *testing.T) {
	t.Parallel()
	_, conn := watchable(t)
	for _, sql := range []string{
		`CREATE TABLE orders (id int PRIMARY KEY, region text)`, `CREATE VIEW v AS SELECT * FROM orders`, `CREATE MATERIALIZED VIEW m AS SELECT * FROM orders`,
		`CREATE TEMP TABLE tmp (id int)`, `CREATE TABLE bare ()`, `CREATE SEQUENCE seq`,
		`CREATE TABLE parts (id int) PARTITION BY LIST (id)`, `CREATE TABLE part PARTITION OF parts FOR VALUES IN (1)`, `CREATE TABLE child () INHERITS (orders)`,
		`CREATE FOREIGN DATA WRAPPER w`, `CREATE SERVER s FOREIGN DATA WRAPPER w`, `CREATE FOREIGN TABLE far (id int) SERVER s`,
		`CREATE TABLE mixed (id int) PARTITION BY LIST (id)`, `CREATE FOREIGN TABLE mixed1 PARTITION OF mixed FOR VALUES IN (1) SERVER s`,
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil && !strings.Contains(err.Error(), "already exists") {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	for _, test := range []struct{ call, words, hint string }{
		{`'v', 't'`, "v is no table", "tables that the view reads"},
		{`'m', 't'`, "m is no table", "materialized view reads"},
		{`'far', 't'`, "far is no table", "on its own server"},
		{`'seq', 't'`, "seq is no table", "Name a table"},
		{`'tmp', 't'`, "temporary", "publish from there"},
		{`'mixed', 't'`, "mixed1, which is foreign", "detach it"},
		{`'pg_class', 't'`, "belongs to the system", "of your own"},
		{`'sluice_outbox', 't'`, "tables of Sluice", "of your own"},
		{`'sluice_log', 't'`, "tables of Sluice", "of your own"},
		{`'part', 't'`, "part is a part of", "parts."},
		{`'child', 't'`, "child is a part of", "orders."},
		{`'bare', 't'`, "no columns", "when it has some"},
		{`NULL, 't'`, "no table to watch", "Name a table"},
		{`'orders', NULL`, "needs a topic", "orders:{region}"},
		{`'orders', ''`, "needs a topic", "orders:{region}"},
		{`'orders', 'phoenix'`, "cannot be a topic", "255 bytes"},
		{`'orders', 'sluice:x'`, "cannot be a topic", "255 bytes"},
		{`'orders', repeat('x', 256)`, "cannot be a topic", "255 bytes"},
		{`'orders', E'a\tb'`, "cannot be a topic", "control characters"},
		{`'orders', 'a{regio}'`, "column regio of table", "id, region"},
		{`'orders', 'a{ctid}'`, "column ctid of table", "id, region"},
		{`'orders', 'a{region'`, "brace without its other", "{{"},
		{`'orders', 'a}'`, "brace without its other", "{{"},
		{`'orders', 'a{}'`, "no column between", "{column}"},
		{`'orders', 't', columns => '{id,"x\"y"}'`, `column "x""y" of table`, "id, region"},
		{`'orders', 't', columns => '{id,id}'`, "id twice", "once"},
		{`'orders', 't', columns => '{}'`, "columns names none", "Leave it out"},
		{`'orders', 't', columns => '{id,NULL}'`, "columns names none", "Leave it out"},
		{`'orders', 't', key => 'x'`, "column x of table", "id, region"},
		{`'orders', 't', key => '{x}'`, "column x of table", "id, region"},
		{`'orders', 't', events => '{insert,remove}'`, `"remove" is no event`, "{insert,update,delete,truncate}"},
		{`'orders', 't', events => '{}'`, `nothing is no event`, "{insert,update,delete,truncate}"},
		{`'orders', 't', events => '{NULL}'`, `"NULL" is no event`, "{insert,update,delete,truncate}"},
	} {
		_, err := conn.Exec(t.Context(), `SELECT sluice_watch(`+test.call+`)`)
		var refusal *pgconn.PgError
		if !errors.As(err, &refusal) || !strings.Contains(refusal.Message, test.words) || !strings.Contains(refusal.Hint, test.hint) {
			t.Errorf("sluice_watch(%s): %v", test.call, err)
			if refusal != nil {
				t.Logf("hint: %s", refusal.Hint)
			}
		}
	}
}

// TestWatchNames has names that would break out of what is generated.
func TestWatchNames(t *testing.T) {
	t.Parallel()
	_, conn := watchable(t)
	odd := []string{`n`, `c`, `topic`, `event`, `new`, `tg_op`, `sluice`, `a{}b`, `%s %1$s`, `a'b"c`, `$body$`, `\`, "a\nb", strings.Repeat("ä", 31), strings.Repeat("x", 63), `@rows@`, `at`}
	var columns, values []string
	want := map[string]any{"id": 7.0}
	for _, name := range append(odd, `{}`) {
		columns = append(columns, pgx.Identifier{name}.Sanitize()+` text DEFAULT 'v'`)
		if want[name] = "v"; name == `{}` {
			continue
		}
		values = append(values, `{`+strings.NewReplacer(`{`, `{{`, `}`, `}}`).Replace(name)+`}`)
	}
	table := pgx.Identifier{strings.Repeat("%", 31) + `'" $$ {} \ ` + strings.Repeat("z", 21)}.Sanitize()
	mustExec(t, conn, `CREATE TABLE `+table+` (id int, `+strings.Join(columns, ", ")+`)`)
	for _, list := range [][]string{nil, append([]string{"id", `{}`}, odd...)} {
		mustExec(t, conn, `SELECT sluice_watch($1::text::regclass, $2, columns => $3, key => $2)`, table, strings.Join(values, ""), list)
		mustExec(t, conn, `INSERT INTO `+table+` (id) VALUES (7)`)
		mustExec(t, conn, `UPDATE `+table+` SET id = 7`)
		mustExec(t, conn, `DELETE FROM `+table)
		var topic string
		var payload struct {
			Record map[string]any
			Old    map[string]any `json:"old_record"`
		}
		rows, err := conn.Query(t.Context(), `SELECT topic, payload FROM sluice_outbox WHERE event = 'UPDATE'`)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pgx.ForEachRow(rows, []any{&topic, &payload}, func() error { return nil }); err != nil {
			t.Fatal(err)
		}
		if topic != strings.Repeat("v", len(odd)) || !reflect.DeepEqual(payload.Record, want) || !reflect.DeepEqual(payload.Old, want) {
			t.Errorf("topic %s, record %v, old %v", topic, payload.Record, payload.Old)
		}
		mustExec(t, conn, `TRUNCATE `+table)
		if got := len(published(t, conn)); got != 3 {
			t.Errorf("%d events", got)
		}
		if b := broken(t, conn); b != "" {
			t.Error(b)
		}
	}
}

// TestWatchSurvivesADump restores the schema into another database.
func TestWatchSurvivesADump(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t)
	url := server.URL()
	mustExec(t, connect(t, url), `CREATE DATABASE copy`)
	copied := strings.Replace(url, "/postgres?", "/copy?", 1)
	if copied == url {
		t.Fatalf("no database in %s", url)
	}
	if err := postgres.Migrate(t.Context(), url, quiet); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, url)
	mustExec(t, conn, `CREATE TABLE gone (id int)`)
	mustExec(t, conn, `CREATE TABLE orders (id int PRIMARY KEY, region text)`)
	mustExec(t, conn, `SELECT sluice_watch('orders', 'orders:{region}')`)
	dump := exec.CommandContext(t.Context(), "bash", "-c", `set -o pipefail; pg_dump "$0" | psql -X -q -v ON_ERROR_STOP=1 "$1" > /dev/null`, url, copied)
	if out, err := dump.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := postgres.Migrate(t.Context(), copied, quiet); err != nil {
		t.Fatal(err)
	}
	conn = connect(t, copied)
	if b := broken(t, conn); b != "" {
		t.Error(b)
	}
	mustExec(t, conn, `INSERT INTO orders VALUES (7, 'eu')`)
	wantPublished(t, conn, "restored", `orders:eu INSERT 7 "record" : {"id":7,"region":"eu"}`)
	mustExec(t, conn, `SELECT sluice_watch('orders', 'orders')`)
	mustExec(t, conn, `DELETE FROM orders`)
	wantPublished(t, conn, "watched again", `orders DELETE 7 "old_record" : {"id":7}`)
	var functions int
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_proc WHERE proname LIKE 'sluice\_watch\_%'`).Scan(&functions); err != nil || functions != 1 {
		t.Errorf("%d functions, %v", functions, err)
	}
}
