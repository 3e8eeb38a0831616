package pipeline

import (
	"context"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

// counter is a demand handler that counts from 1 up to last, and notes what it was asked.
type counter struct {
	mu    sync.Mutex
	next  int
	last  int // 0 is no end
	asked []int
	gave  int
}

func (c *counter) demand(_ context.Context, n int) ([]int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, n)
	var events []int
	for range n {
		if c.last > 0 && c.next >= c.last {
			return events, io.EOF
		}
		c.next++
		c.gave++
		events = append(events, c.next)
	}
	return events, nil
}

func (c *counter) given() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gave
}

func (c *counter) askedFor() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.asked)
}

// collector is a sink that remembers the batches it was given. With a gate it lets each
// batch wait for a token.
type collector[T any] struct {
	gate chan struct{}

	mu      sync.Mutex
	batches [][]T
}

func (c *collector[T]) handle(ctx context.Context, events []T) error {
	if c.gate != nil {
		select {
		case <-c.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.batches = append(c.batches, slices.Clone(events))
	return nil
}

func (c *collector[T]) sizes() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	var sizes []int
	for _, b := range c.batches {
		sizes = append(sizes, len(b))
	}
	return sizes
}

func (c *collector[T]) all() []T {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Concat(c.batches...)
}

// failures collects what OnFailure is told.
type failures struct {
	mu  sync.Mutex
	all []Failure
}

func (f *failures) add(failure Failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, failure)
}

func (f *failures) list() []Failure {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.all)
}

// started runs a topology in the background; the function it returns ends it and
// returns what Run did.
func started(t *testing.T, topology *Topology) (end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- topology.Run(ctx) }()
	synctest.Wait()
	return func() error {
		cancel()
		return <-result
	}
}

// ran runs a topology that ends by itself.
func ran(t *testing.T, topology *Topology) {
	t.Helper()
	if err := topology.Run(t.Context()); err != nil {
		t.Fatalf("Run: %v", err)
	}
}

func upTo(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i + 1
	}
	return list
}

func equal[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
