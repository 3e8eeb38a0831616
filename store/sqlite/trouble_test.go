package sqlite_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/sqlite"
)

// TestFullDiskIsSeen has the disk be full for those who append, and for rows that
// another process has written: the log says so, and goes on once there is room.
func TestFullDiskIsSeen(t *testing.T) {
	t.Parallel()
	begun := time.Now()
	dir := t.TempDir()
	var lines lockedBuffer
	log, err := sqlite.Open(t.Context(), sqlite.Config{Dir: dir, PollInterval: time.Millisecond, Logger: slog.New(slog.NewTextHandler(&lines, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- log.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, log.Close()); err != nil {
			t.Error(err)
		}
	})
	large := store.Draft{Topic: "t", Name: "e", Payload: []byte(`{"a":"` + strings.Repeat("x", 1<<19) + `"}`)}
	if err := log.LimitPages(t.Context(), 1); err != nil { // what it has is what it may have
		t.Fatal(err)
	}
	unavailable := new(store.UnavailableError)
	if err := log.Append(t.Context(), []store.Draft{large}); !errors.As(err, &unavailable) || !strings.Contains(unavailable.Hint, "make room") {
		t.Errorf("appended with %v", err)
	}
	app, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "sluice.db")+"?_pragma=busy_timeout(900000)")
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close()
	if _, err := app.Exec(`INSERT INTO sluice_outbox (topic, event, payload) VALUES ('t', 'e', ?)`, string(large.Payload)); err != nil {
		t.Fatal(err)
	}
	stalled := new(store.StalledError)
	for err := error(nil); !errors.As(err, &stalled); err = log.Sequencing(t.Context()) {
	}
	if !strings.Contains(stalled.Error(), "make room") {
		t.Errorf("the reason does not say what to do: %v", stalled)
	}
	if told := strings.Count(lines.String(), "log fails"); told < 1 || told > 1+int(time.Since(begun)/time.Minute) {
		t.Errorf("told %d times, not once a minute:\n%s", told, lines.String())
	}
	if err := log.LimitPages(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	for log.Sequencing(t.Context()) != nil {
	}
	for {
		events, err := log.Fetch(t.Context(), 0, store.Limit{Events: 1})
		if err != nil {
			t.Fatal(err)
		}
		if len(events) == 1 {
			break
		}
		if err := log.Wait(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
}

// lockedBuffer is written by a logger and read by a test.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(line)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// Who holds the file's lock for longer than writers wait is seen too, with nothing in
// the outbox, until it lets go.
func TestLockedFileIsSeen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log, err := sqlite.Open(t.Context(), sqlite.Config{Dir: dir, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	app := application(t, dir)
	if err := log.Sequencing(t.Context()); err != nil {
		t.Errorf("with nothing wrong: %v", err)
	}
	if err := log.Hurry(t.Context()); err != nil {
		t.Fatal(err)
	}
	tx, err := app.Begin() // immediate
	if err != nil {
		t.Fatal(err)
	}
	unavailable := new(store.UnavailableError)
	if err := log.Append(t.Context(), []store.Draft{{Topic: "t", Name: "e"}}); !errors.As(err, &unavailable) {
		t.Errorf("appended with %v", err)
	}
	if err := log.Sequencing(t.Context()); !errors.As(err, &unavailable) {
		t.Errorf("while the file is locked: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := log.Sequencing(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
