package postgres_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestWatchPartitions writes through the root, and to partitions by name: each row is
// published once, as the root's.
func TestWatchPartitions(t *testing.T) {
	t.Parallel()
	_, conn := watchable(t)
	for _, sql := range []string{
		`CREATE TABLE orders (id int, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region)`,
		`CREATE TABLE eu PARTITION OF orders FOR VALUES IN ('eu')`,
		`CREATE TABLE rest (region text NOT NULL, gone int, id int NOT NULL) PARTITION BY RANGE (id)`,
		`ALTER TABLE rest DROP COLUMN gone`,
		`ALTER TABLE orders ATTACH PARTITION rest DEFAULT`,
		`CREATE TABLE rest1 PARTITION OF rest FOR VALUES FROM (0) TO (100)`,
		`SELECT sluice_watch('orders', 'orders:{region}')`,
	} {
		mustExec(t, conn, sql)
	}
	for _, test := range []struct {
		sql  string
		want []string
	}{
		{`INSERT INTO orders VALUES (1, 'eu'), (2, 'us')`, []string{`orders:eu INSERT [1,"eu"] "record" : {"id":1,"region":"eu"}`, `orders:us INSERT [2,"us"] "record" : {"id":2,"region":"us"}`}},
		{`INSERT INTO eu VALUES (3, 'eu')`, []string{`orders:eu INSERT [3,"eu"] "record" : {"id":3,"region":"eu"}`}},
		{`UPDATE rest SET id = 4`, []string{`orders:us UPDATE [4,"us"] "record" : {"region":"us","id":4}, "old_record" : {"id":2,"region":"us"}`}},
		{`UPDATE rest1 SET id = 5`, []string{`orders:us UPDATE [5,"us"] "record" : {"region":"us","id":5}, "old_record" : {"id":4,"region":"us"}`}},
		{`UPDATE orders SET region = 'us' WHERE id = 3`, []string{`orders:eu DELETE [3,"eu"] "old_record" : {"id":3,"region":"eu"}`,
			`orders:us UPDATE [3,"us"] "record" : {"id":3,"region":"us"}, "old_record" : {"id":3,"region":"eu"}`}},
		{`DELETE FROM rest1 WHERE id = 3`, []string{`orders:us DELETE [3,"us"] "old_record" : {"id":3,"region":"us"}`}},
		{`TRUNCATE eu`, []string{`orders:eu DELETE [1,"eu"] "old_record" : {"id":1,"region":"eu"}`}},
		{`INSERT INTO orders VALUES (6, 'eu')`, []string{`orders:eu INSERT [6,"eu"] "record" : {"id":6,"region":"eu"}`}},
		{`TRUNCATE orders`, []string{`orders:eu TRUNCATE -`, `orders:us TRUNCATE -`}},
		{`INSERT INTO eu VALUES (7, 'eu')`, []string{`orders:eu INSERT [7,"eu"] "record" : {"id":7,"region":"eu"}`}},
		{`TRUNCATE rest, eu`, []string{`orders:eu DELETE [7,"eu"] "old_record" : {"id":7,"region":"eu"}`}},
		{`CREATE TABLE asia PARTITION OF orders FOR VALUES IN ('asia')`, nil},
		{`INSERT INTO orders VALUES (8, 'asia')`, []string{`orders:asia INSERT [8,"asia"] "record" : {"id":8,"region":"asia"}`}},
	} {
		mustExec(t, conn, test.sql)
		wantPublished(t, conn, test.sql, test.want...)
	}
	if got := broken(t, conn); !strings.Contains(got, ".asia is not seen when it is named itself: call sluice_watch again") {
		t.Errorf("broken: %s", got)
	}
	mustExec(t, conn, `SELECT sluice_watch('orders', 'orders:{region}')`)
	if got := broken(t, conn); got != "" {
		t.Errorf("broken: %s", got)
	}
	mustExec(t, conn, `INSERT INTO asia VALUES (9, 'asia')`)
	wantPublished(t, conn, "watched again", `orders:asia INSERT [9,"asia"] "record" : {"id":9,"region":"asia"}`)
	mustExec(t, conn, `ALTER TABLE orders DETACH PARTITION asia`)
	mustExec(t, conn, `INSERT INTO asia VALUES (10, 'asia')`)
	wantPublished(t, conn, "detached")
	mustExec(t, conn, `SELECT sluice_unwatch('orders')`)
	mustExec(t, conn, `INSERT INTO asia VALUES (11, 'asia')`)
	mustExec(t, conn, `INSERT INTO eu VALUES (11, 'eu')`)
	wantPublished(t, conn, "no longer watched")
}

// TestWatchInheritance has a child with a column of its own.
func TestWatchInheritance(t *testing.T) {
	t.Parallel()
	_, conn := watchable(t)
	mustExec(t, conn, `CREATE TABLE orders (id int PRIMARY KEY, n int)`)
	mustExec(t, conn, `CREATE TABLE child (more text DEFAULT 'm') INHERITS (orders)`)
	mustExec(t, conn, `SELECT sluice_watch('orders', 'orders')`)
	for _, test := range []struct {
		sql  string
		want []string
	}{
		{`INSERT INTO orders VALUES (1, 1)`, []string{`orders INSERT 1 "record" : {"id":1,"n":1}`}},
		{`INSERT INTO child VALUES (2, 2)`, []string{`orders INSERT 2 "record" : {"id":2,"n":2}`}},
		{`UPDATE orders SET n = 3 WHERE id = 2`, []string{`orders UPDATE 2 "record" : {"id":2,"n":3}, "old_record" : {"id":2}`}},
		{`TRUNCATE ONLY orders`, []string{`orders DELETE 1 "old_record" : {"id":1}`}},
		{`TRUNCATE orders`, []string{`orders DELETE 2 "old_record" : {"id":2}`}},
	} {
		mustExec(t, conn, test.sql)
		wantPublished(t, conn, test.sql, test.want...)
	}
}

// TestWatchFollowsTheTable alters what is watched. What an application writes is never
// refused because of that, and sluice_watched tells what it means.
func TestWatchFollowsTheTable(t *testing.T) {
	t.Parallel()
	_, conn := watchable(t)
	mustExec(t, conn, `CREATE TABLE orders (id int PRIMARY KEY, gone int, region text, n int, big text, g int GENERATED ALWAYS AS (n * 2) STORED)`)
	mustExec(t, conn, `ALTER TABLE orders DROP COLUMN gone`)
	mustExec(t, conn, `SELECT sluice_watch('orders', 'orders:{region}')`)
	for _, test := range []struct {
		sql, broken string
		want        []string
	}{
		{`INSERT INTO orders VALUES (1, 'eu', 1)`, "", []string{`orders:eu INSERT 1 "record" : {"id":1,"region":"eu","n":1,"big":null,"g":2}`}},
		{`ALTER TABLE orders ADD COLUMN more text`, "", nil},
		{`ALTER TABLE orders DROP COLUMN g`, "column g is gone", nil},
		{`ALTER TABLE orders ALTER COLUMN n TYPE text`, "column g is gone", nil},
		{`ALTER TABLE orders ALTER COLUMN big TYPE int USING 1`, "column g is gone", nil},
		{`ALTER TABLE orders RENAME TO "Things"`, "column g is gone", nil},
		{`UPDATE "Things" SET more = 'm'`, "", []string{`orders:eu UPDATE 1 "record" : {"id":1,"region":"eu","n":"1","big":1,"more":"m"}, "old_record" : {"id":1}`}},
		{`ALTER TABLE "Things" RENAME COLUMN id TO number`, "column id is gone", nil},
		{`UPDATE "Things" SET n = 2`, "", []string{`orders:eu UPDATE - "record" : {"number":1,"region":"eu","n":"2","big":1,"more":"m"}, "old_record" : {"id":null}`}},
		{`ALTER TABLE "Things" RENAME COLUMN region TO place`, "column region is gone and counts as null: call sluice_watch again", nil},
		{`UPDATE "Things" SET n = 3`, "", nil},
		{`SELECT sluice_watch('"Things"', 'orders:{place}')`, "", nil},
		{`DELETE FROM "Things"`, "", []string{`orders:eu DELETE 1 "old_record" : {"number":1}`}},
		{`ALTER TABLE "Things" DISABLE TRIGGER sluice_watch_delete`, "trigger is disabled: ALTER TABLE", nil},
		{`ALTER TABLE "Things" ENABLE TRIGGER sluice_watch_delete`, "", nil},
		{`DROP TRIGGER sluice_watch_insert ON "Things"`, "INSERT of ", nil},
		{`ALTER TABLE sluice_outbox ENABLE ROW LEVEL SECURITY`, "row security", nil},
		{`ALTER TABLE sluice_outbox DISABLE ROW LEVEL SECURITY`, "INSERT of ", nil},
		{`DROP TABLE "Things"`, "was dropped: DROP FUNCTION", nil},
	} {
		mustExec(t, conn, test.sql)
		wantPublished(t, conn, test.sql, test.want...)
		if got := broken(t, conn); !strings.Contains(got, test.broken) {
			t.Errorf("%s: broken is %q", test.sql, got)
		}
	}
}

// TestWatchByRole has an owner watch, who may only insert into the outbox, and a writer
// write who may not even do that, with settings that would show in what is published.
func TestWatchByRole(t *testing.T) {
	t.Parallel()
	url, conn := watchable(t)
	schema := schemaOf(t, url)
	owner, writer := schema+"_owner", schema+"_writer"
	for _, sql := range []string{
		`CREATE ROLE ` + owner, `CREATE ROLE ` + writer,
		`CREATE SCHEMA ` + owner + ` AUTHORIZATION ` + owner,
		`CREATE TABLE ` + owner + `.orders (id int PRIMARY KEY, at timestamptz, day date, days daterange, span interval, bytes bytea, f float8, m text)`,
		`ALTER TABLE ` + owner + `.orders OWNER TO ` + owner,
		`GRANT USAGE ON SCHEMA ` + owner + ` TO ` + writer, `GRANT INSERT ON ` + owner + `.orders TO ` + writer,
		`GRANT USAGE ON SCHEMA ` + schema + ` TO ` + writer,
	} {
		mustExec(t, conn, sql)
	}
	watch := `SELECT ` + schema + `.sluice_watch('` + owner + `.orders', 'orders:{day}')`
	refused := func(who, sql, words string) {
		t.Helper()
		mustExec(t, conn, `SET ROLE `+who)
		if _, err := conn.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %s: %v", who, sql, err)
		}
		mustExec(t, conn, `RESET ROLE`)
	}
	mustExec(t, conn, `GRANT USAGE ON SCHEMA `+schema+` TO `+owner)
	refused(owner, watch, "may not insert into")
	mustExec(t, conn, `GRANT INSERT ON sluice_outbox TO `+owner)
	mustExec(t, conn, `GRANT INSERT ON sluice_outbox TO `+writer)
	mustExec(t, conn, `GRANT TRIGGER ON `+owner+`.orders TO `+writer)
	refused(writer, watch, "must be owner of table")
	mustExec(t, conn, `REVOKE INSERT ON sluice_outbox FROM `+writer)
	mustExec(t, conn, `SET ROLE `+owner)
	mustExec(t, conn, watch)
	mustExec(t, conn, `RESET ROLE`)
	mustExec(t, conn, watch) // as a superuser: it stays the owner's
	var fn string
	if err := conn.QueryRow(t.Context(), `SELECT tgfoid::regproc::text FROM pg_trigger WHERE tgname = 'sluice_watch_insert' AND tgrelid = $1::text::regclass AND (SELECT proowner FROM pg_proc WHERE oid = tgfoid) = $2::text::regrole`, owner+".orders", owner).Scan(&fn); err != nil {
		t.Fatal(err)
	}
	mustExec(t, conn, `GRANT CREATE ON SCHEMA `+owner+` TO `+writer)
	mustExec(t, conn, `SET ROLE `+writer)
	mustExec(t, conn, `CREATE TABLE `+owner+`.mine (id int)`)
	mustExec(t, conn, `RESET ROLE`)
	refused(writer, `CREATE TRIGGER t AFTER INSERT ON `+owner+`.mine REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION `+fn+`()`, "permission denied for function")
	refused(writer, `SELECT `+schema+`.sluice_unwatch('`+owner+`.orders')`, "permission denied")

	mustExec(t, conn, `SET ROLE `+writer)
	for _, sql := range []string{`SET timezone = 'Asia/Kolkata'`, `SET datestyle = 'German'`, `SET intervalstyle = 'postgres_verbose'`, `SET bytea_output = 'escape'`, `SET extra_float_digits = -10`,
		`SET search_path = pg_temp`, `SET standard_conforming_strings = off`, `SET transform_null_equals = on`, `SET enable_hashjoin = off`, `SET enable_sort = off`} {
		mustExec(t, conn, sql)
	}
	mustExec(t, conn, `CREATE TEMP TABLE sluice_outbox (topic text, event text, payload json, key text)`)
	if _, err := conn.Exec(t.Context(), `INSERT INTO `+owner+`.orders VALUES (1, '2026-01-02 03:04:05.678+00', '03.02.2026', '[03.02.2026,)', '1 day 2 hours', E'\\x00ff', 0.1::float8 + 0.2, E'\\ " a\tb')`, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	mustExec(t, conn, `DROP TABLE pg_temp.sluice_outbox`)
	mustExec(t, conn, `RESET ROLE`)
	mustExec(t, conn, `SET search_path = `+schema)
	wantPublished(t, conn, "odd settings",
		`orders:2026-02-03 INSERT 1 "record" : {"id":1,"at":"2026-01-02T03:04:05.678+00:00","day":"2026-02-03","days":"[2026-02-03,)","span":"P1DT2H","bytes":"\\x00ff","f":0.30000000000000004,"m":"\\ \" a\tb"}`)
	if got := broken(t, conn); got != "" {
		t.Errorf("broken: %s", got)
	}
	mustExec(t, conn, `REVOKE INSERT ON sluice_outbox FROM `+owner)
	if got := broken(t, conn); !strings.Contains(got, "GRANT INSERT ON") {
		t.Errorf("broken: %s", got)
	}
}

// TestWatchTypes has a value of every kind of type, and those that JSON does not know.
func TestWatchTypes(t *testing.T) {
	t.Parallel()
	_, conn := watchable(t)
	mustExec(t, conn, `CREATE TYPE mood AS ENUM ('a"b')`)
	mustExec(t, conn, `CREATE TYPE pair AS (a int, "b c" text[])`)
	mustExec(t, conn, `CREATE DOMAIN positive AS int CHECK (VALUE > 0)`)
	values := []string{`true`, `7::int2`, `9223372036854775807::int8`, `'NaN'::float4`, `'-Infinity'::float8`, `'NaN'::numeric`, `123456789012345678901234567890.10::numeric`,
		`'Infinity'::numeric`, `'x'::char(3)`, `'v'::varchar`, `'n'::name`, `'"'::"char"`, `'\x00ff'::bytea`, `'infinity'::date`, `'0044-03-15 BC'::date`, `'-infinity'::timestamp`, `'0044-03-15 01:02:03 BC'::timestamptz`,
		`'12:00+05'::timetz`, `'12:00'::time`, `'-1 year'::interval`, `1.5::money`, `gen_random_uuid()`, `'{"a":"\u0000","a":1}'::json`, `'{"a":[1,null]}'::jsonb`, `'<a>&amp;</a>'::xml`, `'a:1 b:2'::tsvector`, `'a & b'::tsquery`,
		`'::1/64'::inet`, `'10.0.0.0/8'::cidr`, `'08:00:2b:01:02:03'::macaddr`, `B'101'::bit(3)`, `B'1'::varbit`, `'(1,2)'::point`, `'((0,0),(1,1))'::box`, `'<(0,0),1>'::circle`, `'{{1,2},{3,NULL}}'::int[]`, `'{"a,b","\"q\""}'::text[]`,
		`'[1,2)'::int4range`, `'{[1,2),[4,5)}'::int4multirange`, `ROW(1, '{x,NULL}')::pair`, `ARRAY[ROW(1, '{}')::pair]`, `'a"b'::mood`, `7::positive`, `'pg_class'::regclass`, `'1/2'::pg_lsn`, `'$.a'::jsonpath`, `NULL::text`, `''::text`}
	for i := range values {
		values[i] += fmt.Sprintf(" AS k%d", i)
	}
	mustExec(t, conn, `CREATE TABLE model AS SELECT `+strings.Join(values, ", "))
	mustExec(t, conn, `CREATE TABLE kinds (LIKE model)`)
	mustExec(t, conn, `SELECT sluice_watch('kinds', 'kinds:{k1}')`)
	for _, sql := range []string{`INSERT INTO kinds SELECT * FROM model`, `UPDATE kinds SET k1 = k1`, `DELETE FROM kinds`} {
		mustExec(t, conn, sql)
		if got := published(t, conn); len(got) != 1 {
			t.Errorf("%s: %d events", sql, len(got))
		}
	}
	for _, sql := range []string{`SET timezone = 'UTC'`, `SET intervalstyle = 'iso_8601'`, `INSERT INTO kinds SELECT * FROM model`} {
		mustExec(t, conn, sql)
	}
	var got, want string
	if err := conn.QueryRow(t.Context(), `SELECT substr(payload::text, strpos(payload::text, '"record" : ') + 11), (SELECT row_to_json(kinds) FROM kinds)::text FROM sluice_outbox`).Scan(&got, &want); err != nil || got != want+"}" {
		t.Errorf("%v:\n%s\nwant\n%s", err, got, want)
	}
	published(t, conn)

	// Its columns in any place of a topic and a key, alone.
	for i := range values {
		mustExec(t, conn, fmt.Sprintf(`SELECT sluice_watch('kinds', 'kinds:{k%d}', key => 'k%[1]d')`, i))
		mustExec(t, conn, `UPDATE kinds SET k1 = k1`)
	}
}

// TestWatchLargeRows has rows beyond the bound of payloads, packed or not: they are
// published without what is large, and written whatever they are.
func TestWatchLargeRows(t *testing.T) {
	t.Parallel()
	_, conn := watchable(t)
	mustExec(t, conn, `UPDATE sluice_meta SET max_payload = 8192`)
	mustExec(t, conn, `CREATE TABLE orders (id text PRIMARY KEY, a text, b bytea)`)
	mustExec(t, conn, `CREATE TABLE keyless (a text)`)
	mustExec(t, conn, `SELECT sluice_watch('orders', 'orders'), sluice_watch('keyless', 'keyless')`)
	long := strings.Repeat("k", 2000)
	for _, test := range []struct {
		sql  string
		want []string
	}{
		{`INSERT INTO orders VALUES (7, repeat('x', 9000))`, []string{`orders INSERT 7 "record" : {"id":"7"}, "too_large" : true`}},
		{`INSERT INTO orders VALUES (8, repeat('x', 2000000), decode(repeat('00', 20000000), 'hex'))`, []string{`orders INSERT 8 "record" : {"id":"8"}, "too_large" : true`}},
		{`UPDATE orders SET id = '9' WHERE id = '8'`, []string{`orders UPDATE 9 "record" : {"id":"9"}, "old_record" : {"id":"8"}, "too_large" : true`}},
		{`UPDATE orders SET a = 'x', b = '' WHERE id = '9'`, []string{`orders UPDATE 9 "record" : {"id":"9","a":"x","b":"\\x"}, "old_record" : {"id":"9"}`}},
		{`INSERT INTO orders VALUES (repeat('k', 2000), repeat('x', 9000))`, []string{`orders INSERT - "record" : {"id":"` + long + `"}, "too_large" : true`}},
		{`UPDATE orders SET id = left(id, 1) WHERE length(id) > 1`, []string{`orders UPDATE k "record" : {"id":"k"}, "old_record" : {"id":"` + long + `"}, "too_large" : true`}},
		{`INSERT INTO keyless VALUES (repeat('x', 9000))`, []string{`keyless INSERT - "too_large" : true`}},
		{`UPDATE keyless SET a = 'b'`, []string{`keyless UPDATE - "too_large" : true`}},
		{`UPDATE keyless SET a = 'c'`, []string{`keyless UPDATE - "record" : {"a":"c"}, "old_record" : {"a":"b"}`}},
		{`UPDATE keyless SET a = repeat('x', 9000)`, []string{`keyless UPDATE - "too_large" : true`}},
		{`DELETE FROM keyless`, []string{`keyless DELETE - "too_large" : true`}},
	} {
		mustExec(t, conn, test.sql)
		wantPublished(t, conn, test.sql, test.want...)
	}
}
