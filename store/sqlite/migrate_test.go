package sqlite

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"
)

// TestMigrationsAreNumbered wants their numbers to be the versions that they make.
func TestMigrationsAreNumbered(t *testing.T) {
	t.Parallel()
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for i, name := range names {
		if want := fmt.Sprintf("migrations/%04d_", i+1); !strings.HasPrefix(name, want) {
			t.Errorf("%s makes version %d: it should begin with %s", name, i+1, want)
		}
	}
}
