package chaos

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
)

// roleName is who the nodes are in a database of the run's own: no superuser,
// so that rights mean something.
const roleName = "sluice_chaos"

// role is who the nodes connect as, nil for who the URL says.
func (r *run) role() *url.Userinfo {
	if r.server == nil {
		return nil
	}
	return url.User(roleName)
}

// createRole makes the role, and gives the schema to it.
func (r *run) createRole() error {
	if r.server == nil {
		return nil
	}
	return r.direct(func(conn *pgx.Conn) error {
		var schema string
		if err := conn.QueryRow(r.ctx, `SELECT current_schema()`).Scan(&schema); err != nil {
			return err
		}
		_, err := conn.Exec(r.ctx, strings.ReplaceAll(fmt.Sprintf(`CREATE ROLE %s LOGIN; ALTER SCHEMA {} OWNER TO %[1]s`, roleName),
			"{}", pgx.Identifier{schema}.Sanitize()))
		return err
	})
}
