package webhooks

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestErasedIsNotRepeated erases an event of a batch that is refused, at several times: what
// is sent from then on has the same events and id, and the payload no more.
func TestErasedIsNotRepeated(t *testing.T) {
	for _, c := range []struct {
		status int
		erased int64
	}{{500, 2}, {500, 3}, {429, 5}, {413, 2}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			run(t, func(t *testing.T, log *table, app *backend, w Webhook) {
				app.answers(status(c.status))
				log.write("users:7")
				log.write(repeat("orders:eu", 4)...)
				w.Batch = 4
				start(t, log, app, w)
				settle(10 * time.Minute)
				app.mu.Lock()
				last, id := app.requests[len(app.requests)-1], app.ids[len(app.ids)-1]
				app.mu.Unlock()
				app.take()
				log.write(repeat("orders:eu", 4)...)
				log.erase(c.erased)
				settle(time.Hour)
				secret := fmt.Sprintf(`{"n": %d}`, c.erased)
				app.mu.Lock()
				for i, body := range app.bodies {
					if strings.Contains(body, secret) {
						t.Errorf("request %d has what is erased: %s", i, body)
					}
					if app.requests[i] != last || app.ids[i] != id {
						t.Errorf("%q with id %q comes after %q with %q", app.requests[i], app.ids[i], last, id)
					}
				}
				if len(app.bodies) == 0 {
					t.Error("nothing is repeated")
				}
				app.mu.Unlock()
				app.take()
				app.answers(nil)
				settle(2 * longestPause)
				if log.position("mail") != "e1:9" {
					t.Errorf("at %s, asked %q", log.position("mail"), app.take())
				}
			})
		})
	}
}
