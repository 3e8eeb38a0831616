package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/internal/pgtest"
)

const (
	waits = `"msg":"another process has this name; waiting for it to end"`
	gone  = `"msg":"who had this name has ended without giving it back"`
)

// named runs a service of one name on a database.
func named(t testing.TB, on string, args ...string) *service {
	t.Helper()
	return serve(t, append([]string{"--database-url", on, "--node", "same"}, args...)...)
}

// says waits until a service has said something.
func (s *service) says(t testing.TB, words string) {
	t.Helper()
	if _, ok := s.stderr.next(t.Context(), 0, func(line string) bool { return strings.Contains(line, words) }); !ok {
		t.Fatalf("it has not said %s:\n%s", words, s.stderr.text())
	}
}

// inOrder waits for events whose ids follow each other, from one on.
func (c *phoenix) inOrder(t testing.TB, from, count int) {
	t.Helper()
	for i, got := range c.payloads(t, count) {
		if want := fmt.Sprintf(`created {"offset":%d,"data":{"id":%d}}`, from+i, from+i); got != want {
			t.Errorf("%s arrived, want %s", got, want)
		}
	}
}

// watched has the database note when cursors move back; the function says how often.
func watched(t testing.TB, db *pgx.Conn) (backwards func() int) {
	t.Helper()
	if _, err := db.Exec(t.Context(), `CREATE TABLE backwards ();
		CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO backwards DEFAULT VALUES; RETURN NULL; END $$;
		CREATE TRIGGER note AFTER UPDATE ON sluice_cursors FOR EACH ROW WHEN (NEW."offset" < OLD."offset" OR NEW.epoch <> OLD.epoch) EXECUTE FUNCTION note()`,
		pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	return func() (n int) {
		if err := db.QueryRow(t.Context(), `SELECT count(*) FROM backwards`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
}

// Two nodes of one name: the second says at once who has it, waits, and ends. The
// first does not notice.
func TestTwoNodesOfOneName(t *testing.T) {
	t.Parallel()
	at := pgtest.Schema(t)
	first := named(t, at).ready(t)
	c := connect(t, first.public, "phoenix18")
	c.join(t, "orders", map[string]any{"after": nil})
	second := named(t, at)
	second.says(t, waits)
	holder := fmt.Sprintf("process %d on host ", first.cmd.Process.Pid)
	second.says(t, holder)
	if body := second.awaitReadiness(t, http.StatusServiceUnavailable); !strings.Contains(body, holder) {
		t.Errorf("it is not ready for %s", body)
	}
	if status, body := second.get(t, "/healthz"); status != http.StatusOK {
		t.Errorf("while it waits it is not alive: %d %s", status, body)
	}
	code := second.wait(t)
	lines := strings.Split(strings.TrimSpace(second.stderr.text()), "\n")
	if last := lines[len(lines)-1]; code != 2 || !strings.HasPrefix(last, `sluice: --node is "same": allowed is `) || !strings.Contains(last, holder) {
		t.Errorf("it ended with %d: %s", code, last)
	}
	insert(t, database(t, at), "orders", `{"id":1}`)
	c.inOrder(t, 1, 1)
	if _, body := first.get(t, "/readyz"); !strings.Contains(body, "ready") {
		t.Errorf("the first says %s", body)
	}
}

// A node that was killed is followed at once by one of its name on the same machine,
// and so is one that has ended in peace, or was asked twice to end.
func TestNodeIsStartedAgain(t *testing.T) {
	t.Parallel()
	at := pgtest.Schema(t)
	last := 0
	for i, end := range []func(s *service){
		func(s *service) { s.cmd.Process.Kill() },
		func(s *service) { s.terminate(t) },
		func(s *service) { s.terminate(t); s.terminate(t) },
		func(s *service) {},
	} {
		s := named(t, at).ready(t)
		if log := s.stderr.text(); strings.Contains(log, waits) || strings.Contains(log, gone) != (i == 1) && i != 3 {
			t.Errorf("start %d:\n%s", i, log)
		}
		c := connect(t, s.public, "phoenix18")
		c.join(t, "orders", map[string]any{"after": last})
		last++
		insert(t, database(t, at), "orders", fmt.Sprintf(`{"id":%d}`, last))
		c.inOrder(t, last, 1)
		if end(s); i < 3 {
			s.wait(t)
		}
	}
}

// A node that is stopped for longer than its lease loses its name to another. When it
// goes on it ends by itself: it moves no cursor back, and the other's clients see
// nothing of it.
func TestHungNodeLosesItsName(t *testing.T) {
	t.Parallel()
	at := pgtest.Schema(t)
	first := named(t, at).ready(t)
	db := database(t, at)
	backwards := watched(t, db)
	old := connect(t, first.public, "phoenix18")
	old.join(t, "orders", map[string]any{"after": nil})
	insert(t, db, "orders", `{"id":1}`, `{"id":2}`)
	old.inOrder(t, 1, 2)
	if err := first.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	second := named(t, at)
	second.says(t, waits)
	second.ready(t)
	c := connect(t, second.public, "phoenix18")
	c.join(t, "orders", map[string]any{"after": 0})
	insert(t, db, "orders", `{"id":3}`, `{"id":4}`)
	c.inOrder(t, 1, 4)
	if err := first.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	insert(t, db, "orders", `{"id":5}`)
	wantLost(t, first, second)
	insert(t, db, "orders", `{"id":6}`)
	c.inOrder(t, 5, 2)
	if n := backwards(); n != 0 {
		t.Errorf("cursors moved back %d times", n)
	}
	second.ready(t)
}

// A node whose database is away keeps its clients. If another node has taken its name
// by the time it is back, it ends.
func TestNodeIsKeptFromItsDatabase(t *testing.T) {
	t.Parallel()
	at := pgtest.Schema(t)
	direct, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	door := newRelay(t).open(t, direct.Host)
	first := named(t, through(t, door, at)).ready(t)
	c := connect(t, first.public, "phoenix18")
	c.join(t, "orders", map[string]any{"after": nil})
	door.point("127.0.0.1:1")
	door.cut()
	second := named(t, at)
	second.says(t, waits)
	second.ready(t)
	if status, body := first.get(t, "/api/sockets"); status != http.StatusOK || strings.Count(body, `"id"`) != 1 {
		t.Errorf("without its database it has %d %s", status, body)
	}
	door.point(direct.Host)
	wantLost(t, first, second)
}

// wantLost waits until a node has ended because another has its name.
func wantLost(t *testing.T, first, second *service) {
	t.Helper()
	code := first.wait(t)
	lines := strings.Split(strings.TrimSpace(first.stderr.text()), "\n")
	if last := lines[len(lines)-1]; code != 1 || !strings.Contains(last, "another node has taken this node's name") || !strings.Contains(last, fmt.Sprintf("process %d on host ", second.cmd.Process.Pid)) {
		t.Errorf("it ended with %d: %s", code, last)
	}
}
