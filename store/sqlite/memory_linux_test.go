package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/sqlite"
)

// What a test process's child is to do, and where.
const (
	pathVariable = "SLUICE_TEST_PATH"
	dirVariable  = "SLUICE_TEST_DIR"
)

// maxPeak is how much more memory a process may need for a row of whatever size than
// for a small one: the page caches of a few connections, and what is kept of a
// transaction's journal.
const maxPeak = 8 << 10 // kB

// rowPaths are the ways of a row whose payload nobody reads, from where it lies. Left
// is zero once it has gone that way.
var rowPaths = []struct {
	name, insert, left string
	take               func(context.Context, *sqlite.Log) error
}{
	{"set aside", `INSERT INTO sluice_outbox (topic, event, payload) VALUES ('t', 'e', ?)`,
		`SELECT count(*) FROM sluice_outbox`, nil},
	{"erased from the log", `INSERT INTO sluice_log ("offset", topic, event, inserted_at, payload) VALUES (1, 't', 'e', 1, ?)`,
		`SELECT count(*) FROM sluice_log WHERE octet_length(payload) > 2`, erase},
	{"erased from what was set aside", `INSERT INTO sluice_rejected (id, topic, event, inserted_at, reason, rejected_at, payload) VALUES (1, 't', 'e', 1, '', 1, CAST(? AS BLOB))`,
		`SELECT count(*) FROM sluice_rejected WHERE length(payload) > 2`, erase},
	{"trimmed", `INSERT INTO sluice_log ("offset", topic, event, inserted_at, payload) VALUES (1, 't', 'e', 1, ?)`,
		`SELECT count(*) FROM sluice_log`, nil},
}

func erase(ctx context.Context, log *sqlite.Log) error {
	_, _, _, err := log.Erase(ctx, store.Selection{Topic: "t"})
	return err
}

// TestRowTakesItsPath is the child: it takes a row its way, and prints its own peak.
func TestRowTakesItsPath(t *testing.T) {
	dir := os.Getenv(dirVariable)
	for _, path := range rowPaths {
		if dir == "" || path.name != os.Getenv(pathVariable) {
			continue
		}
		db := application(t, dir)
		if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil { // the peak is what there is now
			t.Fatal(err)
		}
		log, err := sqlite.Open(t.Context(), sqlite.Config{Dir: dir, Retention: time.Nanosecond, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		if path.take != nil {
			err = path.take(ctx, log)
			ended <- nil
		} else {
			go func() { ended <- log.Run(ctx) }()
		}
		for left := 1; left > 0 && err == nil; {
			if err = log.Wait(t.Context(), math.MaxInt64); err == nil { // for as long as it polls
				err = db.QueryRowContext(t.Context(), path.left).Scan(&left)
			}
		}
		cancel()
		if err != nil || <-ended != nil || log.Close() != nil {
			t.Fatal(err)
		}
		fmt.Printf("peak: %d kB\n", peak(t))
	}
}

// peak is the most memory that this process has had since that was last reset, in kB.
func peak(t *testing.T) (kB int) {
	t.Helper()
	file, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if value, found := strings.CutPrefix(lines.Text(), "VmHWM:"); found {
			if _, err := fmt.Sscan(value, &kB); err != nil {
				t.Fatal(err)
			}
		}
	}
	return kB
}

// TestMemoryDoesNotGrowWithARow has rows of up to thrice what more memory may be needed, which others
// may write, go all ways on which their payloads are not read.
func TestMemoryDoesNotGrowWithARow(t *testing.T) {
	t.Parallel()
	for _, path := range rowPaths {
		t.Run(path.name, func(t *testing.T) {
			t.Parallel()
			small := 0
			for _, size := range []int{0, 3 * maxPeak << 10} {
				if size == 0 && path.name == "set aside" {
					size = store.DefaultMaxPayload // and a little more
				}
				dir := t.TempDir()
				log, err := sqlite.Open(t.Context(), sqlite.Config{Dir: dir, Logger: quiet})
				if err != nil {
					t.Fatal(err)
				}
				db := application(t, dir)
				payload := fmt.Sprintf(`{"a":"%s"}`, strings.Repeat("x", size))
				_, err = db.ExecContext(t.Context(), path.insert, payload)
				for _, rest := range []string{
					`INSERT INTO sluice_topics SELECT topic, "offset" FROM sluice_log`,
					`INSERT INTO sluice_marks SELECT 1, "offset" FROM sluice_log`,
				} {
					if err == nil {
						_, err = db.ExecContext(t.Context(), rest)
					}
				}
				if err != nil {
					t.Fatal(err)
				}
				if err := log.Close(); err != nil {
					t.Fatal(err)
				}
				child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRowTakesItsPath$")
				child.Env = append(os.Environ(), pathVariable+"="+path.name, dirVariable+"="+dir)
				output, err := child.CombinedOutput()
				var kB int
				if err == nil {
					_, err = fmt.Sscanf(string(output), "peak: %d kB", &kB)
				}
				if err != nil {
					t.Fatalf("%v\n%s", err, output)
				}
				if small == 0 {
					small = kB
				}
				t.Logf("a row of %d MB: %d MB", size>>20, kB>>10)
				if kB > small+maxPeak {
					t.Errorf("a row of %d MB takes %d MB, one of next to nothing %d", size>>20, kB>>10, small>>10)
				}
			}
		})
	}
}
