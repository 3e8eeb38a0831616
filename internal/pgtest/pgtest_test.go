package pgtest_test

import (
	"fmt"
	"net"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/internal/pgtest"
)

func TestMain(m *testing.M) {
	os.Exit(pgtest.Main(m))
}

func TestSchemasAreSeparate(t *testing.T) {
	t.Parallel()
	for range 2 {
		conn, err := pgx.Connect(t.Context(), pgtest.Schema(t))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		if _, err := conn.Exec(t.Context(), "CREATE TABLE mine (id int)"); err != nil {
			t.Error(err)
		}
	}
}

func execute(t *testing.T, server *pgtest.Server, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func TestServerKeepsWhatIsCommitted(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t)
	do := func(sql string) { t.Helper(); execute(t, server, sql) }
	do("CREATE TABLE kept (id int)")
	server.Stop(t)
	if conn, err := pgx.Connect(t.Context(), server.URL()); err == nil {
		conn.Close(t.Context())
		t.Fatal("a stopped server took a connection")
	}
	server.Start(t)
	do("INSERT INTO kept VALUES (1)")
	server.Kill(t)
	server.Start(t)
	do("DROP TABLE kept")
}

// TestAServerThatIsDownHasItsPort has a server be down while others are started, in this
// process or another: none of them is given its port.
func TestAServerThatIsDownHasItsPort(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t)
	server.Stop(t)
	config, err := pgx.ParseConfig(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	port, err := net.ListenPacket("udp", net.JoinHostPort(config.Host, fmt.Sprint(config.Port))) // as who looks for a port does
	if err == nil {
		port.Close()
		t.Error("its port is free")
	}
	server.Start(t)
}

func TestAPromotedStandbyHasAllThatWasCommitted(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t)
	do := func(sql string) { t.Helper(); execute(t, server, sql) }
	do("CREATE TABLE before (id int)")
	for range 2 { // what was promoted can have a standby too
		server.Mirror(t)
		do("CREATE TABLE mirrored (id int)")
		old := server.URL()
		server.Promote(t)
		if server.URL() == old {
			t.Error("the standby is at the same address")
		}
		do("DROP TABLE mirrored")
	}
	do("DROP TABLE before")
}
