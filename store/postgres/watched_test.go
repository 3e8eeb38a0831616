package postgres_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
)

// TestWatchedTables reads what is watched: with all that can be said of it, and with no
// more than has to be, whole and broken, and of a table that is there no more.
func TestWatchedTables(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: url})
	if all, err := log.Watched(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("of none it reads %+v, %v", all, err)
	}
	conn, schema := connect(t, url), schemaOf(t, url)
	mustExec(t, conn, `CREATE TABLE a (id int PRIMARY KEY, "B c" text)`)
	mustExec(t, conn, `CREATE TABLE "Z" (id int PRIMARY KEY)`)
	mustExec(t, conn, `CREATE TABLE gone (id int PRIMARY KEY)`)
	mustExec(t, conn, `SELECT sluice_watch('a', 'a:{B c}', columns => ARRAY['id', 'B c'], key => 'id', events => '{insert}')`)
	mustExec(t, conn, `SELECT sluice_watch('"Z"', 'z')`)
	mustExec(t, conn, `SELECT sluice_watch('gone', 'gone')`)
	mustExec(t, conn, `INSERT INTO a VALUES (1, NULL)`)
	mustExec(t, conn, `ALTER TABLE "Z" DISABLE TRIGGER sluice_watch_delete`)
	mustExec(t, conn, `DROP TABLE gone`)

	// A table elsewhere is seen by who may not use its schema, but for what it may not read.
	elsewhere := schema + "_app"
	mustExec(t, conn, `CREATE SCHEMA `+elsewhere)
	mustExec(t, conn, `CREATE TABLE `+elsewhere+`.far (id int PRIMARY KEY)`)
	mustExec(t, conn, `SELECT sluice_watch('`+elsewhere+`.far', 'far')`)
	mustExec(t, conn, `CREATE ROLE `+schema+`_server LOGIN`)
	if err := postgres.Grant(t.Context(), url, schema+"_server", quiet); err != nil {
		t.Fatal(err)
	}
	server := mustOpen(t, postgres.Config{DatabaseURL: as(t, url, schema+"_server")})
	for i, made := range []string{`{}`, `{"topic":"t"}`, `{"topic":"t","log":"` + schema + `","events":[null]}`, `{"topic":"t","log":"` + schema + `","events":[],"columns":[null]}`,
		`{"topic":"t","log":"` + schema + `","events":[],"uses":5}`, `{"topic":"t","log":"` + schema + `","events":5}`, `{"topic`} {
		name := fmt.Sprint("sluice_watch_mine", i)
		mustExec(t, conn, `CREATE FUNCTION `+name+`() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`)
		mustExec(t, conn, `COMMENT ON FUNCTION `+name+` IS 'sluice_watch `+made+`'`)
	}
	all, err := server.Watched(t.Context())
	if i := slices.IndexFunc(all, func(w store.Watched) bool { return w.Topic == "far" }); err != nil || i < 0 || all[i].Table != elsewhere+".far" || all[i].Unpublished != nil || len(all[i].Broken) > 0 {
		t.Errorf("who serves reads %+v, %v", all, err)
	}
	mustExec(t, conn, `SELECT sluice_unwatch('`+elsewhere+`.far')`)

	all, err = log.Watched(t.Context())
	if err != nil || len(all) != 3 {
		t.Fatalf("it reads %+v, %v", all, err)
	}
	slices.SortFunc(all, func(x, y store.Watched) int { return strings.Compare(x.Topic, y.Topic) })
	a, gone, z := all[0], all[1], all[2]
	if a.Table != schema+".a" || a.Topic != "a:{B c}" || !slices.Equal(a.Columns, []string{"id", "B c"}) || a.Key != "id" ||
		!slices.Equal(a.Events, []string{"insert"}) || a.Unpublished == nil || *a.Unpublished != 1 || len(a.Broken) > 0 {
		t.Errorf("of a it reads %+v", a)
	}
	if z.Table != schema+`."Z"` || z.Columns != nil || z.Key != "" || len(z.Events) != 4 || len(z.Broken) != 1 {
		t.Errorf("of Z it reads %+v", z)
	}
	if gone.Table != "" || len(gone.Broken) != 1 {
		t.Errorf("of the one that is gone it reads %+v", gone)
	}
}

// TestOthersFunctionsStay watches a table, and has a function of the application's, that
// lie with the tables of Sluice and belong to another role: who serves is not bothered, and a
// migration, and a start after the schema was renamed, leave them as they are.
func TestOthersFunctionsStay(t *testing.T) {
	t.Parallel()
	admin, role := serving(t)
	schema := schemaOf(t, admin)
	conn := connect(t, admin)
	app := schema + "_app"
	mustExec(t, conn, `CREATE ROLE `+app)
	mustExec(t, conn, `GRANT USAGE, CREATE ON SCHEMA `+schema+` TO `+app)
	mustExec(t, conn, `GRANT INSERT ON sluice_outbox TO `+app)
	mustExec(t, conn, `SET ROLE `+app)
	mustExec(t, conn, `CREATE TABLE orders (id int PRIMARY KEY)`)
	mustExec(t, conn, `SELECT sluice_watch('orders', 'orders')`)
	mustExec(t, conn, `CREATE FUNCTION sluice_mine() RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS 'SELECT 1'`)
	mustExec(t, conn, `RESET ROLE`)
	others := func() (all []string) {
		t.Helper()
		rows, err := conn.Query(t.Context(), `SELECT format('%s %s %s', proname, proowner::regrole, proconfig) FROM pg_proc
			WHERE prosecdef AND pronamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'orders'::regclass) AND (proname = 'sluice_mine' OR proname LIKE 'sluice\_watch\_%') ORDER BY 1`)
		if err == nil {
			all, err = pgx.CollectRows(rows, pgx.RowTo[string])
		}
		if err != nil || len(all) == 0 {
			t.Fatalf("there are %q, %v", all, err)
		}
		return all
	}
	before := others()

	log, err := postgres.Open(t.Context(), postgres.Config{DatabaseURL: role, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	mustRun(t, log)
	mustExec(t, conn, `INSERT INTO orders VALUES (7)`)
	next(t, log, 0)
	log.VetNow()
	if err := log.Sequencing(t.Context()); err != nil {
		t.Errorf("a watched table bothers who serves: %v", err)
	}
	if watched, err := log.Watched(t.Context()); err != nil || len(watched) != 1 {
		t.Errorf("who serves sees %+v, %v", watched, err)
	}

	if err := postgres.Migrate(t.Context(), admin, quiet); err != nil {
		t.Fatal(err)
	}
	if after := others(); !slices.Equal(after, before) {
		t.Errorf("a migration has made %q of %q", after, before)
	}
	mustExec(t, conn, `SELECT sluice_unwatch('orders')`) // it would be listed everywhere as one that has lost its log
	before = others()
	mustExec(t, conn, `ALTER SCHEMA `+schema+` RENAME TO `+schema+`_new`)
	mustExec(t, conn, `SET search_path = `+schema+`_new`)
	if err := postgres.Migrate(t.Context(), strings.Replace(admin, "search_path%3D"+schema, "search_path%3D"+schema+"_new", 1), quiet); err != nil {
		t.Fatal(err)
	}
	if after := others(); !slices.Equal(after, before) {
		t.Errorf("a new name of the schema has made %q of %q", after, before)
	}
}
