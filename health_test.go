package sluice

import (
	"errors"
	"testing"
	"time"

	"github.com/sluicehq/sluice/store"
)

func TestHealth(t *testing.T) {
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
			h := newHealth()
			if h.reason() == nil {
				t.Error("ready before the log was seen")
			}
			last := start
			for i, s := range test.sights {
				// Idle time is seen each second, as watch does it.
				for now := last; now.Before(start.Add(s.after)); now = now.Add(time.Second) {
					if i > 0 {
						h.see(store.Head{Offset: test.sights[i-1].head}, test.sights[i-1].routed, now)
					}
				}
				last = start.Add(s.after)
				h.see(store.Head{Offset: s.head}, s.routed, last)
				if err := h.reason(); (err == nil) != s.ready {
					t.Errorf("after %v at %d of %d: %v", s.after, s.routed, s.head, err)
				}
			}
		})
	}
}

func TestHealthStaysDraining(t *testing.T) {
	t.Parallel()
	h := newHealth()
	h.see(store.Head{Offset: 1}, 1, time.Now())
	h.drain()
	h.see(store.Head{Offset: 1}, 1, time.Now())
	h.fail(errors.New("gone"))
	if h.reason() != errDraining {
		t.Errorf("got %v", h.reason())
	}
}
