package postgres_test

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
)

// schemaOf is the schema that a URL of pgtest's names.
func schemaOf(t testing.TB, rawURL string) string {
	t.Helper()
	_, schema, found := strings.Cut(rawURL, "search_path%3D")
	if !found {
		t.Fatalf("no schema in %s", rawURL)
	}
	return schema
}

// asRole is the URL for a role of the test's own, which is made with the given
// attributes.
func asRole(t *testing.T, rawURL, attributes string) (roleURL, role string) {
	t.Helper()
	role = schemaOf(t, rawURL) + "_app"
	conn := connect(t, rawURL)
	mustExec(t, conn, `CREATE ROLE `+role+` LOGIN `+attributes)
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(role)
	return u.String(), role
}

// TestSessionsAreOurs has a role, and a URL, whose settings no log could live with.
func TestSessionsAreOurs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, theirs, ours string }{
		{"client_encoding", "LATIN1", "UTF8"},
		{"client_encoding", "SQL_ASCII", "UTF8"},
		{"default_transaction_isolation", "serializable", "read committed"},
		{"default_transaction_isolation", "repeatable read", "read committed"},
		{"default_transaction_read_only", "on", "off"},
		{"default_transaction_deferrable", "on", "off"},
		{"standard_conforming_strings", "off", "on"},
		{"statement_timeout", "60000", "0"},
		{"lock_timeout", "60000", "0"},
		{"idle_in_transaction_session_timeout", "60000", "0"},
		{"idle_session_timeout", "60000", "0"},
		{"row_security", "on", "off"},
		{"synchronous_commit", "off", "on"},
		{"DateStyle", "German", "ISO, MDY"},
		{"TimeZone", "Asia/Tokyo", "UTC"},
		{"bytea_output", "escape", "hex"},
	} {
		t.Run(test.name+" "+test.theirs, func(t *testing.T) {
			t.Parallel()
			base := pgtest.Schema(t)
			admin := connect(t, base)
			inURL, role := asRole(t, base, "SUPERUSER")
			mustExec(t, admin, fmt.Sprintf(`ALTER ROLE %s SET "%s" = '%s'`, role, test.name, test.theirs))
			log := mustOpen(t, postgres.Config{DatabaseURL: inURL})
			mustRun(t, log)
			const topic, payload = "Zürich 東京", `{"name": "Ærøskøbing \\ é 'x'"}`
			if err := log.Append(t.Context(), []store.Draft{{Topic: topic, Name: "é", Payload: []byte(payload)}}); err != nil {
				t.Fatal(err)
			}
			if e := next(t, log, 0); e.Topic != topic || e.Name != "é" || string(e.Payload) != payload {
				t.Errorf("got %q %q %s", e.Topic, e.Name, e.Payload)
			}
			for _, databaseURL := range []string{inURL, inURL + "&" + url.QueryEscape(test.name) + "=" + url.PathEscape(test.theirs)} {
				log := mustOpen(t, postgres.Config{DatabaseURL: databaseURL})
				if is, err := log.Setting(t.Context(), test.name); err != nil || is != test.ours {
					t.Errorf("%s: it is %q, %v; want %q", databaseURL, is, err, test.ours)
				}
			}
		})
	}
}

// TestSchemaIsWhereTheTablesAre opens the log with search paths that lead elsewhere.
func TestSchemaIsWhereTheTablesAre(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t) // where no other test has tables
	first, other := server.Schema(t), server.Schema(t)
	if schemaOf(t, first) > schemaOf(t, other) { // as errors list them
		first, other = other, first
	}
	mustOpen(t, postgres.Config{DatabaseURL: first})
	conn := connect(t, first)
	for _, path := range []string{schemaOf(t, other), schemaOf(t, other) + ", " + schemaOf(t, first), "absent", "pg_catalog", `"$user"`} {
		mustExec(t, conn, `ALTER ROLE postgres SET search_path = `+path)
		log := mustOpen(t, postgres.Config{DatabaseURL: server.URL()})
		if is, err := log.Setting(t.Context(), "search_path"); err != nil || is != schemaOf(t, first)+", pg_temp" {
			t.Errorf("search_path %s: works in %s, %v", path, is, err)
		}
	}
	both := strings.Replace(other, schemaOf(t, other), schemaOf(t, other)+","+schemaOf(t, first), 1)
	if log := mustOpen(t, postgres.Config{DatabaseURL: both}); epochOf(t, log) == "" {
		t.Error("no epoch")
	}
	var count int
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_class WHERE relname = 'sluice_meta'`).Scan(&count); err != nil || count != 1 {
		t.Fatalf("the tables are in %d schemas, %v; want one", count, err)
	}

	mustOpen(t, postgres.Config{DatabaseURL: other}) // names a schema, and so means it
	mustExec(t, conn, `ALTER ROLE postgres SET search_path = absent`)
	_, err := postgres.Open(t.Context(), postgres.Config{DatabaseURL: server.URL(), Migrate: true, Logger: quiet})
	if err == nil || !strings.Contains(err.Error(), schemaOf(t, first)+", "+schemaOf(t, other)) || store.RetrySafe(err) {
		t.Errorf("two schemas: %v", err)
	}
	var lines syncBuffer
	mustOpen(t, postgres.Config{DatabaseURL: both, Logger: textLogger(&lines)})
	lines.await(t, "several schemas", 1)
}

// TestPoolersThatCannotDo refuse for good, and are not waited for.
func TestPoolersThatCannotDo(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		message string
		passes  bool
		words   string
	}{
		{"unsupported startup parameter in options: search_path", false, "ALTER ROLE"},
		{"unsupported startup parameter: statement_timeout", false, "ALTER ROLE"},
		{"transaction blocks not allowed in statement pooling mode", false, "pool_mode"},
		{"server login has been failing, try again later", true, ""},
	} {
		_, err := postgres.Open(t.Context(), postgres.Config{DatabaseURL: "postgres://app@" + refusing(t, test.message) + "/app?sslmode=disable", Logger: quiet})
		if err == nil || store.RetrySafe(err) != test.passes || !strings.Contains(err.Error(), test.message) || !strings.Contains(err.Error(), test.words) {
			t.Errorf("%s: %v", test.message, err)
		}
	}
	for _, setting := range []string{"default_transaction_isolation = 'serializable'", "default_transaction_read_only = on", "search_path = absent"} {
		t.Run(setting, func(t *testing.T) {
			t.Parallel()
			server := pgtest.NewServer(t)
			base := server.Schema(t)
			mustOpen(t, postgres.Config{DatabaseURL: base})
			roleURL, role := asRole(t, base, "SUPERUSER")
			mustExec(t, connect(t, base), `ALTER ROLE `+role+` SET `+setting)
			roleURL, _, _ = strings.Cut(roleURL, "&options=")
			_, err := postgres.Open(t.Context(), postgres.Config{DatabaseURL: roleURL, Pooled: true, Logger: quiet})
			if err == nil || store.RetrySafe(err) || !strings.Contains(err.Error(), "ALTER ROLE "+role+" IN DATABASE") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// refusing is the address of a server that refuses all who connect, in these words.
func refusing(t *testing.T, message string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			backend := pgproto3.NewBackend(client, client)
			if _, err := backend.ReceiveStartupMessage(); err == nil {
				backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "08P01", Message: message})
				backend.Flush()
			}
			client.Close()
		}
	}()
	t.Cleanup(func() { listener.Close(); <-ended })
	return listener.Addr().String()
}

// TestOtherEncodingIsRefusedForGood tries databases that cannot hold all text.
func TestOtherEncodingIsRefusedForGood(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t)
	conn := connect(t, server.URL())
	for _, encoding := range []string{"SQL_ASCII", "LATIN1", "EUC_JP", "MULE_INTERNAL"} {
		mustExec(t, conn, fmt.Sprintf(`CREATE DATABASE d_%s ENCODING '%[1]s' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'`, encoding))
		databaseURL := strings.Replace(server.URL(), "/postgres?", "/d_"+strings.ToLower(encoding)+"?", 1)
		_, err := postgres.Open(t.Context(), postgres.Config{DatabaseURL: databaseURL, Migrate: true, Logger: quiet})
		if err == nil || store.RetrySafe(err) || !strings.Contains(err.Error(), encoding) {
			t.Errorf("%s: %v", encoding, err)
		}
	}
}

// TestReadersAskThePrimary names a standby, which has stopped following, and the
// primary: everything is asked of the primary.
func TestReadersAskThePrimary(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t)
	base := server.Schema(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: base})
	insertAll(t, log, base, "a", "b")
	server.Mirror(t)
	standby := connect(t, server.StandbyURL())
	mustExec(t, standby, `SELECT pg_wal_replay_pause()`)
	insertAll(t, log, base, "c", "d")

	addr := func(rawURL string) string { u, _ := url.Parse(rawURL); return u.Host }
	for _, hosts := range []string{addr(server.StandbyURL()) + "," + addr(base), addr(base) + "," + addr(server.StandbyURL())} {
		for _, attrs := range []string{"", "&target_session_attrs=any", "&target_session_attrs=prefer-standby", "&target_session_attrs=read-write"} {
			log := mustOpen(t, postgres.Config{DatabaseURL: strings.Replace(base, addr(base), hosts, 1) + attrs + "&pool_max_conns=3"})
			if got := topics(t, log); got != "a b c d" {
				t.Errorf("%s%s: the log has %s", hosts, attrs, got)
			}
			if events, through, err := log.Replay(t.Context(), "d", 2, 4, store.Limit{Events: 10}); err != nil || len(events) != 1 || through != 4 {
				t.Errorf("%s%s: replayed %d events through %d, %v", hosts, attrs, len(events), through, err)
			}
		}
	}
	alone := strings.Replace(base, addr(base), addr(server.StandbyURL()), 1)
	_, err := postgres.Open(t.Context(), postgres.Config{DatabaseURL: alone, Logger: quiet})
	if unavailable := new(store.UnavailableError); !errors.As(err, &unavailable) || !strings.Contains(unavailable.Hint, "standby") {
		t.Errorf("a standby alone: %v", err)
	}
	_, err = postgres.Open(t.Context(), postgres.Config{DatabaseURL: base + "&target_session_attrs=standby", Logger: quiet})
	if err == nil || store.RetrySafe(err) || !strings.Contains(err.Error(), "target_session_attrs") {
		t.Errorf("asking for a standby: %v", err)
	}
}
