package webhooks

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sluicehq/sluice/store"
)

// TestCommitsAreRepeated has commits be slow, fail, or be carried out and not be answered: the
// commit is repeated, and not the request that was accepted.
func TestCommitsAreRepeated(t *testing.T) {
	away := &store.UnavailableError{Op: "x", Addr: "y", Err: errors.New("away")}
	type does = func() (bool, error)
	for name, kind := range map[string]func(ctx context.Context, try int, do does) (bool, error){
		"slow": func(ctx context.Context, _ int, do does) (bool, error) {
			if err := pause(ctx, 20*time.Second); err != nil {
				return false, err
			}
			return do()
		},
		"fails": func(_ context.Context, try int, do does) (bool, error) {
			if try < 20 {
				return false, away
			}
			return do()
		},
		"its answer is lost": func(_ context.Context, try int, do does) (bool, error) {
			moved, err := do()
			if try == 0 {
				return false, away
			}
			return moved, err
		},
		"it hangs": func(ctx context.Context, try int, do does) (bool, error) {
			if try == 0 {
				<-ctx.Done()
				return false, ctx.Err()
			}
			return do()
		},
	} {
		for _, code := range []int{200, 410} {
			t.Run(name, func(t *testing.T) {
				run(t, func(t *testing.T, log *table, app *backend, w Webhook) {
					app.answers(status(code))
					log.set("consumer/mail", store.Cursor{Epoch: "e1"})
					tries := 0 // of the one sender
					log.move = func(ctx context.Context, do func() (bool, error)) (bool, error) {
						tries++
						return kind(ctx, tries-1, do)
					}
					log.write("orders:eu")
					n := start(t, log, app, w)
					settle(10 * time.Minute)
					app.expect("e1 1")
					want, at := Sending, "e1:1"
					if code == 410 {
						want, at = Disabled, "e1:0"
					}
					if state := n.States()[0]; state.State != want || log.position("mail") != at {
						t.Errorf("%+v at %s", state, log.position("mail"))
					}
				})
			})
		}
	}
}

// TestCommitEndsWithTheNode has a commit hang while the node ends, which is not held up by it.
func TestCommitEndsWithTheNode(t *testing.T) {
	run(t, func(t *testing.T, log *table, app *backend, w Webhook) {
		log.set("consumer/mail", store.Cursor{Epoch: "e1"})
		log.move = func(ctx context.Context, _ func() (bool, error)) (bool, error) {
			<-ctx.Done()
			return false, ctx.Err()
		}
		log.write("orders:eu")
		n := start(t, log, app, w)
		settle(time.Second)
		began := time.Now()
		n.stop()
		if took := time.Since(began); took > 2*lastTimeout {
			t.Errorf("it took %v", took)
		}
		app.expect("e1 1")
	})
}
