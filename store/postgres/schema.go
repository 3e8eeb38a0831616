package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

const schemasSQL = `WITH installed AS (
		SELECT c.oid, nspname::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
			WHERE relname = 'sluice_meta' AND relkind = 'r' AND nspname !~ '^pg_(toast_)?temp_')
	SELECT coalesce((SELECT name FROM installed WHERE oid = to_regclass('sluice_meta')), ''),
		ARRAY(SELECT name FROM installed ORDER BY name), current_schemas(false)::text[], current_setting('search_path'),
		coalesce((SELECT name FROM installed WHERE name IN (SELECT trim('" ' FROM unnest(string_to_array(current_setting('search_path'), ',')))) LIMIT 1), '')`

// maxListed bounds how many schemas an error lists.
const maxListed = 5

// findSchema finds out where the tables are, or are to be made: where the search
// path leads to, or else the one place in the database that has them, so that two
// nodes with different search paths work on the same tables. Only a database URL
// that names a search path makes tables beside others.
func (s *server) findSchema(ctx context.Context, conn *pgx.Conn, logger *slog.Logger) (schema string, err error) {
	var found, setting, closed string
	var installed, path []string
	if err := conn.QueryRow(ctx, schemasSQL).Scan(&found, &installed, &path, &setting, &closed); err != nil {
		return "", s.failure("look for the tables", err, reads)
	}
	where := fmt.Sprintf("database %q at %s", conn.Config().Database, s.addr)
	onPath := slices.DeleteFunc(slices.Clone(path), func(name string) bool { return !slices.Contains(installed, name) })
	switch {
	case found != "":
		if len(onPath) > 1 {
			logger.Warn("several schemas on the search path have the tables of Sluice; the first is used", "schemas", onPath, "used", found)
		}
		return found, nil
	case closed != "": // it may not be used, which is told along with the other rights that are missing
		return closed, nil
	case s.namesSchema() || len(installed) == 0:
		if len(path) == 0 {
			return "", fmt.Errorf("postgres: no schema of search_path %s exists in %s, or user %q may not use it: CREATE SCHEMA it, GRANT USAGE, CREATE on it, or name another by search_path in the database URL",
				setting, where, conn.Config().User)
		}
		return path[0], nil
	case len(installed) > 1:
		return "", fmt.Errorf("postgres: %s has the tables of Sluice in several schemas (%s), none of them on search_path %s: name one by search_path in the database URL",
			where, strings.Join(installed[:min(len(installed), maxListed)], ", "), setting)
	}
	return installed[0], nil
}

// namesSchema tells whether the database URL says where to look for tables.
func (s *server) namesSchema() bool {
	params := s.pool.ConnConfig.RuntimeParams
	return params["search_path"] != "" || strings.Contains(params["options"], "search_path")
}

// enterSchema has connections work in a schema. Through a pooler that has to be so
// already.
func (s *server) enterSchema(ctx context.Context, conn *pgx.Conn) error {
	if !s.pooled {
		s.setUp = setUpSQL(s.schema)
		if _, err := conn.Exec(ctx, s.setUp); err != nil {
			return s.failure("set up a session", err, reads)
		}
		return nil
	}
	var present, user string
	if err := conn.QueryRow(ctx, `SELECT coalesce((SELECT nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
		WHERE c.oid = to_regclass('sluice_meta')), current_schema()::text, ''), quote_ident(session_user)`).Scan(&present, &user); err != nil {
		return s.failure("ask for the pooler's search path", err, reads)
	}
	if present != s.schema {
		return fmt.Errorf("postgres: the tables in database %q are in schema %q, which the search_path of user %s does not lead to through the pooler at %s: ALTER ROLE %s IN DATABASE %s SET search_path = %s, and have the pooler reconnect",
			conn.Config().Database, s.schema, user, s.addr, user, pgx.Identifier{conn.Config().Database}.Sanitize(), pgx.Identifier{s.schema}.Sanitize())
	}
	return nil
}
