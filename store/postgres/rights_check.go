package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// lackingSQL numbers those of the privileges that a role does not have. One on what
// does not exist counts as had: that is for others to tell.
const lackingSQL = `SELECT n::integer - 1 FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS need (kind, object, name, col, n)
	WHERE NOT coalesce(CASE kind
		WHEN 'SCHEMA' THEN (SELECT has_schema_privilege($5::name, oid, need.name) FROM pg_namespace WHERE nspname = $6)
		WHEN 'FUNCTION' THEN (SELECT has_function_privilege($5::name, oid, need.name) FROM pg_proc
			WHERE pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = $6) AND proname || '(' || oidvectortypes(proargtypes) || ')' = object)
		ELSE (SELECT CASE
				WHEN relkind = 'S' THEN has_sequence_privilege($5::name, oid, need.name)
				WHEN col <> '' THEN has_column_privilege($5::name, oid, (SELECT attnum FROM pg_attribute WHERE attrelid = pg_class.oid AND attname = col), need.name)
				ELSE has_table_privilege($5::name, oid, need.name) END
			FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $6) AND relname = object)
	END, true) ORDER BY n`

// lacking returns what a role lacks of rights in the schema.
func (s *server) lacking(ctx context.Context, q queryer, role string, rights []right) ([]right, error) {
	var kinds, objects, names, columns []string
	for _, r := range rights {
		for _, p := range r.split() {
			kinds, objects, names, columns = append(kinds, r.kind), append(objects, r.object), append(names, p.name), append(columns, p.column)
		}
	}
	rows, err := q.Query(ctx, lackingSQL, kinds, objects, names, columns, role, s.schema)
	if err != nil {
		return nil, err
	}
	missing, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		return nil, err
	}
	var list []right
	for _, n := range missing {
		r := right{kinds[n], objects[n], privilege{names[n], columns[n]}.String()}
		if last := len(list) - 1; last >= 0 && list[last].kind == r.kind && list[last].object == r.object {
			list[last].privileges += ", " + r.privileges
			continue
		}
		list = append(list, r)
	}
	return list, nil
}

type queryer interface {
	querier
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// hiddenSQL is what an owner has to do so that no rows are hidden from this user.
const hiddenSQL = `SELECT format('ALTER TABLE %I.%I DISABLE ROW LEVEL SECURITY', nspname, relname)
	FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
	WHERE nspname = $1 AND relkind IN ('r', 'p') AND relname = ANY ($2::text[]) AND row_security_active(pg_class.oid) ORDER BY relname`

// definers are the functions that run as the owner of the tables. Others whose names begin
// alike are no concern of ours here: what sluice_watch makes runs as the owner of the
// watched table, with a search path of its own, and an application may have some too.
const definers = `('sluice_extend_log', 'sluice_remove_partition', 'sluice_order_ids', 'sluice_position', 'sluice_max_payload')`

// movedSQL is what has to be done so that the functions which run as the owner find
// the tables, once somebody has renamed the schema.
const movedSQL = `SELECT format('ALTER FUNCTION %I.%I(%s) SET search_path = %I, pg_temp', nspname, proname, oidvectortypes(proargtypes), nspname)
	FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace
	WHERE nspname = $1 AND prosecdef AND proname IN ` + definers + ` AND format('search_path=%I, pg_temp', nspname) <> ALL (proconfig)`

// ownerSQL is what has to be done so that the functions which run as the owner can do
// what they do.
const ownerSQL = `SELECT format('GRANT USAGE, CREATE ON SCHEMA %I TO %s', nspname, proowner::regrole)
	FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = $1 AND proname = 'sluice_extend_log' AND prosecdef
		AND NOT (has_schema_privilege(proowner, n.oid, 'USAGE') AND has_schema_privilege(proowner, n.oid, 'CREATE'))
	UNION ALL SELECT format('ALTER FUNCTION %I.%I(%s) OWNER TO %s', nspname, proname, oidvectortypes(proargtypes), relowner::regrole)
	FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace JOIN pg_class c ON relnamespace = n.oid AND relname = 'sluice_log'
	WHERE nspname = $1 AND proname IN ` + definers + ` AND prosecdef AND NOT pg_has_role(proowner, relowner, 'USAGE')`

// remedies is the SQL that gives this user what it lacks to serve.
func (s *server) remedies(ctx context.Context, q queryer) (list []string, err error) {
	var user, role, schema string
	if err := q.QueryRow(ctx, `SELECT current_user::text, quote_ident(current_user), quote_ident($1)`, s.schema).Scan(&user, &role, &schema); err != nil {
		return nil, err
	}
	missing, err := s.lacking(ctx, q, user, serving)
	if err != nil {
		return nil, err
	}
	for _, r := range missing {
		list = append(list, r.grant(schema, role))
	}
	var tables []string
	for _, r := range serving {
		tables = append(tables, r.object)
	}
	for _, question := range []struct {
		sql  string
		args []any
	}{{hiddenSQL, []any{s.schema, tables}}, {ownerSQL, []any{s.schema}}, {movedSQL, []any{s.schema}}} {
		more, err := texts(ctx, q, question.sql, question.args...)
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	return list, nil
}

// texts returns what a query has in its only column.
func texts(ctx context.Context, q queryer, sql string, args ...any) ([]string, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// followSchema has the functions that run as the owner find the tables where they are
// now. Who may not do that is told by checkRights.
func (s *server) followSchema(ctx context.Context, conn *pgx.Conn) error {
	list, err := texts(ctx, conn, movedSQL, s.schema)
	if err != nil {
		return s.failure("look for the tables", err, reads)
	}
	for _, sql := range list {
		if _, err := conn.Exec(ctx, sql); err != nil && !isRefused(err) {
			return s.failure("migrate", err, reads)
		}
	}
	return nil
}

// mayMigrateSQL asks who owns the tables that are there, none or the first, and what
// this user may do to them, and in their schema.
const mayMigrateSQL = `SELECT current_user::text, quote_ident(current_user), quote_ident(nspname), has_schema_privilege(n.oid, 'USAGE') AND has_schema_privilege(n.oid, 'CREATE'),
	coalesce((SELECT relowner::regrole::text FROM pg_class WHERE relnamespace = n.oid AND relname IN ('sluice_log', 'sluice_meta', 'sluice_outbox')
		AND NOT pg_has_role(relowner, 'USAGE') ORDER BY relname LIMIT 1), '')
	FROM pg_namespace n WHERE nspname = $1`

// checkMigrating names what this user lacks to make the tables, or to change them.
func (s *server) checkMigrating(ctx context.Context, q querier) error {
	var user, role, schema, owner string
	var creates bool
	if err := q.QueryRow(ctx, mayMigrateSQL, s.schema).Scan(&user, &role, &schema, &creates, &owner); err != nil {
		return err
	}
	where := fmt.Sprintf("postgres: user %q of database %q at %s", user, s.pool.ConnConfig.Database, s.addr)
	switch {
	case owner != "":
		return &forGood{fmt.Errorf("%s may not upgrade the tables in schema %s, which %s owns: run sluice migrate as %[3]s", where, schema, owner)}
	case !creates:
		return &forGood{fmt.Errorf("%s may not make tables in schema %s: as the owner of that schema run %s; or run sluice migrate --grant-to with this user as a role that may",
			where, schema, migrating[0].grant(schema, role))}
	}
	return nil
}

// forGood is an error that is said in words, and that waiting does not mend.
type forGood struct{ error }

// checkRights names all rights that this user lacks to serve, if it does.
func (s *server) checkRights(ctx context.Context, q queryer) error {
	list, err := s.remedies(ctx, q)
	if err != nil {
		return s.failure("check rights", err, reads)
	}
	if len(list) == 0 {
		return nil
	}
	return fmt.Errorf("postgres: user %q lacks rights to serve from schema %q of database %q at %s: as the owner of the tables run sluice migrate --grant-to with this user, or: %s",
		s.pool.ConnConfig.User, s.schema, s.pool.ConnConfig.Database, s.addr, strings.Join(list, "; "))
}

// explain adds to an error of a log that runs, and that may come of missing rights,
// which these are.
func (l *Log) explain(ctx context.Context, err error) error {
	if !mayBeOfRights(err) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	list, failure := l.server.remedies(ctx, l.pool)
	if failure != nil || len(list) == 0 {
		return err
	}
	return fmt.Errorf("%w; missing rights, for the owner of the tables to grant: %s", err, strings.Join(list, "; "))
}

// mayBeOfRights tells whether missing rights show themselves so. What is in a schema
// that may not be used is said not to exist.
func mayBeOfRights(err error) bool {
	var refusal *pgconn.PgError
	return errors.As(err, &refusal) && (refusal.Code == "42501" || refusal.Code == "42P01" || refusal.Code == "42883")
}
