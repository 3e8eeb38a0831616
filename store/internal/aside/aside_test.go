package aside_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/store/internal/aside"
)

// TestManyRowsHaveOneLine sets rows aside in a flood: the first are told of at once,
// and none goes untold.
func TestManyRowsHaveOneLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		set, err := metrics.New(metrics.Config{})
		if err != nil {
			t.Fatal(err)
		}
		var lines bytes.Buffer
		rows := aside.New(slog.New(slog.NewTextHandler(&lines, nil)), set)
		rows.Tell()
		for i := range int64(1000) {
			rows.Note([]int64{2*i + 1, 2*i + 2})
			rows.Tell()
			time.Sleep(time.Millisecond) // of the test's own clock
		}
		time.Sleep(time.Minute) // of the test's own clock
		rows.Tell()
		rows.Tell()
		told := strings.Split(strings.TrimSpace(lines.String()), "\n")
		if len(told) != 2 || !strings.Contains(told[0], "events=2 first_outbox_id=1 last_outbox_id=2") ||
			!strings.Contains(told[1], "events=1998 first_outbox_id=3 last_outbox_id=2000") {
			t.Errorf("told:\n%s", lines.String())
		}
		if n := set.Counter(metrics.EventsRejected, metrics.Reason("payload_too_large")).Value(); n != 2000 {
			t.Errorf("counted %d", n)
		}
	})
}
