package sqlite_test

import (
	"os"
	"testing"

	"github.com/sluicehq/sluice/store"
)

// TestRemovedFolderIsNoticed: what can no longer be kept is refused.
func TestRemovedFolderIsNoticed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log := open(t, dir)
	drafts := []store.Draft{{Topic: "t", Name: "e"}}
	if err := log.Append(t.Context(), drafts); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := log.Append(t.Context(), drafts); !store.RetrySafe(err) {
		t.Errorf("Append: %v, want an outage", err)
	}
	if _, err := log.Head(t.Context()); !store.RetrySafe(err) {
		t.Errorf("Head: %v, want an outage", err)
	}
}
