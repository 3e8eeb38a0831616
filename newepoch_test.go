package sluice

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/channels"
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

// Whoever reads of another epoch has the pulse taken at once.
func TestAnotherEpochIsNoticedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHealth()
		log := &chronicle{extent: epochs(5, "a")}
		h.open(log.extent)
		ended := make(chan error, 1) // one send, by watch's goroutine
		go func() { ended <- h.watch(t.Context(), log, func() int64 { return 5 }) }()
		synctest.Wait()
		log.extent = epochs(12, "a", "b")
		if _, err := (faithful{log, h.suspect}).Fetch(t.Context(), 5, store.Limit{}); !errors.Is(err, store.ErrNewEpoch) {
			t.Errorf("fetched, with %v", err)
		}
		began := time.Now()
		if err := <-ended; !errors.Is(err, ErrNewEpoch) || time.Since(began) != 0 {
			t.Errorf("watch ended with %v after %v", err, time.Since(began))
		}
	})
}

// A client may know of an epoch before this node does. It is not told that it
// cannot resume, which would be false.
func TestResumingFromAnEpochUnheardOf(t *testing.T) {
	t.Parallel()
	log := &chronicle{extent: epochs(15, "a", "b")}
	s := &Service{hub: channels.NewHub(nil), health: newHealth()}
	s.health.open(log.extent)
	s.stream.Store(&stream{log: log})
	for _, test := range []struct {
		epoch string
		after int64
		whole bool
		looks int // so far
	}{
		{"", 15, true, 0},
		{"b", 15, true, 0},
		{"a", 10, true, 0},
		{"a", 11, false, 0},
		{"b", 16, false, 1}, // it may be ahead of this node
		{"of another log", 3, false, 2},
	} {
		_, whole, err := history{s}.Resume(t.Context(), test.epoch, test.after)
		if err != nil || whole != test.whole || log.looks != test.looks {
			t.Errorf("%+v: whole %v after %d looks, %v", test, whole, log.looks, err)
		}
	}
	log.extent = epochs(25, "a", "b", "c")
	if _, whole, err := (history{s}).Resume(t.Context(), "c", 22); whole || !errors.Is(err, ErrNewEpoch) {
		t.Errorf("whole %v, %v", whole, err)
	}
	select {
	case <-s.health.suspected:
	default:
		t.Error("the pulse is not due")
	}
}

func TestAReplayMeetsAnotherEpoch(t *testing.T) {
	t.Parallel()
	s := &Service{hub: channels.NewHub(nil), health: newHealth()}
	s.stream.Store(&stream{log: &chronicle{}})
	if _, _, err := (history{s}).Replay(t.Context(), "a", 0, 10, 10, 1000); !errors.Is(err, store.ErrNewEpoch) {
		t.Errorf("replayed, with %v", err)
	}
	select {
	case <-s.health.suspected:
	default:
		t.Error("the pulse is not due")
	}
}

func TestManyWhoLookShareARead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHealth()
		log := &chronicle{extent: epochs(15, "a", "b"), gate: make(chan struct{})}
		h.open(log.extent)
		for range 100 {
			go func() {
				if got, err := h.look(t.Context(), log); err != nil || got.Offset != 15 {
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
