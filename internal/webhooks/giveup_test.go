package webhooks

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/store"
)

// TestGiveUpCountsFromTheFirstFailure has something else be sent, after a request has failed
// for nearly as long as it may: it is repeated for as long, and not given up at its first
// failure, because the endpoint has failed for longer.
func TestGiveUpCountsFromTheFirstFailure(t *testing.T) {
	const most = 30 * time.Minute
	away := func(log *table) {
		log.fail(&store.UnavailableError{Op: "x", Addr: "y", Err: errors.New("away")})
		settle(lookEvery + time.Second) // it is seen, and the lease kept
		log.fail(nil)
	}
	for name, c := range map[string]struct {
		meanwhile func(log *table)
		next      string
	}{
		"a batch is gathered anew": {away, "e1 1 2"},
		"somebody skips":           {func(log *table) { log.set("consumer/mail", store.Cursor{Epoch: "e1", Offset: 1}) }, "e1 2"},
		"a reset comes of it":      {func(log *table) { log.trim(1); away(log) }, "e1 reset e1:0-1"},
		"the position is gone":     {func(log *table) { _, _ = log.DeleteCursor(context.Background(), "consumer/mail") }, "e1 1 2"},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, log *table, app *backend, w Webhook) {
				w.GiveUpAfter = most
				app.answers(status(500))
				log.write("orders:eu")
				n := start(t, log, app, w)
				settle(most - longestPause)
				app.take()
				log.write("orders:eu")
				c.meanwhile(log)
				settle(most - longestPause)
				times := app.times()
				got := app.take()
				i := slices.Index(got, c.next)
				if i < 0 || slices.ContainsFunc(got[i:], func(each string) bool { return each != c.next }) || n.counted(metrics.WebhookSkipped) != 0 {
					t.Fatalf("asked %q, want %q at the end; %d skipped", got, c.next, n.counted(metrics.WebhookSkipped))
				}
				if len(times) < i+3 {
					t.Fatalf("asked %q", got)
				}
				settle(3 * longestPause)
				if n.counted(metrics.WebhookSkipped) == 0 {
					t.Error("it is never given up")
				}
			})
		})
	}
}

// TestPausesBeginAnew has somebody skip what is refused for good: what follows fails once, and
// is not kept waiting for what was skipped.
func TestPausesBeginAnew(t *testing.T) {
	run(t, func(t *testing.T, log *table, app *backend, w Webhook) {
		w.Batch = 1
		once := false
		app.answers(func(offsets []int64) (int, http.Header, error) {
			if offsets[0] == 1 || !once {
				once = once || offsets[0] == 2
				return 500, nil, nil
			}
			return 200, nil, nil
		})
		log.write(repeat("orders:eu", 2)...)
		start(t, log, app, w)
		settle(time.Hour)
		app.take()
		log.set("consumer/mail", store.Cursor{Epoch: "e1", Offset: 1})
		settle(lookEvery + 2*time.Second)
		if got := app.take(); !slices.Equal(got, []string{"e1 2", "e1 2"}) {
			t.Errorf("asked %q", got)
		}
	})
}
