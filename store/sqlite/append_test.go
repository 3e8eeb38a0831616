package sqlite_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/sqlite"
)

// TestMovesAreBoundedInBytes has large rows lie in the outbox, one of them larger
// than a move, and looks at the log after each transaction.
func TestMovesAreBoundedInBytes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log, err := sqlite.Open(t.Context(), sqlite.Config{Dir: dir, PollInterval: time.Hour, MaxPayload: 16 << 20, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	app, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "sluice.db")+"?_pragma=busy_timeout(900000)")
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close()
	sizes := []int{3 << 20, 3 << 20, 1, 3 << 20, 12 << 20, 1, 4 << 20, 4<<20 - 100, 1}
	for i, size := range sizes {
		if _, err := app.Exec(`INSERT INTO sluice_outbox (topic, event, payload) VALUES ('t', ?, ?)`, fmt.Sprint(i+1), `{"a":"`+strings.Repeat("x", size)+`"}`); err != nil {
			t.Fatal(err)
		}
	}
	var heads []int64
	for done := false; !done; {
		if done, err = log.WriteRound(context.Background(), []store.Draft{{Topic: "t", Name: "10", Payload: []byte("{}")}}); err != nil {
			t.Fatal(err)
		}
		heads = append(heads, log.KnownHead())
	}
	if got := fmt.Sprint(heads); got != "[3 4 5 10]" {
		t.Errorf("the log ended at %s", got)
	}
	for i := range int64(10) {
		events, err := log.Fetch(t.Context(), i, store.Limit{Events: 1})
		if err != nil || len(events) != 1 || events[0].Name != fmt.Sprint(i+1) {
			t.Fatalf("offset %d: %d events, %v", i+1, len(events), err)
		}
	}
}
