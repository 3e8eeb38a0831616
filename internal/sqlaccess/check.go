package sqlaccess

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/store"
)

// CheckRole returns an error for a name that cannot be that of a role. "none" is no role: the
// database takes it for whoever has connected.
func CheckRole(role string) error {
	if role == "none" {
		return errors.New("it stands for no role")
	}
	return CheckName(role)
}

// Finding is what the database says of the role and the functions.
type Finding struct {
	// Role is why nobody can be asked as the role, "" if it can be.
	Role string
	// Functions are those that cannot be asked, each with why and what to do.
	Functions map[Function]string
	// Unbound is why row-level security does not bind the role, "" if it does.
	Unbound string
}

// Check asks the database whether functions can be asked as a role. The error is a
// [*store.UnavailableError] where it cannot tell.
func Check(ctx context.Context, databaseURL, role string, functions []Function) (found Finding, err error) {
	s, err := newServer(databaseURL, 1)
	if err != nil {
		return found, err
	}
	config := s.config.ConnConfig.Copy()
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // works through any pooler
	unavailable := func(err error) error {
		return &store.UnavailableError{Op: "ask for the functions of rules", Addr: fmt.Sprintf("%s:%d", config.Host, config.Port), Err: brief(err)}
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return found, unavailable(err)
	}
	defer func() {
		_ = conn.Close(context.WithoutCancel(ctx)) // which says goodbye, and no more
		<-conn.PgConn().CleanupDone()
	}()
	if found.Role, found.Unbound, err = s.checkRole(ctx, conn, role); err != nil {
		return found, unavailable(err)
	}
	if found.Role != "" {
		return found, nil
	}
	found.Functions = map[Function]string{}
	for _, f := range functions {
		wrong, err := checkFunction(ctx, conn, f, role)
		if err != nil {
			return found, unavailable(err)
		}
		if wrong != "" {
			found.Functions[f] = wrong
		}
	}
	return found, nil
}

// checkRole says what keeps the user of the database from being a role, and whether that
// sees all rows.
func (s *server) checkRole(ctx context.Context, conn *pgx.Conn, role string) (wrong, unbound string, err error) {
	var member, super, bypasses bool
	var user string
	err = conn.QueryRow(ctx, `SELECT pg_has_role(session_user, r.oid, CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END),
	r.rolsuper, r.rolbypassrls, session_user::text FROM pg_catalog.pg_roles r WHERE r.rolname = $1::text`, role).Scan(&member, &super, &bypasses, &user)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return "a role that there is: " + createRole(role) + "; " + grantRole(role, s.user), "", nil
	case err != nil:
		return "", "", err
	case !member:
		return "a role that the user of the database may take on: " + grantRole(role, user), "", nil
	case super:
		unbound = "it is a superuser"
	case bypasses:
		unbound = "it has BYPASSRLS"
	}
	return "", unbound, nil
}

// checkFunction says why a function cannot be asked as a role, and what to do.
func checkFunction(ctx context.Context, conn *pgx.Conn, f Function, role string) (wrong string, err error) {
	rows, err := conn.Query(ctx, `SELECT p.pronargs = 2 AND p.proargtypes[0] = 'text'::regtype AND p.proargtypes[1] = 'jsonb'::regtype, p.prokind = 'f' AND NOT p.proretset AND p.prorettype = 'boolean'::regtype,
	pg_get_function_identity_arguments(p.oid), coalesce(pg_get_function_result(p.oid), 'nothing'),
	has_schema_privilege($3::text, n.oid, 'USAGE'), has_function_privilege($3::text, p.oid, 'EXECUTE')
	FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = $1::text AND p.proname = $2::text ORDER BY 1 DESC, p.oid LIMIT 5`,
		f.Schema, f.Name, role)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var others []string
	for rows.Next() {
		var takes, gives, usage, execute bool
		var arguments, result string
		if err := rows.Scan(&takes, &gives, &arguments, &result, &usage, &execute); err != nil {
			return "", err
		}
		switch {
		case !takes:
			others = append(others, fmt.Sprintf("%s(%s)", f, arguments))
		case !gives:
			return fmt.Sprintf("a function that returns %s, and it returns %s: DROP ROUTINE %s(text, jsonb); %s", returns, result, f, create(f)), nil
		case !usage && !execute:
			return mayCall(role, grantUsage(f, role)+"; "+grantExecute(f, role)), nil
		case !usage:
			return mayCall(role, grantUsage(f, role)), nil
		case !execute:
			return mayCall(role, grantExecute(f, role)), nil
		default:
			return "", nil
		}
	}
	if err := rows.Err(); err != nil {
		return "", err
	}
	if len(others) > 0 {
		return fmt.Sprintf("a function of (text, jsonb), and there is %s: %s", strings.Join(others, ", "), create(f)), nil
	}
	return "a function that there is: " + create(f), nil
}

func mayCall(role, grants string) string {
	return fmt.Sprintf("a function that the role %s may call: %s", quoted(role), grants)
}
