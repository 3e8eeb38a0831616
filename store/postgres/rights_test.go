package postgres_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
	"github.com/sluicehq/sluice/store/storetest"
)

// serving makes tables that belong to a role without attributes, and another role
// that has been granted what it needs to serve, and owns nothing. admin is the URL of
// the server's superuser.
func serving(t testing.TB) (admin, role string) {
	t.Helper()
	admin = pgtest.Schema(t)
	schema := schemaOf(t, admin)
	conn := connect(t, admin)
	mustExec(t, conn, inSchema(`CREATE ROLE %s_owner LOGIN`, schema))
	mustExec(t, conn, inSchema(`CREATE ROLE %s_server LOGIN`, schema))
	mustExec(t, conn, inSchema(`ALTER SCHEMA %s OWNER TO %s_owner`, schema))
	owner := as(t, admin, schema+"_owner")
	if err := errors.Join(postgres.Migrate(t.Context(), owner, quiet), postgres.Grant(t.Context(), owner, schema+"_server", quiet)); err != nil {
		t.Fatal(err)
	}
	return admin, as(t, admin, schema+"_server")
}

// as is the URL for another user.
func as(t testing.TB, rawURL, user string) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(user)
	return u.String()
}

func userOf(t testing.TB, rawURL string) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return u.User.Username()
}

// TestConformanceWithJustTheRights serves as a role that owns nothing, and starts
// again as one, while applications are somebody else.
func TestConformanceWithJustTheRights(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		admin, role := serving(t)
		h := harness(t, postgres.Config{DatabaseURL: admin})
		config := postgres.Config{DatabaseURL: role, Logger: quiet}
		h.Open = func(ctx context.Context, settings storetest.Settings) (store.Log, error) {
			config := config
			config.PollInterval, config.Retention, config.MaxPayload, config.MaxRevocations = settings.Poll, settings.Retention, settings.MaxPayload, settings.MaxRevocations
			return open(ctx, config)
		}
		return h
	})
}

// TestServingWithJustTheRights does what is rare with them: partitions made and
// removed for good, rows that are locked, set aside, or removed by hand.
func TestServingWithJustTheRights(t *testing.T) {
	t.Parallel()
	admin, role := serving(t)
	conn := connect(t, admin)
	shrinkPartitions(t, conn, 16)
	var lines syncBuffer
	config := postgres.Config{DatabaseURL: role, PollInterval: 5 * time.Millisecond, Retention: time.Hour, Logger: textLogger(&lines)}
	log, err := postgres.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()

	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) SELECT 't', 'e' FROM generate_series(1, 100)`)
	runUntil(t, log, conn, countRows, 100)
	mustExec(t, conn, mark, 50)
	runUntil(t, log, conn, countRows, 53)
	mustExec(t, conn, mark, 100)
	runUntil(t, log, conn, countRows, 0)

	holder := connect(t, admin)
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('held', '1'), ('held', '2'), ('free', '1')`)
	mustExec(t, holder, `BEGIN`)
	mustExec(t, holder, `SELECT FROM sluice_outbox WHERE event = '1' AND topic = 'held' FOR UPDATE`)
	mustRun(t, log)
	if e := next(t, log, 100); e.Topic != "free" {
		t.Errorf("offset %d has an event of %s", e.Offset, e.Topic)
	}
	mustExec(t, holder, `COMMIT`)
	next(t, log, 102)

	mustExec(t, conn, `ALTER TABLE sluice_outbox DROP CONSTRAINT sluice_topic_has_1_to_255_bytes`)
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) SELECT string_agg(md5(random()::text), ''), 'e' FROM generate_series(1, 1000)`)
	lines.await(t, "moved to sluice_rejected", 1)
	var topic string
	if err := conn.QueryRow(t.Context(), `SELECT topic FROM sluice_rejected`).Scan(&topic); err != nil {
		t.Fatal(err)
	}
	for _, topic := range []string{"held", topic} {
		if _, _, _, err := log.Erase(t.Context(), store.Selection{Topic: topic}); err != nil {
			t.Error(err)
		}
	}

	mustExec(t, conn, `ALTER SEQUENCE sluice_outbox_id_seq CACHE 9`)
	lines.await(t, "had a cache", 1)
	before := epochOf(t, log)
	mustExec(t, conn, `SET session_replication_role = replica; DELETE FROM sluice_log WHERE "offset" IN (102)`)
	if _, err := log.Fetch(t.Context(), 100, store.Limit{Events: 9}); !errors.Is(err, store.ErrTrimmed) {
		t.Errorf("a hole: %v", err)
	}
	for epochOf(t, log) == before {
		if err := log.Wait(t.Context(), 1<<62); err != nil { // for the poll
			t.Fatal(err)
		}
	}
	if err := log.Append(t.Context(), []store.Draft{{Topic: "t", Name: "e"}}); err != nil {
		t.Error(err)
	}
	next(t, log, 103)
	again := mustOpen(t, config) // the tables are up to date: there is nothing to migrate
	next(t, again, 103)
	if text := lines.String(); strings.Contains(text, "permission denied") || strings.Contains(text, "must be owner") {
		t.Error(text)
	}
}

// TestEachMissingRightIsNamed takes each privilege away in turn: the log is not
// opened, and says what to run, which mends it.
func TestEachMissingRightIsNamed(t *testing.T) {
	t.Parallel()
	admin, role := serving(t)
	conn := connect(t, admin)
	config := postgres.Config{DatabaseURL: role, Logger: quiet}
	for i, grant := range postgres.ServingRights(schemaOf(t, admin), userOf(t, role)) {
		revoke := strings.Replace(strings.Replace(grant, "GRANT", "REVOKE", 1), " TO ", " FROM ", 1)
		public := strings.Contains(grant, "FUNCTION")
		if mustExec(t, conn, revoke); public {
			mustExec(t, conn, revoke[:strings.LastIndex(revoke, " ")]+" PUBLIC")
		}
		migrate := []bool{i%2 == 0}
		if strings.Contains(grant, "sluice_meta") || strings.Contains(grant, " ON SCHEMA ") { // which is needed before all others, in either way
			migrate = []bool{false, true}
		}
		for _, config.Migrate = range migrate {
			switch _, err := postgres.Open(t.Context(), config); {
			case err == nil:
				t.Errorf("opened without %s", grant)
			case isUnavailable(err) || !strings.Contains(err.Error(), grant):
				t.Errorf("without %s: %v", grant, err)
			}
		}
		mustExec(t, conn, grant)
	}
	mustOpen(t, config)
}

func isUnavailable(err error) bool {
	unavailable := new(store.UnavailableError)
	return errors.As(err, &unavailable)
}

// TestAllMissingRightsAreNamed has a role that may connect and nothing else, and
// others whose rights are not enough.
func TestAllMissingRightsAreNamed(t *testing.T) {
	t.Parallel()
	admin, role := serving(t)
	schema := schemaOf(t, admin)
	conn := connect(t, admin)
	mustExec(t, conn, inSchema(`CREATE ROLE %s_nobody LOGIN`, schema))
	_, err := postgres.Open(t.Context(), postgres.Config{DatabaseURL: as(t, admin, schema+"_nobody"), Logger: quiet})
	for _, r := range []string{"GRANT USAGE ON SCHEMA %s", "GRANT SELECT, INSERT, UPDATE (id), DELETE ON %s.sluice_outbox", "UPDATE (removed)", "FUNCTION %s.sluice_extend_log()"} {
		if err == nil || isUnavailable(err) || !strings.Contains(err.Error(), inSchema(r, schema)) {
			t.Errorf("without any right: %v", err)
		}
	}
	for _, test := range []struct{ take, give, words string }{
		{`ALTER TABLE sluice_outbox ENABLE ROW LEVEL SECURITY`, `ALTER TABLE sluice_outbox DISABLE ROW LEVEL SECURITY`, `ALTER TABLE %s.sluice_outbox DISABLE ROW LEVEL SECURITY`},
		{`ALTER TABLE sluice_log ENABLE ROW LEVEL SECURITY`, `ALTER TABLE sluice_log DISABLE ROW LEVEL SECURITY`, `ALTER TABLE %s.sluice_log DISABLE ROW LEVEL SECURITY`},
		{`ALTER SCHEMA %s OWNER TO postgres`, `ALTER SCHEMA %s OWNER TO %s_owner`, `GRANT USAGE, CREATE ON SCHEMA %s TO %s_owner`},
		{`ALTER FUNCTION sluice_extend_log() OWNER TO %s_nobody`, `ALTER FUNCTION sluice_extend_log() OWNER TO %s_owner`, `.sluice_extend_log() OWNER TO %s_owner`},
	} {
		mustExec(t, conn, inSchema(test.take, schema))
		_, err := postgres.Open(t.Context(), postgres.Config{DatabaseURL: role, Logger: quiet})
		if err == nil || isUnavailable(err) || !strings.Contains(err.Error(), inSchema(test.words, schema)) {
			t.Errorf("%s: %v", test.take, err)
		}
		mustExec(t, conn, inSchema(test.give, schema))
	}
	mustOpen(t, postgres.Config{DatabaseURL: role})
}

// TestSchemaIsRenamed does so to one that is served from: who may, has it work again
// at the next start, and others are told what to run.
func TestSchemaIsRenamed(t *testing.T) {
	t.Parallel()
	admin, role := serving(t)
	schema := schemaOf(t, admin)
	conn := connect(t, admin)
	mustExec(t, conn, inSchema(`ALTER SCHEMA %s RENAME TO "%s it's"`, schema))
	url := strings.Replace(role, "search_path%3D"+schema, "search_path%3D%22"+schema+"%5C%20it%27s%22", 1)
	_, err := postgres.Open(t.Context(), postgres.Config{DatabaseURL: url, Migrate: true, Logger: quiet})
	if err == nil || isUnavailable(err) || !strings.Contains(err.Error(), `sluice_extend_log() SET search_path = `) {
		t.Errorf("as who serves: %v", err)
	}
	if err := postgres.Migrate(t.Context(), as(t, url, schema+"_owner"), quiet); err != nil {
		t.Fatal(err)
	}
	conn = connect(t, as(t, url, userOf(t, admin)))
	shrinkPartitions(t, conn, 8)
	log, err := postgres.Open(t.Context(), postgres.Config{DatabaseURL: url, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	mustRun(t, log)
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) SELECT 't', 'e' FROM generate_series(1, 50)`)
	next(t, log, 49)
}

// TestGrantingIsRefusedInWords grants to nobody, and as somebody who may not.
func TestGrantingIsRefusedInWords(t *testing.T) {
	t.Parallel()
	admin, role := serving(t)
	schema := schemaOf(t, admin)
	conn := connect(t, admin)
	const odd = `odd "; DROP TABLE sluice_log; --`
	for _, test := range []struct{ url, role, words string }{
		{admin, "PUBLIC", `CREATE ROLE "PUBLIC" LOGIN`},
		{admin, odd, `CREATE ROLE ` + pgx.Identifier{odd}.Sanitize() + ` LOGIN`},
		{role, schema + "_other", "as the owner"},
	} {
		if test.role == schema+"_other" {
			mustExec(t, conn, `CREATE ROLE `+test.role)
		}
		if err := postgres.Grant(t.Context(), test.url, test.role, quiet); err == nil || isUnavailable(err) || !strings.Contains(err.Error(), test.words) {
			t.Errorf("to %s: %v", test.role, err)
		}
	}
	mustExec(t, conn, `CREATE ROLE `+pgx.Identifier{odd}.Sanitize()+` LOGIN`)
	for range 2 {
		if err := postgres.Grant(t.Context(), admin, odd, quiet); err != nil {
			t.Error(err)
		}
	}
	mustOpen(t, postgres.Config{DatabaseURL: as(t, admin, odd)})
}

// TestFunctionsOfTheOwnerAreSafe looks at all functions that run as the owner: not
// everybody may call them, and who may make functions in their schema, or has
// temporary tables and types, cannot have them run anything else.
func TestFunctionsOfTheOwnerAreSafe(t *testing.T) {
	t.Parallel()
	admin, role := serving(t)
	schema := schemaOf(t, admin)
	conn := connect(t, admin)
	var all, safe int
	if err := conn.QueryRow(t.Context(), `SELECT count(*), count(*) FILTER (WHERE 'search_path=' || $1 || ', pg_temp' = ANY (proconfig)
			AND NOT has_function_privilege('public', oid, 'EXECUTE') AND proowner::regrole::text = $1 || '_owner')
		FROM pg_proc WHERE prosecdef AND pronamespace = $1::regnamespace AND proname NOT IN ('sluice_position', 'sluice_max_payload')`, schema).Scan(&all, &safe); err != nil || all != 3 || safe != all {
		t.Errorf("%d functions run as the owner, of which %d are safe, %v", all, safe, err)
	}
	var known int
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_proc WHERE prosecdef AND pronamespace = $1::regnamespace AND proname IN `+postgres.Definers, schema).Scan(&known); err != nil || known != all+2 {
		t.Errorf("of %d functions that run as the owner, %d are known, %v", all+2, known, err)
	}
	// Two that everybody may call read a number each: what they name was bound when they were made.
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_proc WHERE prosecdef AND pronamespace = $1::regnamespace AND proname IN ('sluice_position', 'sluice_max_payload')
		AND prosqlbody IS NOT NULL AND pronargs = 0 AND provolatile = 's' AND proowner::regrole::text = $1 || '_owner'`, schema).Scan(&all); err != nil || all != 2 {
		t.Errorf("%d functions read what their owner may, %v", all, err)
	}
	shrinkPartitions(t, conn, 8)
	mustExec(t, conn, inSchema(`GRANT CREATE ON SCHEMA %s TO %s_server`, schema))
	attacker := connect(t, role)
	const attack = ` LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'attacked as %', current_user; END $$`
	for _, made := range []string{
		`FUNCTION %s.format(text, text) RETURNS text`, `FUNCTION %s.format(text, text, text) RETURNS text`, `FUNCTION %s.format(text, text, text, bigint, bigint) RETURNS text`,
		`FUNCTION %s.replace(text, text, varchar) RETURNS text`, `FUNCTION %s.set_config(text, text, boolean) RETURNS text`,
		`FUNCTION %s.minus(bigint, integer) RETURNS bigint`, `FUNCTION %s.lower(bigint, bigint) RETURNS boolean`, `FUNCTION %s.is(regclass, regclass) RETURNS boolean`,
	} {
		mustExec(t, attacker, inSchema(`CREATE `+made+attack, schema))
	}
	mustExec(t, attacker, inSchema(`CREATE OPERATOR %s.= (LEFTARG = regclass, RIGHTARG = regclass, FUNCTION = %s.is)`, schema))
	mustExec(t, attacker, `CREATE TEMPORARY TABLE sluice_meta (part_end bigint, part_size bigint, trimmed bigint)`)
	mustExec(t, attacker, `CREATE TYPE pg_temp.text AS (text pg_catalog.text)`)
	mustExec(t, attacker, `CREATE TYPE pg_temp.regclass AS (text pg_catalog.text)`)
	mustExec(t, conn, `UPDATE sluice_meta SET trimmed = 20`)
	mustExec(t, conn, `ALTER SEQUENCE sluice_outbox_id_seq CACHE 9`)
	for _, call := range []string{`sluice_extend_log()`, `sluice_remove_partition()`, `sluice_order_ids()`} {
		mustExec(t, attacker, `SELECT `+schema+`.`+call)
	}
	var parts, ordered string
	if err := conn.QueryRow(t.Context(), `SELECT (SELECT string_agg(first::text, ',' ORDER BY first) FROM sluice_partitions), (SELECT ordered::text FROM sluice_writers())`).
		Scan(&parts, &ordered); err != nil || parts != "8,16,24" || ordered != "true" {
		t.Errorf("partitions %s, ids in order: %s, %v", parts, ordered, err)
	}
}
