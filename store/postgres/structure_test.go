package postgres_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
)

// TestStructureAloneIsFilled restores the tables without their rows, as they are now
// and as they were before the structure told its version.
func TestStructureAloneIsFilled(t *testing.T) {
	t.Parallel()
	for _, version := range []int{0, 5} { // 0: the present one
		server := pgtest.NewServer(t)
		url := server.Schema(t)
		if version == 0 {
			log := mustOpen(t, postgres.Config{DatabaseURL: url})
			insertAll(t, log, url, "a", "b")
			log.Close()
		} else if err := postgres.MigrateTo(t.Context(), url, version); err != nil {
			t.Fatal(err)
		}
		conn := connect(t, url)
		if version == 5 {
			mustExec(t, conn, `ALTER TABLE sluice_meta ALTER version DROP DEFAULT`)
			mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('a', 'e')`)
		}
		dump, err := exec.Command("pg_dump", "--dbname="+url, "--schema-only", "--schema="+schemaOf(t, url)).Output()
		if err != nil {
			t.Fatal(err)
		}
		mustExec(t, conn, `CREATE DATABASE copy`)
		url = strings.Replace(url, "/postgres?", "/copy?", 1)
		restore := exec.Command("psql", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname="+strings.Replace(server.URL(), "/postgres?", "/copy?", 1))
		restore.Stdin = strings.NewReader(string(dump))
		if out, err := restore.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if _, err := postgres.Open(t.Context(), postgres.Config{DatabaseURL: url, Logger: quiet}); err == nil || store.RetrySafe(err) || !strings.Contains(err.Error(), "sluice migrate") {
			t.Errorf("not migrating: %v", err)
		}
		copied := mustOpen(t, postgres.Config{DatabaseURL: url})
		insertAll(t, copied, url, "c", "d")
		if got := topics(t, copied); got != "c d" {
			t.Errorf("the log has %s, want c d", got)
		}
		copied.Close()

		mustExec(t, connect(t, url), `DELETE FROM sluice_meta`) // now there are rows that it would have to fit
		if _, err := postgres.Open(t.Context(), postgres.Config{DatabaseURL: url, Migrate: true, Logger: quiet}); err == nil || store.RetrySafe(err) || !strings.Contains(err.Error(), "sluice_meta is empty") {
			t.Errorf("with rows: %v", err)
		}
	}
}
