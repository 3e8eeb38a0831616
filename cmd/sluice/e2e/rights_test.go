package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/internal/pgtest"
)

// A role that owns nothing serves once it was granted what it needs, by the program
// itself: until then the service ends, and says in one line what is missing. A right
// that is revoked later makes it not ready, until it is granted again.
func TestRoleThatOwnsNothingServes(t *testing.T) {
	t.Parallel()
	owner := pgtest.Schema(t)
	db := database(t, owner)
	const role = "serves_and_owns_nothing"
	if _, err := db.Exec(t.Context(), `CREATE ROLE `+role+` LOGIN`); err != nil {
		t.Fatal(err)
	}
	server, err := url.Parse(owner)
	if err != nil {
		t.Fatal(err)
	}
	server.User = url.User(role)
	if code, _, stderr := run(t, "", sluice, "migrate", "--database-url", owner, "--grant-to", "nobody"); code != 1 || !strings.Contains(stderr, `CREATE ROLE nobody LOGIN`) {
		t.Errorf("granting to nobody ended with %d:\n%s", code, stderr)
	}
	args := []string{"--database-url", server.String(), "--migrate=false"}
	alone := append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, args...)
	code, _, stderr := run(t, "", sluice, alone...)
	if lines := strings.Split(strings.TrimSpace(stderr), "\n"); code != 1 || !strings.HasPrefix(lines[len(lines)-1], "sluice: ") ||
		!strings.Contains(stderr, "--grant-to") || strings.Count(lines[len(lines)-1], "GRANT ") < 10 {
		t.Errorf("without rights it ended with %d:\n%s", code, stderr)
	}
	if code, stdout, stderr := run(t, "", sluice, "migrate", "--database-url", owner, "--grant-to", role); code != 0 || !strings.Contains(stdout, role) {
		t.Fatalf("granting ended with %d:\n%s%s", code, stdout, stderr)
	}

	for start := range 2 {
		s := serve(t, args...).ready(t)
		c := connect(t, s.public, "phoenix18")
		c.join(t, "orders", nil)
		insert(t, db, "orders", fmt.Sprintf(`{"id":%d}`, start))
		if code, stdout, stderr := run(t, "", sluice, "publish", "--admin-url", "http://"+s.admin, "orders", "created", `{"id":9}`); code != 0 {
			t.Fatalf("publishing ended with %d:\n%s%s", code, stdout, stderr)
		}
		if got := c.payloads(t, 2); got[0] != fmt.Sprintf(`created {"id":%d}`, start) || got[1] != `created {"id":9}` {
			t.Errorf("start %d: %v arrived", start, got)
		}
		if code, stdout, stderr := run(t, "", sluice, "erase", "--admin-url", "http://"+s.admin, "orders"); code != 0 {
			t.Errorf("erasing ended with %d:\n%s%s", code, stdout, stderr)
		}
		if start == 1 {
			revoke(t, s, db, role)
		}
		if code := s.stop(t); code != 0 {
			t.Errorf("it ended with %d", code)
		}
	}
}

func revoke(t *testing.T, s *service, db *pgx.Conn, role string) {
	t.Helper()
	const right = "UPDATE (id), DELETE ON sluice_outbox"
	if _, err := db.Exec(t.Context(), `REVOKE `+right+` FROM `+role); err != nil {
		t.Fatal(err)
	}
	insert(t, db, "orders", `{"id":8}`)
	body := s.awaitReadiness(t, http.StatusServiceUnavailable)
	if !strings.Contains(body, "GRANT UPDATE (id), DELETE ON ") {
		t.Errorf("readiness does not name what is missing: %s", body)
	}
	if _, err := db.Exec(t.Context(), `GRANT `+right+` TO `+role); err != nil {
		t.Fatal(err)
	}
	s.ready(t)
}
