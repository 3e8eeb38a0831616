package socket

import (
	"context"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
)

// Connections are drained in batches, so that the clients, which connect again
// at once, do not all do so at the same time.
const (
	drainBatch = 100
	drainPause = 50 * time.Millisecond
)

// Run waits for ctx to end, and then for all connections to: it refuses new
// ones, closes the open ones in batches once what is queued for them is
// written, and cuts what is left after Config.DrainTimeout. It returns when
// everything that the endpoint has started has ended, with an error if
// connections had to be cut.
func (e *Endpoint) Run(ctx context.Context) error {
	<-ctx.Done()
	defer e.cancel()
	defer e.loops.stop()
	e.mu.Lock()
	e.draining = true
	e.mu.Unlock()
	e.refuse()
	e.guard.Drain(e.config.closeTimeout)

	ended := make(chan struct{}) // closed by the goroutine below when all connections have ended
	go func() {
		e.group.Wait()
		close(ended)
	}()
	deadline := time.NewTimer(e.config.DrainTimeout)
	defer deadline.Stop()

	pause := time.NewTicker(drainPause)
	defer pause.Stop()
	conns := e.snapshot()
	size := drainSize(len(conns), e.config.DrainTimeout)
	for len(conns) > 0 {
		n := min(size, len(conns))
		for _, c := range conns[:n] {
			c.shut(draining, "")
		}
		conns = conns[n:]
		select {
		case <-pause.C:
		case <-ended:
		case <-deadline.C:
			return e.cut(ended)
		}
	}
	select {
	case <-ended:
		return nil
	case <-deadline.C:
		return e.cut(ended)
	}
}

// drainSize is how many connections to close at a time, so that the last are
// told when half of the time is over.
func drainSize(conns int, timeout time.Duration) int {
	batches := max(int(timeout/drainPause)/2, 1)
	return max(drainBatch, (conns+batches-1)/batches)
}

// cut ends all connections without a word, and waits for them.
func (e *Endpoint) cut(ended <-chan struct{}) error {
	e.cancel()
	conns := e.snapshot()
	for _, c := range conns {
		c.cut(closedDrain, outbound.DropClosed)
	}
	<-ended
	return fmt.Errorf("socket: %d connections did not end within %s and were cut", len(conns), e.config.DrainTimeout)
}
