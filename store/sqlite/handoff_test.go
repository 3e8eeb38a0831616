package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/sqlite"
)

// openHandoff opens a log that has just appended as many events for somebody who
// had waited for them. file are those events as another log reads them.
func openHandoff(t *testing.T, dir string, count, payload int) (log *sqlite.Log, file []store.Event) {
	t.Helper()
	log, err := sqlite.Open(t.Context(), sqlite.Config{Dir: dir, PollInterval: time.Millisecond, MaxPayload: 4 << 20, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	if err := log.Wait(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	drafts := make([]store.Draft, count)
	for i := range drafts {
		drafts[i] = store.Draft{Topic: fmt.Sprint("t:", i), Name: "e", Payload: fmt.Appendf(nil, `{"n":%d,"x":%q}`, i, strings.Repeat("x", payload))}
		if i%2 > 0 {
			drafts[i].Key = fmt.Append(nil, i)
		}
	}
	if err := log.Append(t.Context(), drafts); err != nil {
		t.Fatal(err)
	}
	for i := range drafts { // whose memory is the caller's again
		clear(drafts[i].Payload)
		clear(drafts[i].Key)
	}
	file, err = open(t, dir).Fetch(t.Context(), 0, store.Limit{Events: count})
	if err != nil || len(file) != count {
		t.Fatalf("%d events, %v", len(file), err)
	}
	return log, file
}

func expectFetch(t *testing.T, log *sqlite.Log, after int64, limit store.Limit, want []store.Event) {
	t.Helper()
	events, err := log.Fetch(t.Context(), after, limit)
	if err != nil || len(events) != len(want) || len(want) > 0 && !reflect.DeepEqual(events, want) {
		t.Errorf("after %d with %+v: got %v, %v\nwant %v", after, limit, events, err, want)
	}
}

// TestHandoffIsNotRead takes them from the file before they are fetched.
func TestHandoffIsNotRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log, file := openHandoff(t, dir, 6, 0)
	if _, err := application(t, dir).Exec(`DROP TRIGGER sluice_log_removed; DELETE FROM sluice_log`); err != nil {
		t.Fatal(err)
	}
	expectFetch(t, log, 1, store.Limit{Events: 6}, nil) // not where they begin
	expectFetch(t, log, 0, store.Limit{Events: 2}, file[:2])
	expectFetch(t, log, 2, store.Limit{Events: 6, Bytes: 1}, file[2:3])
	expectFetch(t, log, 3, store.Limit{Events: 6, Bytes: 1 << 20}, file[3:])
	expectFetch(t, log, 0, store.Limit{Events: 6}, nil) // they are given once
}

func TestHandoffGrowsOld(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log, _ := openHandoff(t, dir, 3, 0)
	if _, err := application(t, dir).Exec(`DROP TRIGGER sluice_log_removed; DELETE FROM sluice_log`); err != nil {
		t.Fatal(err)
	}
	log.AgeHandoff()
	expectFetch(t, log, 0, store.Limit{Events: 3}, nil)
}

func TestHandoffIsOfItsEpoch(t *testing.T) {
	t.Parallel()
	log, file := openHandoff(t, t.TempDir(), 1, 0)
	head, err := log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Fetch(t.Context(), 0, store.Limit{Events: 1, Epoch: "another"}); !errors.Is(err, store.ErrNewEpoch) {
		t.Errorf("in another epoch: %v", err)
	}
	if !log.HasHandoff() {
		t.Error("the event is gone")
	}
	expectFetch(t, log, 0, store.Limit{Events: 1, Epoch: head.Epoch}, file)
}

// TestHandoffIsBounded: what is left of it is read.
func TestHandoffIsBounded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ count, payload, most int }{
		"in number": {5000, 0, 4096},
		"in bytes":  {40, 100 << 10, 10},
		"each":      {1, 2 << 20, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			log, file := openHandoff(t, dir, test.count, test.payload)
			if test.most > 0 {
				expectFetch(t, log, 0, store.Limit{Events: test.count}, file[:test.most])
			}
			if log.HasHandoff() {
				t.Error("more is kept")
			}
			expectFetch(t, log, int64(test.most), store.Limit{Events: test.count}, file[test.most:])
		})
	}
}

// TestHandoffIsForgotten when somebody has committed, who may have trimmed
// them or begun an epoch, and when the log is closed.
func TestHandoffIsForgotten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log, _ := openHandoff(t, dir, 1, 0)
	if !log.HasHandoff() {
		t.Fatal("there are none")
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := log.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	for log.HasHandoff() {
		log.Wait(ctx, 1)
	}
	cancel()
	running.Wait()

	log, _ = openHandoff(t, t.TempDir(), 1, 0)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := log.Fetch(t.Context(), 0, store.Limit{Events: 1}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
