package stages

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/store"
)

// chronicle is a log of which only the extent is asked.
type chronicle struct {
	store.Log
	extent store.Extent
	gate   chan struct{} // each look waits for one; nil: none does

	mu    sync.Mutex
	looks int
}

func (c *chronicle) Head(context.Context) (store.Head, error) { return c.extent.Head, nil }

func (c *chronicle) Sequencing(context.Context) error { return nil }

func (c *chronicle) Extent(context.Context) (store.Extent, error) {
	c.mu.Lock()
	c.looks++
	c.mu.Unlock()
	if c.gate != nil {
		<-c.gate
	}
	return c.extent, nil
}

func (c *chronicle) Replay(context.Context, string, int64, int64, store.Limit) ([]store.Event, int64, error) {
	return nil, 0, store.ErrNewEpoch
}

func (c *chronicle) Tail(context.Context, string, int, int64, string) (int64, error) {
	return 0, store.ErrNewEpoch
}

func (c *chronicle) Fetch(context.Context, int64, store.Limit) ([]store.Event, error) {
	return nil, store.ErrNewEpoch
}

func epochs(head int64, ids ...string) store.Extent {
	h := store.Extent{Head: store.Head{Epoch: ids[len(ids)-1], Offset: head}}
	for i, id := range ids {
		h.Epochs = append(h.Epochs, store.Epoch{ID: id, First: int64(1 + 10*i)})
	}
	return h
}

// unready is a monitor that has not seen the log.
func unready() *Monitor {
	return NewMonitor(NewReadiness(slog.New(slog.DiscardHandler)), nil, nil)
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	type sight struct {
		after        time.Duration
		head, routed int64
		ready        bool
	}
	for _, test := range []struct {
		name   string
		sights []sight
	}{
		{"nothing to do, for ever", []sight{{0, 0, 0, true}, {time.Hour, 0, 0, true}}},
		{"behind, but moving", []sight{{0, 100, 1, true}, {4 * time.Second, 100, 2, true}, {8 * time.Second, 100, 3, true}}},
		{"work and no motion", []sight{{0, 100, 7, true}, {4 * time.Second, 100, 7, true}, {5 * time.Second, 100, 7, false}, {6 * time.Second, 100, 8, true}}},
		{"idle, then work", []sight{{0, 7, 7, true}, {time.Hour, 9, 7, true}, {time.Hour + 5*time.Second, 9, 7, false}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := unready()
			if m.readiness.Reason() == nil {
				t.Error("ready before the log was seen")
			}
			last := start
			for i, s := range test.sights {
				// Idle time is seen each second, as watch does it.
				for now := last; now.Before(start.Add(s.after)); now = now.Add(time.Second) {
					if i > 0 {
						m.see(store.Head{Offset: test.sights[i-1].head}, test.sights[i-1].routed, now)
					}
				}
				last = start.Add(s.after)
				m.see(store.Head{Offset: s.head}, s.routed, last)
				if err := m.readiness.Reason(); (err == nil) != s.ready {
					t.Errorf("after %v at %d of %d: %v", s.after, s.routed, s.head, err)
				}
			}
		})
	}
}

// TestReadinessIsOfThePulse has the process be stopped for a while: what it found
// before that counts no more.
func TestReadinessIsOfThePulse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := unready()
		log := &chronicle{extent: epochs(1, "a")}
		m.Open(log.extent)
		for range 3 {
			if err := m.beat(t.Context(), log, func() int64 { return 1 }); err != nil {
				t.Fatal(err)
			}
			for _, step := range []struct {
				pause time.Duration
				ready bool
			}{{pulseInterval + stallAfter, true}, {maxPulseAge, false}} {
				time.Sleep(step.pause) // of the test's own clock
				var pulse *pulseError
				reason, own := m.readiness.Reason(), m.readiness.OwnReason()
				if (reason == nil) != step.ready || reason != nil && (!errors.As(own, &pulse) || Outline(reason) != reason.Error()) {
					t.Errorf("after %v: %v, and of its own %v", step.pause, reason, own)
				}
			}
		}
	})
}

func TestReadinessStaysDraining(t *testing.T) {
	t.Parallel()
	m := unready()
	m.see(store.Head{Offset: 1}, 1, time.Now())
	m.readiness.Drain()
	m.see(store.Head{Offset: 1}, 1, time.Now())
	m.readiness.Fail(errors.New("gone"))
	if m.readiness.Reason() != ErrDraining {
		t.Errorf("got %v", m.readiness.Reason())
	}
}

// Whoever reads of another epoch has the pulse taken at once.
func TestAnotherEpochIsNoticedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := unready()
		log := &chronicle{extent: epochs(5, "a")}
		m.Open(log.extent)
		ended := make(chan error, 1) // one send, by watch's goroutine
		go func() { ended <- m.Watch(t.Context(), log, func() int64 { return 5 }) }()
		synctest.Wait()
		log.extent = epochs(12, "a", "b")
		if _, err := WatchEpoch(log, m.Suspect).Fetch(t.Context(), 5, store.Limit{}); !errors.Is(err, store.ErrNewEpoch) {
			t.Errorf("fetched, with %v", err)
		}
		began := time.Now()
		if err := <-ended; !errors.Is(err, ErrNewEpoch) || time.Since(began) != 0 {
			t.Errorf("watch ended with %v after %v", err, time.Since(began))
		}
	})
}

func TestManyWhoLookShareARead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := unready()
		log := &chronicle{extent: epochs(15, "a", "b"), gate: make(chan struct{})}
		m.Open(log.extent)
		for range 100 {
			go func() {
				if got, err := m.Look(t.Context(), log); err != nil || got.Offset != 15 {
					t.Errorf("looked, and saw %+v, %v", got, err)
				}
			}()
		}
		close(log.gate)
		synctest.Wait()
		if log.looks > 2 { // one that began before the last of them asked, and one after
			t.Errorf("%d reads", log.looks)
		}
	})
}

// stalling is a log that events do not get into.
type stalling struct {
	chronicle
	err error
}

func (s *stalling) Sequencing(context.Context) error { return s.err }

// TestReasonsAreToldEveryMinute has nobody sequence for some minutes.
func TestReasonsAreToldEveryMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &stalling{chronicle: chronicle{extent: epochs(1, "a")}}
		var lines bytes.Buffer
		m := NewMonitor(NewReadiness(slog.New(slog.NewTextHandler(&lines, nil))), nil, nil)
		m.Open(log.extent)
		log.err = &store.StalledError{For: 7 * time.Second, Err: errors.New("permission denied: grant it")}
		began := time.Now()
		for time.Since(began) < 5*time.Minute {
			if err := m.beat(t.Context(), log, func() int64 { return 1 }); err != nil {
				t.Fatal(err)
			}
			if m.readiness.Reason() == nil || m.readiness.OwnReason() != nil {
				t.Fatalf("not ready because of %v, and of its own for %v", m.readiness.Reason(), m.readiness.OwnReason())
			}
			time.Sleep(pulseInterval) // of the test's own clock
		}
		if told := strings.Count(lines.String(), "grant it"); told != 5 {
			t.Errorf("told %d times in five minutes:\n%s", told, &lines)
		}
		log.err = nil
		if err := m.beat(t.Context(), log, func() int64 { return 1 }); err != nil || m.readiness.Reason() != nil || !strings.Contains(lines.String(), "ready again") {
			t.Errorf("%v, %v, and it said:\n%s", err, m.readiness.Reason(), &lines)
		}
	})
}
