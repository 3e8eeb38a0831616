package sqlite_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/sqlite"
)

// TestFilesAreOurs opens new and older folders, and looks at what all files in
// them allow to whom while the log runs.
func TestFilesAreOurs(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("permission bits say nothing here")
	}
	for name, test := range map[string]struct{ before, want fs.FileMode }{
		"new":                   {0, 0o600},
		"readable by everybody": {0o644, 0o640},
		"writable by everybody": {0o666, 0o660},
		"shared within a group": {0o660, 0o660},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "data")
			if test.before != 0 {
				use(t, dir)
				for _, path := range files(t, dir) {
					if err := os.Chmod(path, test.before); err != nil {
						t.Fatal(err)
					}
				}
			}
			use(t, dir, func() {
				found := files(t, dir)
				if len(found) < 3 {
					t.Errorf("only %v", found)
				}
				for _, path := range found {
					if info, err := os.Stat(path); err != nil || info.Mode().Perm() != test.want {
						t.Errorf("%s is %v, %v, want %v", path, info.Mode().Perm(), err, test.want)
					}
				}
			})
			if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("the folder is %v, %v", info.Mode().Perm(), err)
			}
		})
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, sqlite.FileName+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// use opens a log, writes an event, and has a look before it is closed.
func use(t *testing.T, dir string, look ...func()) {
	t.Helper()
	log, err := sqlite.Open(t.Context(), sqlite.Config{Dir: dir, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- log.Run(ctx) }()
	if err := log.Append(t.Context(), []store.Draft{{Topic: "a", Name: "b", Payload: []byte("{}")}}); err != nil {
		t.Error(err)
	}
	for _, each := range look {
		each()
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
}
