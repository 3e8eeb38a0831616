package postgres

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A session is set up by us, whatever the role, the database, the server or the URL
// say: what they are set to is meant for other programs, and may make a session
// store garbled text, roll back at every conflict, write nothing, see not all rows,
// or end while it waits. What the server's version does not know is passed over.
const sessionSQL = `SET client_encoding = 'UTF8'; SET standard_conforming_strings = on;
SET "DateStyle" = 'ISO, MDY'; SET "TimeZone" = 'UTC'; SET bytea_output = 'hex';
SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = off; SET default_transaction_deferrable = off;
SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET idle_session_timeout = 0;
SET row_security = off;
SELECT set_config('transaction_timeout', '0', false) WHERE current_setting('transaction_timeout', true) IS NOT NULL;
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'`

// setUpSQL sets up a session that works in a schema. Names are looked up there and
// nowhere else, temporary tables last.
func setUpSQL(schema string) string {
	return sessionSQL + `; SET search_path = ` + pgx.Identifier{schema}.Sanitize() + `, pg_temp`
}

// setConnect has the driver make connections that Sluice can use. Text goes as UTF-8
// from the first message on; that is one of the few parameters that poolers take.
func setConnect(config *pgx.ConnConfig) error {
	switch validates := reflect.ValueOf(config.ValidateConnect).Pointer(); validates {
	case reflect.ValueOf(pgconn.ValidateConnectTargetSessionAttrsStandby).Pointer(),
		reflect.ValueOf(pgconn.ValidateConnectTargetSessionAttrsReadOnly).Pointer():
		return errors.New("postgres: target_session_attrs in the database URL asks for a standby, which takes no writes: leave it out, or say primary")
	}
	// A standby may be behind: of what it does not have nobody could say whether it
	// is there. Where the URL names several servers, the primary is looked for.
	config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	config.RuntimeParams["client_encoding"] = "UTF8"
	return nil
}

const standbyHint = "this server is a standby: name the primary in the database URL, or all servers, of which the primary is taken"

// checkPooled finds out whether a pooler's sessions, which cannot be set up, are
// what they have to be.
func (s *server) checkPooled(ctx context.Context, conn *pgx.Conn) error {
	for _, sql := range []string{`BEGIN`, `COMMIT`} {
		if err := conn.PgConn().Exec(ctx, sql).Close(); err != nil {
			return s.failure("begin a transaction through the pooler", err, reads)
		}
	}
	for _, setting := range []struct{ name, needed string }{
		{"client_encoding", "UTF8"},
		{"standard_conforming_strings", "on"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
	} {
		rows, err := conn.PgConn().Exec(ctx, `SELECT current_setting('`+setting.name+`'), quote_ident(session_user), quote_ident(current_database())`).ReadAll()
		if err != nil {
			return s.failure("ask for the pooler's settings", err, reads)
		}
		is, user, database := string(rows[0].Rows[0][0]), string(rows[0].Rows[0][1]), string(rows[0].Rows[0][2])
		if is != setting.needed {
			return fmt.Errorf("postgres: %s is %q for user %s through the pooler at %s, where it cannot be set for a session: ALTER ROLE %s IN DATABASE %s SET %s = '%s', and have the pooler reconnect",
				setting.name, is, user, s.addr, user, database, setting.name, setting.needed)
		}
	}
	return nil
}

// isWrongPooler reports what a pooler refuses by its configuration. It has one code
// for that and for what passes, so that its words have to tell.
func isWrongPooler(err error) (hint string, is bool) {
	var refusal *pgconn.PgError
	switch {
	case !errors.As(err, &refusal):
	case strings.Contains(refusal.Message, "unsupported startup parameter"):
		return "the pooler passes on no such parameter: take it out of the database URL and set it by ALTER ROLE … IN DATABASE … SET, or connect to the server directly", true
	case strings.Contains(refusal.Message, "statement pooling mode"):
		return "let the pooler pool transactions or sessions (pool_mode), or connect to the server directly", true
	}
	return "", false
}

// isForGood reports a refusal to connect that waiting does not mend: of a setting in
// the URL, of a right, of an encoding that the server cannot convert.
func isForGood(err error) bool {
	var refusal *pgconn.PgError
	if !isConnect(err) || !errors.As(err, &refusal) {
		return false
	}
	switch class(refusal) {
	case "0A", "22", "42":
		return true
	}
	return false
}
