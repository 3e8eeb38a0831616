package sluice

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/sluicehq/sluice/store"
)

const (
	// pulseInterval is how often the log is asked for its head.
	pulseInterval = time.Second
	// stallAfter is how long the line may have work and not move before this
	// node is no longer ready.
	stallAfter = 5 * time.Second
)

var (
	errStarting = errors.New("the store has not been opened yet")
	errDraining = errors.New("the service is shutting down")
)

// health knows whether this node does its work, and if not, why.
type health struct {
	mu sync.Mutex
	// Guarded by mu.
	trouble error // nil when all is well
	head    int64 // the log's last known offset
	trimmed int64 // offsets up to this one were no longer kept then
	routed  int64 // this node's position when it last moved
	moved   time.Time
}

func newHealth() *health { return &health{trouble: errStarting} }

// reason is why the node is not ready, nil when it is.
func (h *health) reason() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.trouble
}

// drain says that the node is about to stop: that is the last to be said.
func (h *health) drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.trouble = errDraining
}

// fail says why the node is not ready.
func (h *health) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.trouble != errDraining {
		h.trouble = err
	}
}

// watch takes the log's pulse until ctx ends: is it there, and does routed
// follow its head?
func (h *health) watch(ctx context.Context, log store.Log, routed func() int64) {
	ticker := time.NewTicker(pulseInterval)
	defer ticker.Stop()
	for {
		h.beat(ctx, log, routed)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (h *health) beat(ctx context.Context, log store.Log, routed func() int64) {
	limited, cancel := context.WithTimeout(ctx, stallAfter)
	defer cancel()
	head, err := log.Head(limited)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		h.fail(err)
		return
	}
	h.see(head, routed(), time.Now())
}

// see judges the line by the log's head and the position that has been routed.
func (h *health) see(log store.Head, routed int64, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if routed != h.routed || routed >= log.Offset || h.moved.IsZero() {
		h.routed, h.moved = routed, now
	}
	h.head, h.trimmed = log.Offset, log.Trimmed
	switch idle := now.Sub(h.moved); {
	case h.trouble == errDraining:
	case idle >= stallAfter:
		h.trouble = fmt.Errorf("the line has not moved from offset %d for %v, and the log's head is %d", routed, idle.Round(time.Second), log.Offset)
	default:
		h.trouble = nil
	}
}

// extent is the log's head, and what of it is no longer kept, as last seen.
func (h *health) extent() (head, trimmed int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.head, h.trimmed
}

func (s *Service) getHealth(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]string{"status": "alive"})
}

func (s *Service) getReadiness(w http.ResponseWriter, _ *http.Request) {
	if err := s.health.reason(); err != nil {
		refuse(w, http.StatusServiceUnavailable, err.Error(), "the log of this node says more")
		return
	}
	answer(w, http.StatusOK, map[string]string{"status": "ready"})
}
