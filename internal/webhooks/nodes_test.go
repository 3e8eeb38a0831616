package webhooks

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/internal/lease"
	"github.com/sluicehq/sluice/store"
)

// TestOneNodeSends has one of three nodes send, and another go on when it ends.
func TestOneNodeSends(t *testing.T) {
	run(t, func(t *testing.T, log *table, app *backend, w Webhook) {
		nodes := []*node{start(t, log, app, w), start(t, log, app, w), start(t, log, app, w)}
		log.write("orders:eu")
		settle(time.Minute)
		app.expect("e1 1")
		for left := len(nodes); left > 0; left-- {
			sending := -1
			for i, n := range nodes {
				if states := n.States(); len(states) > 0 && states[0].State == Sending {
					if sending >= 0 {
						t.Error("two nodes send")
					}
					sending = i
				}
				if strings.Contains(n.said.String(), "another process has this name") {
					t.Error("standing by is told as if something were wrong")
				}
			}
			if sending < 0 {
				t.Fatal("no node sends")
			}
			nodes[sending].stop()
			log.write("orders:eu")
			settle(2 * lease.DefaultTerm / 3)
			if got := len(app.take()); got != min(1, left-1) {
				t.Errorf("with %d nodes left, %d requests", left-1, got)
			}
		}
	})
}

// TestTakeover has another node take the lease that this one could not keep: it hears of
// that, sends no more, and goes on when the other no longer renews it.
func TestTakeover(t *testing.T) {
	run(t, func(t *testing.T, log *table, app *backend, w Webhook) {
		start(t, log, app, w)
		settle(time.Second)
		log.mu.Lock()
		other := log.leases["webhook/mail"]
		other.Fence, other.Holder = other.Fence+100, "another"
		log.leases["webhook/mail"] = other
		log.mu.Unlock()
		for i := range 12 {
			if i == 2 { // it has heard of it
				log.write("orders:eu")
			}
			if err := log.Renew(t.Context(), other); err != nil {
				t.Fatal(err)
			}
			settle(lease.DefaultTerm / 3)
		}
		app.expect() // the other sends
		settle(2 * lease.DefaultTerm)
		app.expect("e1 1")
	})
}

// TestNobodySendsUnrenewed has a node stop to send once its lease may be another's.
func TestNobodySendsUnrenewed(t *testing.T) {
	run(t, func(t *testing.T, log *table, app *backend, w Webhook) {
		app.answers(status(500))
		log.write("orders:eu")
		start(t, log, app, w)
		settle(20 * time.Second)
		log.fail(&store.UnavailableError{Op: "x", Addr: "y", Err: errors.New("away")})
		settle(lease.DefaultTerm)
		app.take()
		settle(10 * time.Minute)
		app.expect()
		log.fail(nil)
		app.answers(nil)
		settle(time.Minute)
		app.expect("e1 1")
	})
}

// TestDrain lets a request under way be answered, and commits; one that is not answered
// holds nobody up for long, and is repeated by the next node.
func TestDrain(t *testing.T) {
	for name, answered := range map[string]bool{"answered": true, "not answered": false} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, log *table, app *backend, w Webhook) {
				app.answers(func([]int64) (int, http.Header, error) {
					if answered {
						time.Sleep(3 * time.Second)
						return 200, nil, nil
					}
					return 0, nil, errHangs
				})
				log.write(repeat("orders:eu", 6)...)
				n := start(t, log, app, w)
				settle(time.Second)
				began := time.Now()
				n.stop()
				if took := time.Since(began); took > 6*time.Second {
					t.Errorf("it took %v", took)
				}
				app.expect("e1 1 2 3")
				app.answers(nil)
				start(t, log, app, w)
				settle(time.Second)
				if answered {
					app.expect("e1 4 5 6")
				} else {
					app.expect("e1 1 2 3", "e1 4 5 6")
				}
			})
		})
	}
}

// TestReplace puts other webhooks in force: what has changed begins anew, without waiting for
// its pause, what has not is undisturbed, and what is gone ends.
func TestReplace(t *testing.T) {
	run(t, func(t *testing.T, log *table, app *backend, w Webhook) {
		log.write("orders:eu", "users:7")
		app.answers(status(500))
		gone, stays := w, w
		gone.Name, stays.Name = "gone", "stays"
		n := start(t, log, app, w, gone, stays)
		settle(time.Hour)
		app.take()
		app.answers(nil)
		changed := w
		changed.Match = "users:*"
		n.Replace([]Webhook{changed, stays})
		settle(time.Second)
		app.expect("e1 2")
		settle(2 * longestPause)
		app.expect("e1 1")
		n.Replace(nil)
		settle(time.Second)
		if len(n.States()) != 0 {
			t.Errorf("%+v", n.States())
		}
		log.write("orders:eu")
		settle(time.Hour)
		app.expect()
		n.Replace([]Webhook{gone})
		settle(time.Second)
		app.expect("e1 1 3")
	})
}

// TestPositionIsMoved has somebody else move the position, back and forth: idle, and past what
// is refused for good.
func TestPositionIsMoved(t *testing.T) {
	run(t, func(t *testing.T, log *table, app *backend, w Webhook) {
		log.write(repeat("orders:eu", 6)...)
		start(t, log, app, w)
		settle(time.Second)
		app.expect("e1 1 2 3", "e1 4 5 6")
		log.set("consumer/mail", store.Cursor{Epoch: "e1", Offset: 4})
		settle(2 * lookEvery)
		app.expect("e1 5 6")
		if _, err := log.DeleteCursor(t.Context(), "consumer/mail"); err != nil {
			t.Fatal(err)
		}
		settle(2 * lookEvery)
		app.expect("e1 1 2 3", "e1 4 5 6")
		app.answers(func(offsets []int64) (int, http.Header, error) {
			if slices.Contains(offsets, 7) {
				return 500, nil, nil
			}
			return 200, nil, nil
		})
		log.write(repeat("orders:eu", 2)...)
		settle(time.Hour)
		app.take()
		log.set("consumer/mail", store.Cursor{Epoch: "e1", Offset: 7})
		settle(2 * lookEvery)
		app.expect("e1 8")
	})
}

// TestPositionIsMovedMeanwhile has somebody else move the position while a request is under
// way: what they say counts.
func TestPositionIsMovedMeanwhile(t *testing.T) {
	for _, to := range []int64{0, 2, 5} {
		t.Run(fmt.Sprint(to), func(t *testing.T) {
			run(t, func(t *testing.T, log *table, app *backend, w Webhook) {
				first := true
				app.answers(func([]int64) (int, http.Header, error) {
					if first {
						log.set(store.ConsumerCursors+"mail", store.Cursor{Epoch: "e1", Offset: to + 1})
					}
					first = false
					return 200, nil, nil
				})
				log.write(repeat("orders:eu", 6)...)
				start(t, log, app, w)
				settle(time.Minute)
				want := map[int64][]string{0: {"e1 1 2 3", "e1 2 3 4", "e1 5 6"}, 2: {"e1 1 2 3", "e1 4 5 6"}, 5: {"e1 1 2 3"}}
				app.expect(want[to]...)
				if at := log.position("mail"); at != "e1:6" {
					t.Errorf("at %s", at)
				}
			})
		})
	}
}

// TestAtLeastOnceInOrder has nodes come and go, an endpoint that fails in every way, a store
// that is away now and then, and somebody who enables what is disabled: each event is
// accepted, and none before those that came before it.
func TestAtLeastOnceInOrder(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			run(t, func(t *testing.T, log *table, app *backend, w Webhook) {
				random, answers := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2)) // answers: guarded by app.mu
				w.Batch = 7
				var reached int64 // all before it were accepted
				app.answers(func(offsets []int64) (int, http.Header, error) {
					app.mu.Lock()
					defer app.mu.Unlock()
					if offsets[0] > reached+1 {
						t.Errorf("%d comes after %d", offsets[0], reached)
					}
					lost := false
					switch answers.IntN(8) {
					case 0:
						return []int{500, 413, 400, 302, 410}[answers.IntN(5)], nil, nil
					case 1:
						return 0, nil, errHangs
					case 2:
						lost = true
					}
					for _, offset := range offsets {
						reached = max(reached, offset)
					}
					if lost {
						return 0, nil, errors.New("the answer is lost")
					}
					return 200, nil, nil
				})
				nodes := []*node{start(t, log, app, w), start(t, log, app, w)}
				written := int64(0)
				for range 60 {
					switch random.IntN(6) {
					case 0:
						i := random.IntN(len(nodes))
						nodes[i].stop()
						nodes[i] = start(t, log, app, w)
					case 1:
						log.fail(&store.UnavailableError{Op: "x", Addr: "y", Err: errors.New("away")})
						settle(time.Duration(random.IntN(30)) * time.Second)
						log.fail(nil)
					case 2:
						_, _ = Enable(t.Context(), log, "mail")
					default:
						n := random.IntN(20)
						log.write(repeat("orders:eu", n)...)
						written += int64(n)
					}
					settle(time.Duration(random.IntN(20)) * time.Second)
				}
				app.answers(nil)
				_, _ = Enable(t.Context(), log, "mail")
				settle(2 * longestPause)
				if at := log.position("mail"); at != fmt.Sprint("e1:", written) {
					t.Errorf("at %s, of %d", at, written)
				}
			})
		})
	}
}
