package sluice_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/internal/sluicetest"
)

// rooms is an application's database in which a function says who may join.
type rooms struct {
	url, schema, role string
	conn              *pgx.Conn
}

// newRooms makes one: room:1 is of 7, rooms that begin with x fail.
func newRooms(t *testing.T) *rooms {
	t.Helper()
	m := &rooms{url: pgtest.Schema(t) + "&connect_timeout=600"} // on a machine that is busy with much else
	conn, err := pgx.Connect(t.Context(), m.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	m.conn = conn
	if err := conn.QueryRow(t.Context(), `SELECT current_schema()`).Scan(&m.schema); err != nil {
		t.Fatal(err)
	}
	m.role = "web_" + m.schema
	m.do(t, fmt.Sprintf(`CREATE ROLE %[2]s; GRANT USAGE ON SCHEMA %[1]s TO %[2]s;
CREATE TABLE %[1]s.members (room text, sub text); GRANT SELECT ON %[1]s.members TO %[2]s; INSERT INTO %[1]s.members VALUES ('room:1', '7');
CREATE FUNCTION %[1]s.may_join(topic text, claims jsonb) RETURNS boolean STABLE LANGUAGE sql AS $$
	SELECT EXISTS (SELECT FROM %[1]s.members m WHERE m.room = topic AND m.sub = claims->>'sub') OR topic LIKE 'x%%' AND 1 / length(substr(topic, 2)) = 1 $$`, m.schema, m.role))
	return m
}

func (m *rooms) do(t *testing.T, sql string) {
	t.Helper()
	if _, err := m.conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// rules ask the function.
func (m *rooms) rules() []sluice.TopicRule {
	return []sluice.TopicRule{{Match: "hall"}, {Match: "*", Access: sluice.AccessSQL, Function: m.schema + ".may_join"}}
}

// run runs a service with it, and with tokens.
func (m *rooms) run(t *testing.T, change func(*sluice.Config)) (n *sluicetest.Node, service *sluice.Service, token func(jwt.MapClaims) string) {
	t.Helper()
	const secret = "a secret that is long enough for HS256"
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	n = sluicetest.Run(t, sluicetest.WithService(func(c *sluice.Config) {
		c.DatabaseURL, c.AccessRole, c.AccessTimeout = m.url, m.role, time.Minute
		c.JWTSecretFile, c.Anonymous, c.JWTRequireExp = path, new(true), new(false)
		c.Topics = m.rules()
		change(c)
	}, func(s *sluice.Service) error { service = s; return nil }))
	return n, service, func(claims jwt.MapClaims) string {
		text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
}

// TestSQLSaysWhoMayJoin has a function of the database let in, turn away and fail, change
// its mind while its yes is remembered, and be replaced by a reload.
func TestSQLSaysWhoMayJoin(t *testing.T) {
	t.Parallel()
	m := newRooms(t)
	n, service, token := m.run(t, func(c *sluice.Config) { c.AccessCache = time.Hour })
	seven := jwt.MapClaims{"sub": "7", "tenant": 9007199254740993}
	c := n.Connect("/socket", "token="+token(seven))
	ref := 0
	join := func(c *sluicetest.Client, topic, status, response string) {
		t.Helper()
		ref++
		c.Send(fmt.Sprintf(`["%d","%d","%s","phx_join",{}]`, ref, ref, topic))
		c.Expect(fmt.Sprintf(`["%d","%d","%s","phx_reply",{"status":"%s","response":%s}]`, ref, ref, topic, status, response))
	}
	const unauthorized, unavailable = `{"reason":"unauthorized"}`, `{"reason":"unavailable"}`
	join(c, "room:1", "ok", `{}`)
	join(c, "room:2", "error", unauthorized)
	join(c, "x", "error", unavailable) // division by zero
	join(c, "hall", "ok", `{}`)
	join(n.Connect("/socket", ""), "room:1", "error", unauthorized)
	join(n.Connect("/socket", "token="+token(jwt.MapClaims{"sub": "8"})), "room:1", "error", unauthorized)
	join(n.Connect("/socket", "token="+token(jwt.MapClaims{"sub": "7", "note": "\x00"})), "room:1", "error", unauthorized)
	for reason, times := range map[string]int{"allowed": 1, "failed": 1, "malformed": 1, "denied": 3, "remembered": 0} {
		part := fmt.Sprintf(`sluice_hook_answers_total\{hook="sql",[^}]*reason="%s"\} %d\n`, reason, times)
		if _, text := n.Ask("GET", "/metrics"); !regexp.MustCompile(part).MatchString(text) {
			t.Errorf("the metrics have no %s", part)
		}
	}
	// A yes is remembered for those of whom the token says the same; a number that is another is.
	m.do(t, "DELETE FROM "+m.schema+".members")
	join(n.Connect("/socket", "token="+token(jwt.MapClaims{"sub": "7", "tenant": 9007199254740993, "jti": "b"})), "room:1", "ok", `{}`)
	join(n.Connect("/socket", "token="+token(jwt.MapClaims{"sub": "7", "tenant": 9007199254740992})), "room:1", "error", unauthorized)
	// A token that is renewed has the function asked again, by whatever is remembered.
	c.Send(`["4","r","hall","access_token",{"access_token":"` + token(jwt.MapClaims{"sub": "7", "tenant": 9007199254740993, "jti": "c"}) + `"}]`)
	want := map[string]bool{`["4","r","hall","phx_reply",{"status":"ok","response":{}}]`: true, `["1","1","room:1","phx_close",{}]`: true}
	for len(want) > 0 {
		frame := c.Next()
		if !want[frame] {
			t.Fatalf("%s, want %v", frame, want)
		}
		delete(want, frame)
	}
	// Another function: one that is not there is refused, by all that it takes.
	other := []sluice.TopicRule{{Match: "hall"}, {Match: "*", Access: sluice.AccessSQL, Function: m.schema + ".everybody"}}
	if err := service.Reload(other); err == nil || !strings.Contains(err.Error(), "Topics[1].Function") || !strings.Contains(err.Error(), "CREATE FUNCTION "+m.schema+".everybody(topic text, claims jsonb) RETURNS boolean") {
		t.Errorf("reloaded with a function that is not there: %v", err)
	}
	m.do(t, "INSERT INTO "+m.schema+".members VALUES ('room:1', '7')")
	join(c, "room:1", "ok", `{}`)
	was := ref
	m.do(t, "CREATE FUNCTION "+m.schema+".everybody(topic text, claims jsonb) RETURNS boolean LANGUAGE sql AS 'SELECT true'")
	if err := service.Reload(other); err != nil {
		t.Fatal(err)
	}
	c.Expect(fmt.Sprintf(`["%d","%d","room:1","phx_error",{"reason":"unauthorized"}]`, was, was)) // who joins again is asked about
	join(c, "room:2", "ok", `{}`)
	// A function that is dropped lets nobody in.
	m.do(t, "DROP FUNCTION "+m.schema+".everybody")
	join(c, "room:3", "error", unavailable)
}

// TestFunctionsThatCannotBeAsked end the start, each with what to do.
func TestFunctionsThatCannotBeAsked(t *testing.T) {
	t.Parallel()
	m := newRooms(t)
	for want, change := range map[string]func(*sluice.Config){
		`Topics[1].Function is "` + m.schema + `.nothing": allowed is a function that there is`: func(c *sluice.Config) { c.Topics[1].Function = m.schema + ".nothing" },
		`AccessRole is "nobody here": allowed is a role that there is: CREATE ROLE`:             func(c *sluice.Config) { c.AccessRole = "nobody here" },
	} {
		config := sluice.Config{DatabaseURL: m.url, AccessRole: m.role, Topics: m.rules(), Listen: "127.0.0.1:0", AdminListen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)}
		change(&config)
		var field *sluice.FieldError
		if err := sluice.CheckFunctions(t.Context(), config); !errors.As(err, &field) || !strings.Contains(err.Error(), want) {
			t.Errorf("checked: %v, want %s", err, want)
		}
		service, err := sluice.New(config)
		if err != nil {
			t.Fatal(err)
		}
		if err := service.Run(t.Context()); !errors.As(err, &field) || !strings.Contains(err.Error(), want) {
			t.Errorf("run: %v, want %s", err, want)
		}
	}
	var log bytes.Buffer
	super := sluice.Config{DatabaseURL: m.url, AccessRole: m.conn.Config().User, Topics: m.rules(), Logger: slog.New(slog.NewTextHandler(&log, nil))}
	if err := sluice.CheckFunctions(t.Context(), super); err != nil || !strings.Contains(log.String(), "superuser") {
		t.Errorf("a superuser: %v, %s", err, &log)
	}
	if err := sluice.CheckFunctions(t.Context(), sluice.Config{}); err != nil {
		t.Errorf("with nothing to ask: %v", err)
	}
}

// TestWrongFunctions refuses what cannot be asked.
func TestWrongFunctions(t *testing.T) {
	t.Parallel()
	sql := func(function string) []sluice.TopicRule {
		return []sluice.TopicRule{{Match: "a", Access: sluice.AccessSQL, Function: function}}
	}
	for field, change := range map[string]func(*sluice.Config){
		"Topics[0].Access":    func(c *sluice.Config) { c.Topics, c.AccessRole = sql("app.f"), "" },
		"Topics[0].Access ":   func(c *sluice.Config) { c.Topics, c.DatabaseURL, c.AccessRole = sql("app.f"), "", "" },
		"Topics[0].Function":  func(c *sluice.Config) { c.Topics = sql("") },
		"Topics[0].Function ": func(c *sluice.Config) { c.Topics = sql("f") },
		"Topics[0].Function  ": func(c *sluice.Config) {
			c.Topics = []sluice.TopicRule{{Match: "a", Access: sluice.AccessToken, Function: "app.f"}}
		},
		"AccessRole":         func(c *sluice.Config) { c.DatabaseURL = "" },
		"AccessRole ":        func(c *sluice.Config) { c.AccessRole = "none" },
		"AccessTimeout":      func(c *sluice.Config) { c.AccessTimeout = time.Hour },
		"AccessCache":        func(c *sluice.Config) { c.AccessCache = -1 },
		"AccessConnections":  func(c *sluice.Config) { c.AccessConnections = -1 },
		"AccessConnections ": func(c *sluice.Config) { c.AccessConnections = 1 << 20 },
	} {
		config := sluice.Config{DataDir: t.TempDir(), DatabaseURL: "postgres://localhost/app", AccessRole: "web"}
		change(&config)
		_, err := sluice.New(config)
		if err == nil || !strings.Contains(err.Error(), "sluice: "+strings.TrimSpace(field)+" is ") {
			t.Errorf("%s: %v", field, err)
		}
	}
}
