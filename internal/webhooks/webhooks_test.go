package webhooks

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/store"
)

// settle gives a while of the test's own clock for what is to happen.
func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// run is a test on a clock of its own.
func run(t *testing.T, test func(t *testing.T, log *table, app *backend, w Webhook)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { test(t, newTable(), &backend{t: t}, hook(t)) })
}

// TestEventsAreSentInOrder sends batches of what matches, and keeps the position.
func TestEventsAreSentInOrder(t *testing.T) {
	run(t, func(t *testing.T, log *table, app *backend, w Webhook) {
		log.write("orders:eu", "users:7", "orders:us", "orders:eu", "orders:eu", "users:8")
		n := start(t, log, app, w)
		settle(time.Second)
		app.expect("e1 1 3 4", "e1 5")
		settle(lookEvery) // what does not match is passed, too
		if at := log.position("mail"); at != "e1:6" {
			t.Errorf("the position is %s", at)
		}
		log.write("users:7")
		log.write("orders:eu")
		settle(time.Second)
		app.expect("e1 8")
		state := n.States()[0]
		if state.State != Sending || state.Offset != 8 || state.Lag != 0 || n.counted(metrics.WebhookEvents) != 5 {
			t.Errorf("%+v, with %d", state, n.counted(metrics.WebhookEvents))
		}
		n.stop()
		log.write(repeat("orders:eu", 4)...)
		start(t, log, app, w) // goes on from there
		settle(time.Second)
		app.expect("e1 9 10 11", "e1 12")
	})
}

// TestQuietLogsCostLittle counts what is committed while nothing matches.
func TestQuietLogsCostLittle(t *testing.T) {
	run(t, func(t *testing.T, log *table, app *backend, w Webhook) {
		start(t, log, app, w)
		for range 600 { // a minute
			log.write("users:7")
			settle(100 * time.Millisecond)
		}
		if log.moves > 1+60/5+1 {
			t.Errorf("%d commits within a minute", log.moves)
		}
		moves := log.moves
		settle(5 * time.Minute)
		if log.moves > moves+1 {
			t.Errorf("%d commits with nothing new", log.moves-moves)
		}
		app.expect()
	})
}

// TestStart has webhooks without a position begin with what is kept, or at the head.
func TestStart(t *testing.T) {
	run(t, func(t *testing.T, log *table, app *backend, w Webhook) {
		log.write(repeat("orders:eu", 4)...)
		log.trim(2)
		late := w
		late.Name, late.FromHead = "late", true
		start(t, log, app, w, late)
		settle(time.Second)
		app.expect("e1 3 4")
		log.write("orders:eu")
		settle(time.Second)
		app.expect("e1 5", "e1 5")
	})
}

// TestBatchesAreBounded has batches end at a number of bytes, but for one event alone.
func TestBatchesAreBounded(t *testing.T) {
	run(t, func(t *testing.T, log *table, app *backend, w Webhook) {
		w.Batch, w.BatchBytes = 100, 400
		var want []string
		log.write(repeat("orders:eu", 3)...)
		log.write("orders:" + strings.Repeat("x", 240))
		log.write("orders:" + strings.Repeat("x", 4000))
		log.write(repeat("orders:eu", 1500)...)
		start(t, log, app, w)
		settle(time.Minute)
		got := app.take()
		want = append(want, "e1 1 2 3", "e1 4", "e1 5", "e1 6 7 8")
		if !slices.Equal(got[:4], want) || len(got) < 503 || len(got) > 800 {
			t.Errorf("%d requests, %q", len(got), got[:4])
		}
		next := 1
		for _, each := range got {
			for _, offset := range strings.Fields(each)[1:] {
				if offset != fmt.Sprint(next) {
					t.Fatalf("%s in place of %d", offset, next)
				}
				next++
			}
		}
		if next != 1506 {
			t.Errorf("the next is %d", next)
		}
	})
}

// TestFailuresAreRepeated has an endpoint fail in each way for an hour: the same request is
// repeated with growing pauses, and nothing else is sent.
func TestFailuresAreRepeated(t *testing.T) {
	for name, answer := range map[string]func([]int64) (int, http.Header, error){
		"500": status(500), "404": status(404), "401": status(401), "302": status(302), "103": status(103),
		"no connection": func([]int64) (int, http.Header, error) { return 0, nil, errors.New("refused") },
		"429": func([]int64) (int, http.Header, error) {
			return 429, http.Header{"Retry-After": {"86400"}}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, log *table, app *backend, w Webhook) {
				app.answers(answer)
				log.write("orders:eu")
				n := start(t, log, app, w)
				settle(time.Minute)
				log.write("orders:eu")
				settle(time.Hour)
				state, times := n.States()[0], app.times()
				if state.State != Failing || state.FailingSince == nil || state.Lag != 2 || state.Error == "" || log.position("mail") != "e1:0" {
					t.Errorf("%+v at %s", state, log.position("mail"))
				}
				for i := 1; i < len(times); i++ {
					pause := times[i].Sub(times[i-1])
					least := min(firstPause<<min(i-1, 10), longestPause) * 3 / 4
					if pause < least || pause > longestPause+longestPause/4 {
						t.Errorf("pause %d is %v", i, pause)
					}
				}
				if len(times) < 12 || len(times) > 30 {
					t.Errorf("%d requests within an hour", len(times))
				}
				for _, each := range app.take() {
					if each != "e1 1" {
						t.Errorf("asked %q", each)
					}
				}
				if said := n.said.String(); strings.Count(said, "is not accepted") > 61 || !strings.Contains(said, "behind=1") {
					t.Errorf("it says %s", said)
				}
				app.answers(nil)
				settle(2 * longestPause)
				app.expect("e1 1", "e1 2")
				if state := n.States()[0]; state.State != Sending || state.FailingSince != nil || !strings.Contains(n.said.String(), "accepted again") {
					t.Errorf("%+v", state)
				}
			})
		})
	}
}

// TestOneThatFailsHoldsUpNoOther has one of two webhooks fail, or not answer at all.
func TestOneThatFailsHoldsUpNoOther(t *testing.T) {
	for name, answer := range map[string]func([]int64) (int, http.Header, error){
		"fails": status(503), "hangs": func([]int64) (int, http.Header, error) { return 0, nil, errHangs },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, log *table, app *backend, w Webhook) {
				other := w
				other.Name, other.Match = "other", "users:*"
				app.answers(func(offsets []int64) (int, http.Header, error) {
					if offsets[0] == 1 {
						return answer(offsets)
					}
					return 200, nil, nil
				})
				log.write("orders:eu", "users:7")
				start(t, log, app, w, other)
				settle(time.Second)
				log.write("users:8")
				settle(time.Second)
				if got := app.take(); !slices.Contains(got, "e1 2") || !slices.Contains(got, "e1 3") {
					t.Errorf("asked %q", got)
				}
			})
		})
	}
}

// TestWhoDoesNotAnswerIsLeft gives up waiting after the timeout, and asks again.
func TestWhoDoesNotAnswerIsLeft(t *testing.T) {
	run(t, func(t *testing.T, log *table, app *backend, w Webhook) {
		app.answers(func([]int64) (int, http.Header, error) { return 0, nil, errHangs })
		log.write("orders:eu")
		n := start(t, log, app, w)
		settle(w.Timeout + 2*time.Second)
		app.expect("e1 1", "e1 1")
		if state := n.States()[0]; state.Error != "no answer within 10s" {
			t.Errorf("%+v", state)
		}
	})
}

// TestWhatIsRefusedIsCut finds the one event that an endpoint refuses, and gives it up.
func TestWhatIsRefusedIsCut(t *testing.T) {
	for _, code := range []int{400, 413, 422} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			run(t, func(t *testing.T, log *table, app *backend, w Webhook) {
				w.Batch, w.GiveUpAfter = 8, 10*time.Minute
				app.answers(func(offsets []int64) (int, http.Header, error) {
					if slices.Contains(offsets, 6) {
						return code, nil, nil
					}
					return 200, nil, nil
				})
				log.write(repeat("orders:eu", 9)...)
				n := start(t, log, app, w)
				settle(time.Minute)
				got := app.take()
				if got = slices.Compact(got); !slices.Equal(got, []string{"e1 1 2 3 4 5 6 7 8", "e1 1 2 3 4", "e1 5 6 7 8", "e1 5 6", "e1 5", "e1 6"}) {
					t.Errorf("asked %q", got)
				}
				settle(20 * time.Minute)
				if got = slices.Compact(app.take()); got[0] != "e1 6" || got[len(got)-1] != "e1 9" {
					t.Errorf("asked %q", got)
				}
				if n.counted(metrics.WebhookSkipped) != 1 || n.counted(metrics.WebhookEvents) != 8 || !strings.Contains(n.said.String(), "given events up") {
					t.Errorf("%d were skipped: %s", n.counted(metrics.WebhookSkipped), n.said)
				}
			})
		})
	}
}

// TestBatchesGrowAgain has an endpoint that takes two events at a time, and later more.
func TestBatchesGrowAgain(t *testing.T) {
	run(t, func(t *testing.T, log *table, app *backend, w Webhook) {
		w.Batch = 8
		app.answers(func(offsets []int64) (int, http.Header, error) {
			if len(offsets) > 2 {
				return 413, nil, nil
			}
			return 200, nil, nil
		})
		log.write(repeat("orders:eu", 2*growAfter)...)
		n := start(t, log, app, w)
		settle(time.Minute)
		if got := len(app.take()); got != growAfter+2 || n.States()[0].Lag != 0 {
			t.Errorf("%d requests, %+v", got, n.States())
		}
		app.answers(nil)
		log.write(repeat("orders:eu", 4*growAfter+16)...)
		settle(time.Minute)
		if got := app.take(); len(strings.Fields(got[0])) != 5 || len(strings.Fields(got[len(got)-1])) != 9 {
			t.Errorf("asked %q", got)
		}
	})
}

// TestGone disables a webhook for all nodes until it is enabled.
func TestGone(t *testing.T) {
	run(t, func(t *testing.T, log *table, app *backend, w Webhook) {
		app.answers(status(http.StatusGone))
		log.write("orders:eu")
		n := start(t, log, app, w)
		settle(time.Hour)
		app.expect("e1 1")
		if state := n.States()[0]; state.State != Disabled {
			t.Errorf("%+v", state)
		}
		n.stop()
		n = start(t, log, app, w)
		settle(time.Hour)
		app.expect()
		app.answers(nil)
		for _, want := range []bool{true, false} {
			if was, err := Enable(t.Context(), log, "mail"); was != want || err != nil {
				t.Errorf("enabled: %v, %v", was, err)
			}
		}
		settle(2 * lookEvery)
		app.expect("e1 1")
		if state := n.States()[0]; state.State != Sending {
			t.Errorf("%+v", state)
		}
	})
}

// TestResets tells of what is no longer kept, or was taken back, once.
func TestResets(t *testing.T) {
	for name, c := range map[string]struct {
		at     store.Cursor
		want   []string
		lost   int64
		refuse bool
	}{
		"in step":            {store.Cursor{Epoch: "e2", Offset: 20}, []string{"e2 21"}, 0, false},
		"trimmed":            {store.Cursor{Epoch: "e2", Offset: 4}, []string{"e2 reset e2:4-15", "e2 16 17 18", "e2 19 20 21"}, 11, false},
		"shared":             {store.Cursor{Epoch: "e1", Offset: 18}, []string{"e2 reset e1:18-18", "e2 19 20 21"}, 0, false},
		"taken back":         {store.Cursor{Epoch: "e1", Offset: 25}, []string{"e2 reset e1:25-18", "e2 19 20 21"}, 0, false},
		"of nobody knows":    {store.Cursor{Epoch: "e9", Offset: 25}, []string{"e2 reset e9:25-15", "e2 16 17 18", "e2 19 20 21"}, 0, false},
		"beyond":             {store.Cursor{Epoch: "e2", Offset: 25}, []string{"e2 reset e2:25-21"}, 0, false},
		"trimmed and refuse": {store.Cursor{Epoch: "e2", Offset: 4}, []string{"e2 reset e2:4-15", "e2 reset e2:4-15", "e2 16 17 18", "e2 19 20 21"}, 11, true},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, log *table, app *backend, w Webhook) {
				log.write(repeat("orders:eu", 21)...)
				log.trim(15)
				log.extent.Epoch, log.extent.Epochs = "e2", []store.Epoch{{ID: "e1", First: 1}, {ID: "e2", First: 19}}
				log.set("consumer/mail", c.at)
				if c.refuse {
					first := true
					app.answers(func([]int64) (int, http.Header, error) {
						defer func() { first = false }()
						if first {
							return 500, nil, nil
						}
						return 200, nil, nil
					})
				}
				n := start(t, log, app, w)
				settle(time.Minute)
				app.expect(c.want...)
				if log.position("mail") != "e2:21" || n.counted(metrics.ConsumerLost) != c.lost {
					t.Errorf("at %s, lost %d", log.position("mail"), n.counted(metrics.ConsumerLost))
				}
			})
		})
	}
}

// TestTrimmedWhileItFails is told when the endpoint is back.
func TestTrimmedWhileItFails(t *testing.T) {
	run(t, func(t *testing.T, log *table, app *backend, w Webhook) {
		app.answers(status(500))
		log.write(repeat("orders:eu", 6)...)
		start(t, log, app, w)
		settle(time.Minute)
		log.trim(5)
		app.take()
		app.answers(nil)
		settle(2 * longestPause)
		app.expect("e1 1 2 3", "e1 reset e1:3-5", "e1 6")
	})
}
