package sqlaccess

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// explain says of a *failure which fault it is, in words for the log, and what to do next.
func (s *server) explain(err error, c Config, f Function) (fault Fault, next string, why error) {
	at := connecting
	if failed := new(failure); errors.As(err, &failed) {
		at = failed.step
	}
	late := fmt.Errorf("no answer within %v", c.Limits.Timeout)
	var refusal *pgconn.PgError
	var network net.Error
	switch {
	case !errors.As(err, &refusal):
		if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network) && network.Timeout() {
			return Timeout, "see what the function waits for in pg_stat_activity (application_name sluice access), and whether the database answers at all", late
		}
		return Unreachable, "see whether the database is there", brief(err)
	case refusal.Code == "57014": // canceled
		return Timeout, "make the function faster, or let it take longer (--access-timeout)", late
	case at == connecting:
		return Unreachable, connectHint(refusal), brief(refusal)
	}
	why = brief(refusal)
	switch class := refusal.Code[:min(2, len(refusal.Code))]; {
	case refusal.Severity == "FATAL", class == "08", class == "53", class == "57", class == "58", class == "25" && at == beginning:
		return Unreachable, connectHint(refusal), why
	case at == reading && (class == "22" || class == "54"):
		return Malformed, "", why
	case at == changing && refusal.Code == "22023":
		return Missing, createRole(c.Role), why
	case at == changing && refusal.Code == "42501":
		return Forbidden, grantRole(c.Role, s.user), why
	case at != calling:
		return Failed, "", why
	case refusal.Code == "42883" && strings.Contains(refusal.Message, f.Name):
		return Missing, create(f), why
	case refusal.Code == "3F000":
		return Missing, create(f), why
	case refusal.Code == "42501":
		return Forbidden, "grant the role " + quoted(c.Role) + " what it lacks, such as " + grantExecute(f, c.Role) + "; " + grantUsage(f, c.Role) + "; and what the function's own statements need", why
	case refusal.Code == "25006":
		return Failed, "have the function only read: it is asked in a transaction that is read only", why
	case class == "42", refusal.Code == "0A000":
		return Failed, "have it return one boolean: " + create(f), why
	}
	return Failed, "mend the function: it has ended with an error", why
}

func connectHint(refusal *pgconn.PgError) string {
	switch refusal.Code {
	case "53300":
		return "raise the server's max_connections, or lower --access-connections"
	case "28P01", "28000":
		return "check user and password in the database URL, and the server's pg_hba.conf"
	}
	if strings.Contains(refusal.Message, "unsupported startup parameter") {
		return "the pooler passes on no such parameter: take it out of the database URL, or connect to the server directly"
	}
	if strings.Contains(refusal.Message, "statement pooling mode") {
		return "let the pooler pool transactions or sessions (pool_mode), or connect to the server directly"
	}
	return "see whether the database is there"
}

// maxBrief bounds what a log line quotes of an error, which a function may have written.
const maxBrief = 500

// brief is an error as the log has it.
func brief(err error) error {
	var refusal *pgconn.PgError
	if errors.As(err, &refusal) { // without what the driver says around it
		err = refusal
	}
	if text := err.Error(); len(text) > maxBrief {
		return errors.New(strings.ToValidUTF8(text[:maxBrief], "") + "…")
	}
	return err
}

// What makes a function that can be asked, and lets a role ask it.

func create(f Function) string {
	return fmt.Sprintf("CREATE FUNCTION %s%s RETURNS %s …", f, arguments, returns)
}

func grantExecute(f Function, role string) string {
	return fmt.Sprintf("GRANT EXECUTE ON FUNCTION %s(text, jsonb) TO %s", f, quoted(role))
}

func grantUsage(f Function, role string) string {
	return fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s", quoted(f.Schema), quoted(role))
}

func createRole(role string) string { return fmt.Sprintf("CREATE ROLE %s NOLOGIN", quoted(role)) }

func grantRole(role, user string) string {
	return fmt.Sprintf("GRANT %s TO %s", quoted(role), quoted(user))
}
