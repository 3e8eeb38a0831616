package e2e

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicehq/sluice/internal/pgtest"
)

// The table itself refuses what could not be delivered, so that the
// application learns of it in its own transaction.
func TestTableRefusesBadRows(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	s := serve(t, "--database-url", url).ready(t)
	db := database(t, url)
	for name, row := range map[string][3]string{
		"payload is not JSON":      {"orders", "created", `{"id":`},
		"payload is no object":     {"orders", "created", `[1]`},
		"topic is empty":           {"", "created", `{}`},
		"topic is too long":        {strings.Repeat("é", 128), "created", `{}`},
		"topic is the protocol's":  {"phoenix", "created", `{}`},
		"event is empty":           {"orders", "", `{}`},
		"event is too long":        {"orders", strings.Repeat("e", 256), `{}`},
		"event is the protocol's":  {"orders", "phx_reply", `{}`},
		"payload is JSON's null":   {"orders", "created", `null`},
		"payload is a bare string": {"orders", "created", `"created"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := db.Exec(t.Context(), `INSERT INTO sluice_outbox (topic, event, payload) VALUES ($1, $2, $3)`, row[0], row[1], row[2])
			if refusal := new(pgconn.PgError); !errors.As(err, &refusal) {
				t.Errorf("the table took %q: %v", row, err)
			}
		})
	}
	c := connect(t, s.public, "phoenix18")
	c.join(t, "orders", nil)
	insert(t, db, "orders", `{"id":1}`)
	if got := c.payloads(t, 1)[0]; got != `created {"id":1}` {
		t.Errorf("after bad rows a good one arrives as %s", got)
	}
}

// A request with bad lines is refused whole, naming the first of them.
func TestAPIRefusesBadLines(t *testing.T) {
	t.Parallel()
	s := serve(t, "--data-dir", t.TempDir(), "--max-body-bytes", "64KiB").ready(t)
	c := connect(t, s.public, "phoenix18")
	c.join(t, "orders", nil)

	const ndjson = "application/x-ndjson"
	good := `{"topic":"orders","event":"created","payload":{"id":1}}`
	for _, bad := range []struct {
		name, contentType, body string
		status                  int
		says                    string
	}{
		{"no JSON", ndjson, good + "\n" + good + "\n{nonsense\n", http.StatusBadRequest, "line 3"},
		{"no object", ndjson, good + "\n" + `{"topic":"orders","event":"created","payload":7}`, http.StatusBadRequest, "line 2"},
		{"no topic", ndjson, `{"event":"created","payload":{}}`, http.StatusBadRequest, "topic"},
		{"reserved event", ndjson, good + "\n" + `{"topic":"orders","event":"phx_close","payload":{}}`, http.StatusBadRequest, "line 2"},
		{"one that is none", "application/json", `{"topic":"orders"`, http.StatusBadRequest, ""},
		{"too large", ndjson, strings.Repeat(good+"\n", 5000), http.StatusRequestEntityTooLarge, ""},
	} {
		status, body := s.post(t, "/api/events", bad.contentType, bad.body)
		var answer struct{ Error, Hint string }
		if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Error == "" {
			t.Errorf("%s: the answer is no error: %s", bad.name, body)
		}
		if status != bad.status || !strings.Contains(body, bad.says) {
			t.Errorf("%s: answered %d %s, want %d about %q", bad.name, status, body, bad.status, bad.says)
		}
	}

	if status, body := s.post(t, "/api/events", ndjson, good+"\n"+good+"\n"); status != http.StatusAccepted || strings.TrimSpace(body) != `{"count":2}` {
		t.Errorf("good lines are answered %d %s", status, body)
	}
	for _, got := range c.payloads(t, 2) {
		if got != `created {"id":1}` {
			t.Errorf("of the good lines arrived %s", got)
		}
	}
}

// A wrong flag is told by its name, with what was given and what is allowed.
func TestWrongFlags(t *testing.T) {
	t.Parallel()
	for _, wrong := range []struct {
		name string
		args []string
		says []string
	}{
		{"unknown flag", []string{"serve", "--lane", "3"}, []string{"--lane"}},
		{"out of range", []string{"serve", "--max-demand", "0"}, []string{"--max-demand", "0"}},
		{"contradiction", []string{"serve", "--max-demand", "10", "--min-demand", "10"}, []string{"--min-demand", "10", "--max-demand"}},
		{"no number", []string{"serve", "--lanes", "many"}, []string{"--lanes", "many"}},
		{"no choice", []string{"serve", "--overflow", "explode"}, []string{"--overflow", "explode", "disconnect"}},
		{"open to all", []string{"serve", "--listen", "0.0.0.0:0"}, []string{"--listen", "0.0.0.0:0", "--anonymous"}},
		{"open admin", []string{"serve", "--admin-listen", "0.0.0.0:0"}, []string{"--admin-listen", "--admin-token-file"}},
		{"unknown command", []string{"flood"}, []string{"flood"}},
		{"topic missing", []string{"watch"}, []string{"topic"}},
	} {
		t.Run(wrong.name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := run(t, "", sluice, wrong.args...)
			if code != 2 {
				t.Errorf("ended with status %d, not 2", code)
			}
			for _, word := range wrong.says {
				if !strings.Contains(stderr, word) {
					t.Errorf("does not say %q:\n%s%s", word, stdout, stderr)
				}
			}
		})
	}
}

// A database that is not there yet is waited for, and the service says so.
func TestDatabaseComesLate(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	door := newRelay(t)
	s := serve(t, "--database-url", through(t, door, url))

	ip, port, err := net.SplitHostPort(door.address)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := s.stderr.next(t.Context(), 0, func(line string) bool {
		return strings.Contains(line, ip) && strings.Contains(line, port) && strings.Contains(line, "refused")
	}); !ok {
		t.Errorf("the service does not tell which address it cannot reach:\n%s", s.stderr.text())
	}
	if reason := s.awaitReadiness(t, http.StatusServiceUnavailable); !strings.Contains(reason, "store") && !strings.Contains(reason, "database") {
		t.Errorf("not ready for no reason: %s", reason)
	}
	if status, _ := s.get(t, "/healthz"); status != http.StatusOK {
		t.Errorf("a service that waits for its database is not alive: %d", status)
	}

	door.open(t, host(t, url))
	s.ready(t)
	c := connect(t, s.public, "phoenix18")
	c.join(t, "orders", nil)
	insert(t, database(t, url), "orders", `{"id":1}`)
	if got := c.payloads(t, 1)[0]; got != `created {"id":1}` {
		t.Errorf("arrived %s", got)
	}
}
