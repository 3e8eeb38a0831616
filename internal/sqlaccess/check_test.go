package sqlaccess

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/store"
)

// as is a URL of a database with another user.
func as(t *testing.T, url, user string) string {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable&connect_timeout=600", user, net.JoinHostPort(config.Host, fmt.Sprint(config.Port)), config.Database)
}

// TestCheck looks for functions and roles of every kind. What it says of a right that is
// missing is SQL that grants it.
func TestCheck(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.do(t, fmt.Sprintf(`CREATE ROLE connects_%[1]s LOGIN; CREATE ROLE quiet_%[1]s; CREATE ROLE bypasses_%[1]s BYPASSRLS; CREATE ROLE super_%[1]s SUPERUSER;
GRANT bypasses_%[1]s, super_%[1]s TO connects_%[1]s; CREATE SCHEMA "Closed_%[1]s"`, d.schema))
	url := as(t, d.url, "connects_"+d.schema)
	made := `CREATE FUNCTION F(topic text, claims jsonb) RETURNS boolean LANGUAGE sql AS 'SELECT true'`
	for name, c := range map[string]struct {
		sql, want string // of a function; the second "" for one that can be asked
	}{
		"good":      {made, ""},
		"missing":   {"SELECT 1", "a function that there is: CREATE FUNCTION F(topic text, claims jsonb) RETURNS boolean …"},
		"another":   {"CREATE FUNCTION F(a int) RETURNS boolean LANGUAGE sql AS 'SELECT true'", "a function of (text, jsonb), and there is F(a integer): CREATE FUNCTION F(topic text, claims jsonb) RETURNS boolean …"},
		"turned":    {"CREATE FUNCTION F(claims jsonb, topic text) RETURNS boolean LANGUAGE sql AS 'SELECT true'", "a function of (text, jsonb), and there is F(claims jsonb, topic text): "},
		"both":      {"CREATE FUNCTION F(a int) RETURNS boolean LANGUAGE sql AS 'SELECT true'; " + made, ""},
		"text":      {"CREATE FUNCTION F(topic text, claims jsonb) RETURNS text LANGUAGE sql AS 'SELECT ''true'''", "a function that returns boolean, and it returns text: DROP ROUTINE F(text, jsonb); CREATE FUNCTION"},
		"rows":      {"CREATE FUNCTION F(topic text, claims jsonb) RETURNS SETOF boolean LANGUAGE sql AS 'SELECT true'", "a function that returns boolean, and it returns SETOF boolean"},
		"procedure": {"CREATE PROCEDURE F(topic text, claims jsonb) LANGUAGE sql AS 'SELECT true'", "a function that returns boolean, and it returns nothing"},
		"execute":   {made + "; REVOKE EXECUTE ON FUNCTION F FROM PUBLIC", `a function that the role "ROLE" may call: GRANT EXECUTE ON FUNCTION F(text, jsonb) TO "ROLE"`},
		"Closed":    {made, `a function that the role "ROLE" may call: GRANT USAGE ON SCHEMA "Closed_PLACE" TO "ROLE"`},
	} {
		f := Function{d.schema, name}
		if name == "Closed" {
			f.Schema = "Closed_" + d.schema
		}
		fill := func(text string) string {
			text = strings.NewReplacer("ROLE", d.role, "PLACE", d.schema).Replace(text)
			return regexp.MustCompile(`\bF\b`).ReplaceAllLiteralString(text, f.String())
		}
		d.do(t, fill(c.sql))
		for range 2 {
			found, err := Check(t.Context(), d.url, d.role, []Function{f})
			if want := fill(c.want); err != nil || found.Role != "" || !strings.HasPrefix(found.Functions[f], want) || (want == "") != (found.Functions[f] == "") {
				t.Errorf("%s: %+v, %v, want %s", name, found, err, want)
			}
			_, sql, grants := strings.Cut(found.Functions[f], "may call: ")
			if !grants {
				break
			}
			d.do(t, sql)
			c.want = ""
		}
	}
	for role, want := range map[string]string{
		"quiet_":    "a role that the user of the database may take on: GRANT quiet_PLACE TO connects_PLACE",
		"nobody_":   "a role that there is: CREATE ROLE nobody_PLACE NOLOGIN; GRANT nobody_PLACE TO connects_PLACE",
		"super_":    "",
		"bypasses_": "",
		"connects_": "",
	} {
		found, err := Check(t.Context(), url, role+d.schema, nil)
		if err != nil || found.Role != strings.ReplaceAll(want, "PLACE", d.schema) {
			t.Errorf("%s: %+v, %v", role, found, err)
		}
		if unbound := map[string]string{"super_": "superuser", "bypasses_": "BYPASSRLS"}[role]; !strings.Contains(found.Unbound, unbound) || (unbound == "") != (found.Unbound == "") {
			t.Errorf("%s: row-level security: %q", role, found.Unbound)
		}
		if want == "" {
			continue
		}
		_, sql, _ := strings.Cut(found.Role, ": ")
		d.do(t, sql)
		if found, err := Check(t.Context(), url, role+d.schema, nil); err != nil || found.Role != "" {
			t.Errorf("%s: after %s: %+v, %v", role, sql, found, err)
		}
	}
}

// TestCheckOfADatabaseThatIsAway is an outage, which passes.
func TestCheckOfADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	unavailable := new(store.UnavailableError)
	if _, err := Check(context.Background(), "postgres://web:secret@127.0.0.1:1/app", "web", nil); !errors.As(err, &unavailable) || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

// TestNames reads names of functions and roles, right and wrong.
func TestNames(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"app.may_join": "app.may_join", "App.May Join": `"App"."May Join"`, "ä.ö": `"ä"."ö"`,
		"": "", "may_join": "", ".may_join": "", "app.": "", "db.app.may_join": "", `"app".may_join`: "", "app.may\x00join": "", "app.may\xffjoin": "",
		"app." + strings.Repeat("a", 63): "app." + strings.Repeat("a", 63), "app." + strings.Repeat("a", 64): "",
	} {
		f, err := Parse(text)
		if (err == nil) != (want != "") || err == nil && f.String() != want {
			t.Errorf("%q: %v, %v", text, f, err)
		}
	}
	for role, ok := range map[string]bool{"web": true, "None": true, "a b": true, "": false, "none": false, `a"b`: false, "a\nb": false} {
		if err := CheckRole(role); (err == nil) != ok {
			t.Errorf("%q: %v", role, err)
		}
	}
}
