package sqlaccess

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/internal/verdict"
	"github.com/sluicehq/sluice/metrics"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// patience is how long an answer may take that is to come.
const patience = 10 * time.Minute

// journal is a log's text.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// database is a schema and a role of the test's own, which may use it.
type database struct {
	url, schema, role string
	conn              *pgx.Conn
}

func newDatabase(t *testing.T) *database {
	t.Helper()
	d := &database{url: pgtest.Schema(t) + "&connect_timeout=600"} // on a machine that is busy with much else
	conn, err := pgx.Connect(t.Context(), d.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	d.conn = conn
	if err := conn.QueryRow(t.Context(), `SELECT current_schema()`).Scan(&d.schema); err != nil {
		t.Fatal(err)
	}
	d.role = "web of " + d.schema // which takes quotes
	d.do(t, `CREATE ROLE "`+d.role+`"; GRANT USAGE ON SCHEMA `+d.schema+` TO "`+d.role+`"`)
	return d
}

func (d *database) do(t *testing.T, sql string) {
	t.Helper()
	if _, err := d.conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// function makes one with a body in PL/pgSQL.
func (d *database) function(t *testing.T, name, body string) Function {
	t.Helper()
	d.do(t, fmt.Sprintf(`CREATE FUNCTION %s.%s(topic text, claims jsonb) RETURNS boolean LANGUAGE plpgsql AS $body$ BEGIN %s END $body$`, d.schema, name, body))
	return Function{d.schema, name}
}

// asker asks the database.
func (d *database) asker(t *testing.T, limits verdict.Limits) (*Asker, *metrics.Set, *journal) {
	t.Helper()
	return asker(t, d.url, d.role, limits)
}

func asker(t *testing.T, url, role string, limits verdict.Limits) (*Asker, *metrics.Set, *journal) {
	t.Helper()
	set, err := metrics.New(metrics.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	log := new(journal)
	a, err := New(Config{DatabaseURL: url, Role: role, Limits: limits, Metrics: set, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err == nil {
		err = a.Open()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a, set, log
}

// counted is how often answers of a kind were.
func counted(set *metrics.Set, reason string) string {
	w := httptest.NewRecorder()
	set.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	found := regexp.MustCompile(fmt.Sprintf(`sluice_hook_answers_total\{hook="sql",reason=%q\} (\d+)`, reason)).FindStringSubmatch(w.Body.String())
	if found == nil {
		return ""
	}
	return found[1]
}

// TestAnswers has functions answer in every way, right and wrong.
func TestAnswers(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	for name, c := range map[string]struct {
		sql   string // what makes it, F for its name and ROLE for the role; a body if it begins with :
		yes   bool
		fault Fault
		log   string
	}{
		"yes":       {sql: ":RETURN true;", yes: true},
		"no":        {sql: ":RETURN false;"},
		"null":      {sql: ":RETURN NULL;"},
		"told":      {sql: `:RETURN topic = 'room:7' AND claims = '{"sub": "7", "text": "it''s \"quoted\" \\ $1"}';`, yes: true},
		"strict":    {sql: "CREATE FUNCTION F(topic text, claims jsonb) RETURNS boolean STRICT STABLE LANGUAGE sql AS 'SELECT true'", yes: true},
		"out":       {sql: "CREATE FUNCTION F(topic text, claims jsonb, OUT allowed boolean) LANGUAGE sql AS 'SELECT true'", yes: true},
		"nothing":   {sql: "SELECT 1", fault: Missing, log: "CREATE FUNCTION"},
		"other":     {sql: "CREATE FUNCTION F(topic int, claims jsonb) RETURNS boolean LANGUAGE sql AS 'SELECT true'", fault: Missing, log: "CREATE FUNCTION"},
		"text":      {sql: "CREATE FUNCTION F(topic text, claims jsonb) RETURNS text LANGUAGE sql AS 'SELECT ''true'''", fault: Failed, log: "return one boolean"},
		"number":    {sql: "CREATE FUNCTION F(topic text, claims jsonb) RETURNS int LANGUAGE sql AS 'SELECT 1'", fault: Failed, log: "return one boolean"},
		"rows":      {sql: "CREATE FUNCTION F(topic text, claims jsonb) RETURNS SETOF boolean LANGUAGE sql AS 'SELECT true'", fault: Failed, log: "return one boolean"},
		"procedure": {sql: "CREATE PROCEDURE F(topic text, claims jsonb) LANGUAGE sql AS 'SELECT true'", fault: Failed, log: "return one boolean"},
		"raises":    {sql: ":RAISE EXCEPTION 'no such room' USING ERRCODE = 'P0002';", fault: Failed, log: "no such room"},
		"shouts":    {sql: ":RAISE EXCEPTION '%', repeat('loud ', 100000);", fault: Failed, log: "loud"},
		"denies":    {sql: ":RAISE EXCEPTION 'not you' USING ERRCODE = '42501';", fault: Forbidden, log: "not you"},
		"wrong":     {sql: ":RETURN claims->>'sub' = 7;", fault: Failed, log: "operator does not exist"},
		"text_sub":  {sql: ":RETURN (claims->>'text')::int = 7;", fault: Failed, log: "ended with an error"},
		"writes":    {sql: ":CREATE TABLE mine (id int); RETURN true;", fault: Failed, log: "read only"},
		"table":     {sql: "CREATE TABLE F (id int); CREATE FUNCTION F(topic text, claims jsonb) RETURNS boolean LANGUAGE sql AS 'SELECT count(*) = 0 FROM F'", fault: Forbidden, log: "GRANT"},
		"execute":   {sql: "CREATE FUNCTION F(topic text, claims jsonb) RETURNS boolean LANGUAGE sql AS 'SELECT true'; REVOKE EXECUTE ON FUNCTION F FROM PUBLIC", fault: Forbidden, log: "GRANT EXECUTE ON FUNCTION"},
		"leaves":    {sql: ":PERFORM pg_terminate_backend(pg_backend_pid()); RETURN true;", fault: Unreachable},
	} {
		t.Run(name, func(t *testing.T) {
			a, set, log := d.asker(t, verdict.Limits{MaxInFlight: 2, Timeout: patience})
			f := Function{d.schema, name}
			if name == "leaves" { // which only a superuser may
				d.do(t, "ALTER ROLE \""+d.role+"\" SUPERUSER")
				defer d.do(t, "ALTER ROLE \""+d.role+"\" NOSUPERUSER")
			}
			if body, ok := strings.CutPrefix(c.sql, ":"); ok {
				d.function(t, name, body)
			} else {
				d.do(t, regexp.MustCompile(`\bF\b`).ReplaceAllString(c.sql, d.schema+"."+name))
			}
			for range 2 { // the second time with what the first has left behind
				yes, err := a.Ask(t.Context(), verdict.Question{}, f, "room:7", []byte(`{"sub":"7","text":"it's \"quoted\" \\ $1"}`))
				var unavailable *Unavailable
				switch {
				case yes != c.yes:
					t.Errorf("allowed is %v: %v", yes, err)
				case c.fault == "" && err != nil:
					t.Error(err)
				case c.fault != "" && (!errors.As(err, &unavailable) || unavailable.Fault != c.fault):
					t.Errorf("%v, want %s", err, c.fault)
				}
			}
			if got := log.String(); !strings.Contains(got, c.log) || (got == "") != (c.fault == "") || len(got) > 4000 {
				t.Errorf("the log says %.3000s", got)
			}
			reason := string(c.fault)
			switch {
			case c.yes:
				reason = "allowed"
			case c.fault == "":
				reason = "denied"
			}
			if got := counted(set, reason); got != "2" {
				t.Errorf("counted %s as %s", got, reason)
			}
		})
	}
}

// TestWhatTheDatabaseCannotHold asks about topics and claims of every kind: nothing is let
// in that cannot be told, and the next question is answered.
func TestWhatTheDatabaseCannotHold(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	a, set, log := d.asker(t, verdict.Limits{MaxInFlight: 1, Timeout: patience})
	f := d.function(t, "yes", "RETURN true;")
	for name, c := range map[string]struct {
		topic, claims string
		fits          bool
	}{
		"nobody":          {"room", ``, true},
		"no claims":       {"room", `{}`, true},
		"long":            {strings.Repeat("room", 10_000), `{"sub":"` + strings.Repeat("7", 1<<20) + `"}`, true},
		"NUL escaped":     {"room", `{"sub":"a\\u0000b"}`, true}, // a backslash, and text
		"half nested":     {"room", `{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, true},
		"large number":    {"room", `{"a":123456789012345678901234567890.5e-30}`, true},
		"twice":           {"room", `{"a":1,"a":2}`, true},
		"NUL":             {"room", `{"sub":"a\u0000b"}`, false},
		"NUL as a name":   {"room", `{"a\u0000b":1}`, false},
		"half surrogate":  {"room", `{"sub":"\ud800"}`, false},
		"huge number":     {"room", `{"a":1e999999}`, false},
		"long number":     {"room", `{"a":` + strings.Repeat("1", 200_000) + `}`, false},
		"deep":            {"room", `{"a":` + strings.Repeat("[", 200_000) + strings.Repeat("]", 200_000) + `}`, false},
		"no JSON":         {"room", `{"a":`, false},
		"not a number":    {"room", `{"a":NaN}`, false},
		"topic with NUL":  {"room\x00", `{}`, false},
		"topic not UTF-8": {"room\xff", `{}`, false},
		"claims likewise": {"room", "{\"a\":\"\xff\"}", false},
	} {
		yes, err := a.Ask(t.Context(), verdict.Question{}, f, c.topic, []byte(c.claims))
		if yes != c.fits || errors.Is(err, ErrUnfit) == c.fits {
			t.Errorf("%s: allowed is %v, %v", name, yes, err)
		}
		if yes, err := a.Ask(t.Context(), verdict.Question{}, f, "room", nil); !yes || err != nil {
			t.Errorf("after %s: allowed is %v, %v", name, yes, err)
		}
	}
	if got := log.String(); !strings.Contains(got, "cannot hold") {
		t.Errorf("the log says %.3000s", got)
	}
	if counted(set, "malformed") != "11" || counted(set, "denied") != "0" {
		t.Errorf("counted %s as malformed, %s as denied", counted(set, "malformed"), counted(set, "denied"))
	}
}

// TestAskedAsTheRole looks at what a function is called with, and whether what one leaves
// behind is there for the next.
func TestAskedAsTheRole(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	url := d.url + "&row_security=off" // as who connects may have it
	a, _, log := asker(t, url, d.role, verdict.Limits{MaxInFlight: 1, Timeout: patience})
	ask := func(name, body string) bool {
		t.Helper()
		yes, err := a.Ask(t.Context(), verdict.Question{}, d.function(t, name, body), "room", nil)
		if err != nil {
			t.Errorf("%s: %v, %s", name, err, log)
		}
		return yes
	}
	for name, condition := range map[string]string{
		"role":      fmt.Sprintf("current_user = '%s'", d.role),
		"session":   "session_user <> current_user",
		"security":  "current_setting('row_security') = 'on'",
		"readonly":  "current_setting('transaction_read_only') = 'on'",
		"isolation": "current_setting('transaction_isolation') = 'read committed'",
		"timeout":   "current_setting('statement_timeout') = '10min'",
		"nobody":    "claims = '{}'",
	} {
		if !ask(name, "RETURN "+condition+";") {
			t.Errorf("it is called with another %s", name)
		}
	}
	d.do(t, fmt.Sprintf(`CREATE TABLE %[1]s.members (room text, sub text); ALTER TABLE %[1]s.members ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON %[1]s.members TO "%[2]s"; INSERT INTO %[1]s.members VALUES ('room', '7')`, d.schema, d.role))
	if ask("sees", "RETURN EXISTS (SELECT FROM "+d.schema+".members);") {
		t.Error("a row is seen that no policy shows")
	}
	if !ask("sets", "PERFORM set_config('app.sub', '7', false), set_config('role', 'none', false); RETURN true;") {
		t.Error("nothing can be set")
	}
	if !ask("finds", "RETURN coalesce(current_setting('app.sub', true), '') = '';") {
		t.Error("what one question has set is there for the next")
	}
	if !ask("again", fmt.Sprintf("RETURN current_user = '%s';", d.role)) {
		t.Error("the role is another after a function that has changed it")
	}
}

// TestNoAnswerInTime asks what takes too long, a database that does not answer, and none.
func TestNoAnswerInTime(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	sleeps := d.function(t, "sleeps", "PERFORM pg_sleep(3600); RETURN true;")
	stubborn := d.function(t, "stubborn", "LOOP BEGIN PERFORM pg_sleep(3600); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP;")
	for name, c := range map[string]struct {
		url   string
		f     Function
		fault Fault
	}{
		"sleeps":   {d.url, sleeps, Timeout},
		"stubborn": {d.url, stubborn, Timeout},
		"silent":   {"postgres://web@" + silent.Addr().String() + "/app?sslmode=disable", sleeps, Timeout},
		"closed":   {"postgres://web@127.0.0.1:1/app?sslmode=disable", sleeps, Unreachable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, _, log := asker(t, c.url, d.role, verdict.Limits{MaxInFlight: 1, Timeout: 100 * time.Millisecond})
			for range 2 {
				yes, err := a.Ask(t.Context(), verdict.Question{}, c.f, "room", nil)
				var unavailable *Unavailable
				if yes || !errors.As(err, &unavailable) || unavailable.Fault != c.fault {
					t.Errorf("allowed is %v, %v", yes, err)
				}
			}
			if got := log.String(); !strings.Contains(got, "next=") {
				t.Errorf("the log says %s", got)
			}
			a.Close()
			if name == "stubborn" { // which the server ends, since nobody waits for it
				for left := 1; left > 0; {
					if err := d.conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity, pg_sleep(0.1) WHERE query LIKE '%' || $1 || '%' AND pid <> pg_backend_pid()`, `"`+d.schema+`"."stubborn"`).Scan(&left); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}
