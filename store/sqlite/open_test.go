package sqlite_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/sqlite"
)

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, sqlite.FileName), []byte(strings.Repeat("not a database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	blocked := t.TempDir()
	if err := os.Mkdir(filepath.Join(blocked, sqlite.FileName), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, dir string
		passes    bool
		words     []string
	}{
		{"no folder", "", false, []string{"Config.Dir"}},
		{"a file in its place", file, false, []string{file, "folder"}},
		{"below a file", filepath.Join(file, "below"), false, []string{file, "folder"}},
		{"no database", foreign, false, []string{foreign, "not a database", "backup"}},
		{"a folder in the file's place", blocked, true, []string{blocked, "user"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := sqlite.Open(t.Context(), sqlite.Config{Dir: test.dir, Logger: quiet})
			if err == nil {
				t.Fatal("opened")
			}
			var unavailable *store.UnavailableError
			if errors.As(err, &unavailable) != test.passes {
				t.Errorf("an outage: %v, want %v: %v", !test.passes, test.passes, err)
			}
			for _, words := range test.words {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("does not mention %s: %v", words, err)
				}
			}
		})
	}
}

func TestFolderIsCreatedAndMayHaveAnyName(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a b", "50% ?x#y&c=d")
	log, err := sqlite.Open(t.Context(), sqlite.Config{Dir: dir, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Append(t.Context(), []store.Draft{{Topic: "t", Name: "e"}}); err != nil {
		t.Fatal(err)
	}
	if events, err := log.Fetch(t.Context(), 0, store.Limit{Events: 1}); err != nil || len(events) != 1 {
		t.Errorf("%v, %v", events, err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), "*", "*")); len(left) != 1 || filepath.Base(left[0]) != sqlite.FileName {
		t.Errorf("a closed log leaves %q, want its file alone", left)
	}
}

func TestTablesOfANewerProgramAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log, err := sqlite.Open(t.Context(), sqlite.Config{Dir: dir, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	log.Close()
	if _, err := application(t, dir).Exec(`PRAGMA user_version = 99`); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Open(t.Context(), sqlite.Config{Dir: dir, Logger: quiet}); err == nil || !strings.Contains(err.Error(), "newer program") {
		t.Errorf("got %v", err)
	}
}
