package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMigrationsAreNumbered keeps the order in which migrations are applied, which
// is that of their names, and their versions, which are counted, the same.
func TestMigrationsAreNumbered(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"postgres", "sqlite"} {
		files, err := os.ReadDir(filepath.Join(dir, "migrations"))
		if err != nil {
			t.Fatal(err)
		}
		for i, file := range files {
			if want := fmt.Sprintf("%04d_", i+1); !strings.HasPrefix(file.Name(), want) {
				t.Errorf("%s: %s is not %s…", dir, file.Name(), want)
			}
		}
	}
}
