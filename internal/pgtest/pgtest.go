package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/internal/pgserver"
	"github.com/sluicehq/sluice/internal/testmain"
)

// template is what all servers of this test process begin as. Main removes it.
var template = sync.OnceValues(pgserver.NewTemplate)

// shared is the server of this test process, started when it is first needed, and a
// connection to it on which schemas are created, one at a time.
var shared struct {
	once   sync.Once
	server *pgserver.Server
	err    error

	mu   sync.Mutex
	conn *pgx.Conn
}

// newServer starts a server on which nothing exists.
func newServer(settings ...string) (*pgserver.Server, error) {
	needed.Store(true)
	t, err := template()
	if err != nil {
		return nil, err
	}
	return t.New(settings...)
}

// needed says that there is a template.
var needed atomic.Bool

var schemas atomic.Int64

// Main does what testmain.Main does, but ends no process: it stops the shared server when
// the tests have run, looks then for goroutines that are left, and returns the exit status.
func Main(m *testing.M) int {
	testmain.Repeat()
	status := m.Run()
	if err := remove(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		status = max(status, 1)
	}
	if status == 0 {
		if err := testmain.Leaks(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}
	return status
}

// remove removes what the tests have shared.
func remove() error {
	var failed error
	if shared.conn != nil {
		failed = shared.conn.Close(context.Background())
	}
	if shared.server != nil {
		failed = errors.Join(failed, shared.server.Remove())
	}
	if needed.Load() {
		if t, err := template(); err == nil {
			failed = errors.Join(failed, t.Remove())
		}
	}
	return failed
}

// Schema returns a URL of the shared server whose search_path is a new, empty
// schema. The test binary's TestMain must call [Main].
func Schema(t testing.TB) (url string) {
	t.Helper()
	shared.once.Do(func() { shared.server, shared.err = newServer() })
	if shared.err != nil {
		t.Fatalf("pgtest: %v", shared.err)
	}
	url = shared.server.URL()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.conn == nil { // a new connection for each schema costs more than the schema
		conn, err := pgx.Connect(context.Background(), url)
		check(t, err)
		shared.conn = conn
	}
	return schema(t, shared.conn, url)
}

// Schema creates an empty schema on s and returns a URL with it as its
// search_path, which both pgx and psql read.
func (s *Server) Schema(t testing.TB) (url string) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), s.URL())
	check(t, err)
	defer conn.Close(context.Background())
	return schema(t, conn, s.URL())
}

func schema(t testing.TB, conn *pgx.Conn, server string) (url string) {
	t.Helper()
	name := fmt.Sprintf("test_%d_%s", schemas.Add(1), identifier(t.Name()))
	_, err := conn.Exec(context.Background(), "CREATE SCHEMA "+name)
	check(t, err)
	return server + "&options=-csearch_path%3D" + name
}

// identifier makes a name that needs no quotes, and leaves room in the 63
// bytes of one.
func identifier(name string) string {
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(name))
	return name[:min(len(name), 40)]
}
