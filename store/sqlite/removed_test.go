package sqlite_test

import (
	"errors"
	"testing"

	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/sqlite"
)

// TestHolesThatNoTriggerSeesAreSkipped removes rows once the trigger is gone that
// would see it: who reads finds out, and the rest of the log can be read.
func TestHolesThatNoTriggerSeesAreSkipped(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, where string
		last        int64 // that is gone
		epoch       bool  // another one begins
	}{
		{"the midst", `"offset" IN (3, 5)`, 5, true},
		{"the front", `"offset" < 5`, 4, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			log, err := sqlite.Open(t.Context(), sqlite.Config{Dir: dir, Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			defer log.Close()
			for range 8 {
				if err := log.Append(t.Context(), []store.Draft{{Topic: "t", Name: "e"}}); err != nil {
					t.Fatal(err)
				}
			}
			before, err := log.Head(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := application(t, dir).Exec(`DROP TRIGGER sluice_log_removed; DELETE FROM sluice_log WHERE ` + test.where); err != nil {
				t.Fatal(err)
			}
			for after := range int64(8) {
				for { // one hole after the other is found
					head, err := log.Head(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					events, err := log.Fetch(t.Context(), after, store.Limit{Events: 10})
					if after >= test.last && (err != nil || len(events) != int(8-after)) || after < test.last && !errors.Is(err, store.ErrTrimmed) {
						t.Errorf("fetched %d events after %d, %v", len(events), after, err)
					}
					if now, err := log.Head(t.Context()); err != nil || now.Trimmed == head.Trimmed {
						break
					}
				}
			}
			extent, err := log.Extent(t.Context())
			if err != nil || extent.Trimmed != test.last || extent.Offset != 8 || (extent.Epoch != before.Epoch) != test.epoch {
				t.Errorf("the log is %+v, %v; it was %+v", extent, err, before)
			}
			for after := range int64(8) {
				if _, whole := extent.Resume(store.Cursor{Epoch: before.Epoch, Offset: after}); whole != (after >= test.last) {
					t.Errorf("%d resumes whole: %v, of %+v", after, whole, extent)
				}
			}
		})
	}
}
