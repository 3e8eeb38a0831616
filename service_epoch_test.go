package sluice_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/sluicetest"
	"github.com/sluicehq/sluice/store/sqlite"
)

// TestNewEpoch restores the log under a running service, so to speak: the
// service ends and says why, and the next one knows which clients can resume.
func TestNewEpoch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ended := make(chan error, 1) // one send, by the serve function
	n := sluicetest.Run(t, func(ctx context.Context, config sluice.Config) error {
		ended <- sluicetest.With(func(c *sluice.Config) { c.DataDir = dir })(ctx, config)
		return nil
	})
	event := `{"topic":"a","event":"b"}`
	for range 3 {
		n.Request("POST", n.Admin, "/api/events", nil, event)
	}
	n.Eventually("routed", func() bool { return n.Stats().Position == 3 })
	before := n.Stats()

	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, sqlite.FileName)+"?_pragma=busy_timeout(60000)")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`INSERT INTO sluice_epochs DEFAULT VALUES`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, sluice.ErrNewEpoch) {
		t.Fatalf("the service ended with %v", err)
	}

	n = sluicetest.Run(t, sluicetest.With(func(c *sluice.Config) { c.DataDir = dir }))
	now := n.Stats()
	if now.Epoch == before.Epoch {
		t.Fatalf("the epoch is still %v", now.Epoch)
	}
	n.Request("POST", n.Admin, "/api/events", nil, event) // offset 4, of the new epoch
	n.Eventually("routed", func() bool { return n.Stats().Position == 4 })
	resumed := func(epoch string, after, resumed string) {
		t.Helper()
		c := n.Connect("/socket", "")
		c.Send(`["1","1","a","phx_join",{"after":` + after + `,"epoch":"` + epoch + `"}]`)
		c.Expect(`["1","1","a","phx_reply",{"status":"ok","response":{"offset":4,"epoch":"` + now.Epoch + `","resumed":` + resumed + `}}]`)
		c.Close()
	}
	resumed(before.Epoch, "3", "true")  // both have been through 3
	resumed(before.Epoch, "4", "false") // its 4 is another event
	resumed(now.Epoch, "4", "true")
	resumed(now.Epoch, "5", "false") // there is no 5
	resumed("of another log", "1", "false")
}
