package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicehq/sluice/store"
)

// effect says what an operation may have left behind when it fails.
type effect bool

const (
	reads  effect = false
	writes effect = true
)

func (l *Log) failure(op string, err error, effect effect) error {
	if l.closed.Load() {
		return fmt.Errorf("postgres: %s: %w", op, store.ErrClosed)
	}
	return l.server.failure(op, err, effect)
}

// failure turns the driver's error into one of package store's: the data is
// invalid, the database is not available, or, for what does not pass by
// itself, an error with the operation and, where there is one, a remedy.
func (s *server) failure(op string, err error, effect effect) error {
	var refusal *pgconn.PgError
	isRefusal := errors.As(err, &refusal)
	hint, wrongPooler := isWrongPooler(err)
	switch {
	case wrongPooler:
		return fmt.Errorf("postgres: %s at %s: %w (%s)", op, s.addr, refusal, hint)
	case errors.Is(err, errNoMeta):
		return fmt.Errorf("postgres: %s in database %q at %s: %w", op, s.pool.ConnConfig.Database, s.addr, err)
	case isForGood(err):
		return fmt.Errorf("postgres: %s at %s: %w%s", op, s.addr, refusal, remedy(refusal))
	case effect == reads && !isConnect(err) && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)):
		return fmt.Errorf("postgres: %s: %w", op, err) // the caller's own doing
	case isRefusal && effect == writes && isBadData(refusal):
		return invalid(refusal)
	case isRefusal && effect == reads && !isConnect(err) && !passes(refusal):
		return fmt.Errorf("postgres: %s: %w%s", op, err, remedy(refusal))
	}
	maybeDone := effect == writes && !isConnect(err) && !pgconn.SafeToRetry(err) &&
		(!isRefusal || refusal.Severity == "FATAL")
	return &store.UnavailableError{Op: "postgres: " + op, Addr: s.addr, Hint: s.hint(err), MaybeDone: maybeDone, Err: cause(err)}
}

func isConnect(err error) bool {
	var connect *pgconn.ConnectError
	return errors.As(err, &connect)
}

// cause spares the reader the driver's list of the same failure for each way
// to connect to the same address, which the error names itself.
func cause(err error) error {
	var refusal *pgconn.PgError
	var dns *net.DNSError
	var errno syscall.Errno
	var dial *net.OpError
	switch {
	case !isConnect(err):
		return err
	case errors.As(err, &refusal):
		return refusal
	case errors.As(err, &dns):
		return dns
	case errors.As(err, &errno):
		return errno
	case errors.As(err, &dial):
		return dial.Err
	}
	return err
}

// isBadData reports refusals that may come from the content of a row, and so would
// meet the same row again: data exceptions, violated constraints, and program
// limits such as nesting or the size of an index entry. Whether one does is found
// out by trying the row alone and without a wake-up, as a full notification queue
// is a program limit too. That there is no partition for a row is reported as a
// check that has no name.
func isBadData(refusal *pgconn.PgError) bool {
	switch refusal.Code {
	case "23502", "23503", "23P01":
		return true
	case "23514":
		return refusal.ConstraintName != ""
	}
	return class(refusal) == "22" || class(refusal) == "54"
}

// isRefused reports an error of a statement, after which the session goes on.
func isRefused(err error) bool {
	var refusal *pgconn.PgError
	return errors.As(err, &refusal) && refusal.Severity != "FATAL" && refusal.Severity != "PANIC"
}

// code is the SQLSTATE of a refusal; of any other error something else.
func code(err error) string {
	var refusal *pgconn.PgError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &refusal):
		return refusal.Code
	}
	return "lost"
}

// unavailable says that the database is not there for an operation, which has done nothing.
func (s *server) unavailable(op string, err error) error {
	return &store.UnavailableError{Op: "postgres: " + op, Addr: s.addr, Hint: s.hint(err), Err: err}
}

// passes reports refusals that come from the server's present state.
func passes(refusal *pgconn.PgError) bool {
	switch class(refusal) {
	case "08", // connection exception
		"25", // transaction state: read-only while it is a standby
		"40", // rolled back: deadlock, serialization
		"53", // insufficient resources
		"55", // object not in the needed state: lock_timeout
		"57", // operator intervention: shutdown, cancel, starting up
		"58": // system error
		return true
	}
	return false
}

func class(refusal *pgconn.PgError) string { return refusal.Code[:min(2, len(refusal.Code))] }

// invalid names the field by the violated constraint, whose name also says
// what is allowed.
func invalid(refusal *pgconn.PgError) error {
	e := &store.InvalidError{Index: -1, Reason: refusal.Message}
	if words, found := strings.CutPrefix(refusal.ConstraintName, "sluice_"); found {
		for _, field := range []string{"topic", "event", "key", "payload"} {
			if rule, found := strings.CutPrefix(words, field+"_"); found {
				e.Field, e.Reason = field, "breaks the rule that it "+strings.ReplaceAll(rule, "_", " ")
			}
		}
	}
	return e
}

func remedy(refusal *pgconn.PgError) string {
	switch refusal.Code {
	case "P0002": // see sluice_sequence
		return " (" + errNoMeta.Error() + ")"
	case "42P01", "42883", "3F000": // no such table, function, schema
		return " (the tables are missing or not on the search_path: run sluice migrate)"
	case "42501":
		if refusal.Routine == "check_enable_rls" {
			return " (row-level security would hide rows from this database user: ALTER TABLE sluice_outbox DISABLE ROW LEVEL SECURITY, or give the user BYPASSRLS)"
		}
		if strings.HasPrefix(refusal.Message, "permission denied for database") {
			return " (GRANT CONNECT on it to the database user)"
		}
		return " (grant the database user the right to it, or run sluice migrate as the owner)"
	}
	return ""
}

const readOnlyHint = "if it is a standby (pg_is_in_recovery), name the primary in the database URL, or add target_session_attrs=read-write; else set default_transaction_read_only off for the server, the database and the user"

// hint says what an operator can do about a database that is not available.
func (s *server) hint(err error) string {
	var refusal *pgconn.PgError
	var dns *net.DNSError
	var timeout net.Error
	config := s.pool.ConnConfig
	switch {
	case errors.Is(err, pgconn.ErrStandbyConnection):
		return standbyHint
	case errors.As(err, &refusal):
		switch refusal.Code {
		case "28P01", "28000":
			return fmt.Sprintf("check user %q and its password in the database URL, and the server's pg_hba.conf", config.User)
		case "3D000":
			return fmt.Sprintf("create the database: createdb %s", config.Database)
		case "53100":
			return "the disk of the database is full: make room"
		case "53300":
			return "raise the server's max_connections, or lower pool_max_conns in the database URL"
		case "25006":
			return readOnlyHint
		}
		return strings.Trim(remedy(refusal), " ()")
	case errors.Is(err, errReadOnly):
		return readOnlyHint
	case errors.As(err, &dns):
		return "check the host name in the database URL"
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return "start PostgreSQL there, or correct host and port in the database URL"
	case isConnect(err) && errors.As(err, &timeout) && timeout.Timeout():
		return "no answer: check host and port in the database URL, and the firewalls between"
	}
	return ""
}
