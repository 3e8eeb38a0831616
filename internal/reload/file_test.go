package reload

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// TestProtectedFiles reads files with every permission that others may have.
func TestProtectedFiles(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("permission bits say nothing here")
	}
	for mode, want := range map[os.FileMode]struct{ secret, public string }{
		0o600: {"", ""},
		0o640: {"", ""},
		0o644: {"warned", ""},
		0o602: {"refused", "refused"},
		0o666: {"refused", "refused"},
	} {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		for kind, want := range map[Kind]string{Secret: want.secret, Public: want.public} {
			var log bytes.Buffer
			_, err := ReadFile(path, kind, slog.New(slog.NewTextHandler(&log, nil)))
			got := ""
			switch {
			case err != nil:
				got = "refused"
			case log.Len() > 0:
				got = "warned"
			}
			if got != want {
				t.Errorf("%v, kind %d: %q, want %q", mode, kind, got, want)
			}
		}
	}
}
