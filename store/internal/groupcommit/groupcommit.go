// Package groupcommit lets concurrent callers of Append share commits: what arrives
// while one commit is under way goes with the next, and so does what is about to arrive
// when that begins.
//
// # Guarantees
//
// A call is written whole, in its order, or not at all. One call's bad data
// fails that call alone, and so does a request that is known with another body. A group is bounded in events and bytes (one call of
// any size always fits), and what waits is bounded by the callers that wait.
//
// # Shutdown
//
// A goroutine writes while there is something to write, and ends; Close waits
// for it.
package groupcommit

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/internal/arena"
)

// Bounds of one group. Larger ones gain nothing measurable in throughput and
// make every caller of the group wait longer.
const (
	maxEvents = 4096
	maxBytes  = 4 << 20
)

// maxGather bounds how long a group is kept open while giving way brings more.
const maxGather = time.Millisecond

// writeTimeout ends a write that the database neither finishes nor refuses. A
// caller with less patience has a context of its own.
const writeTimeout = 30 * time.Second

// Write writes a batch in one transaction, but for the drafts of requests that are known.
// An [*store.InvalidError] means that it refused the data and wrote nothing.
type Write func(ctx context.Context, batch *Batch) error

// Group collects calls of Append. The zero value is not usable; see [New].
type Group struct {
	// Immutable after New.
	write      Write
	maxPayload func() int64
	took       *metrics.Timing
	appended   *metrics.Counter

	// Guarded by mu.
	mu      sync.Mutex
	waiting []*call
	writing bool // a writer goroutine runs
	closed  bool

	writers sync.WaitGroup // the writer goroutine, if any
}

type call struct {
	request *store.Request // nil: it may be made any number of times
	drafts  []store.Draft
	bytes   int
	done    chan outcome // sent once by the writer; capacity 1, so that a caller may have left
}

// outcome is what became of a call.
type outcome struct {
	count int
	again bool // it was made before
	err   error
}

// New returns a group that writes with write, one group at a time. maxPayload is how
// many bytes a payload may have at the moment; 0: no bound. Set gets what is appended,
// and how long that takes its callers; nil measures nothing.
func New(write Write, maxPayload func() int64, set *metrics.Set) *Group {
	return &Group{write: write, maxPayload: maxPayload,
		took: set.Timing(metrics.AppendTime), appended: set.Counter(metrics.EventsAppended)}
}

// Append validates drafts and returns once they are written, with other
// callers' or alone. The drafts may be reused when it returns, also when ctx
// ended before they were written.
func (g *Group) Append(ctx context.Context, drafts []store.Draft) error {
	if len(drafts) == 0 {
		return nil
	}
	if err := store.ValidateAll(drafts, g.maxPayload()); err != nil {
		return err
	}
	_, _, err := g.do(ctx, drafts, nil)
	return err
}

// AppendOnce is Append for a request that is written unless it is known: see
// [store.Requests]. It is written also with no drafts.
func (g *Group) AppendOnce(ctx context.Context, request store.Request, drafts []store.Draft) (count int, again bool, err error) {
	if err := store.CheckRequestKey(request.Key); err != nil {
		return 0, false, err
	}
	if err := store.ValidateAll(drafts, g.maxPayload()); err != nil {
		return 0, false, err
	}
	return g.do(ctx, drafts, &store.Request{Key: strings.Clone(request.Key), BodySHA256: request.BodySHA256})
}

func (g *Group) do(ctx context.Context, drafts []store.Draft, request *store.Request) (count int, again bool, err error) {
	began := time.Now()
	c := newCall(drafts)
	c.request = request
	if err := g.enqueue(c); err != nil {
		return 0, false, err
	}
	select {
	case is := <-c.done:
		if is.err == nil && !is.again && is.count > 0 {
			g.took.Observe(time.Since(began))
			g.appended.Add(int64(is.count))
		}
		return is.count, is.again, is.err
	case <-ctx.Done():
		if g.withdraw(c) {
			return 0, false, ctx.Err()
		}
		return 0, false, fmt.Errorf("append of %d events: they may yet be written: %w", len(c.drafts), ctx.Err())
	}
}

// Close refuses further calls, and returns when those that wait are written.
func (g *Group) Close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.writers.Wait()
}

func (g *Group) enqueue(c *call) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return store.ErrClosed
	}
	g.waiting = append(g.waiting, c)
	if !g.writing {
		g.writing = true
		g.writers.Go(g.writeAll)
	}
	return nil
}

// withdraw takes back a call that no group has taken yet.
func (g *Group) withdraw(c *call) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := slices.Index(g.waiting, c)
	if at < 0 {
		return false
	}
	g.waiting = slices.Delete(g.waiting, at, at+1)
	return true
}

// writeAll writes group after group until nobody waits.
func (g *Group) writeAll() {
	for {
		g.gather()
		calls := g.take()
		if calls == nil {
			return
		}
		g.writeGroup(calls)
	}
}

// gather lets who is about to call do so, before a group is closed: those that were told of
// the last one, above all, who often have more. They are ready to run, and where
// processors are few none of them has; without this each of their calls makes a group of
// its own. It ends when giving way brings no more, at once where nobody is about to.
func (g *Group) gather() {
	began := time.Now()
	for seen := -1; ; {
		runtime.Gosched()
		g.mu.Lock()
		waiting := len(g.waiting)
		g.mu.Unlock()
		if waiting <= seen || time.Since(began) >= maxGather {
			return
		}
		seen = waiting
	}
}

// take removes the next group, at least one call, from those that wait. With
// none it ends the writer's turn and returns nil. A request that has come twice is in two
// groups, so that the first is known to the second.
func (g *Group) take() []*call {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.writing = false
		g.waiting = nil
		return nil
	}
	n, events, bytes := 0, 0, 0
	var keys map[string]struct{}
	for _, c := range g.waiting {
		if c.request != nil {
			if _, twice := keys[c.request.Key]; twice {
				break
			}
			if keys == nil {
				keys = map[string]struct{}{}
			}
			keys[c.request.Key] = struct{}{}
		}
		events += len(c.drafts)
		bytes += c.bytes
		if n > 0 && (events > maxEvents || bytes > maxBytes) {
			break
		}
		n++
	}
	calls := slices.Clone(g.waiting[:n])
	g.waiting = slices.Delete(g.waiting, 0, n)
	return calls
}

func (g *Group) writeGroup(calls []*call) {
	err := g.writeOnce(calls)
	var refused *store.InvalidError
	if len(calls) > 1 && errors.As(err, &refused) {
		// The database refused data that passed validation, and with it the
		// whole group: find out whose it was.
		for _, c := range calls {
			g.writeGroup([]*call{c})
		}
		return
	}
	if err != nil {
		for _, c := range calls {
			c.done <- outcome{err: err}
		}
	}
}

// writeOnce writes calls, and tells them if that did not fail.
func (g *Group) writeOnce(calls []*call) error {
	batch := newBatch(calls)
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	if err := g.write(ctx, batch); err != nil {
		return err
	}
	requests := batch.Requests
	for _, c := range calls {
		is := outcome{count: len(c.drafts)}
		if c.request != nil {
			is = requests[0].outcome()
			requests = requests[1:]
		}
		c.done <- is
	}
	return nil
}

// newCall copies drafts into memory of its own: a caller whose context ends
// leaves, and reuses its buffers, while the writer still reads them.
func newCall(drafts []store.Draft) *call {
	size := 0
	for i := range drafts {
		d := &drafts[i]
		size += len(d.Topic) + len(d.Name) + len(d.Key) + max(len(d.Payload), len(emptyPayload))
	}
	memory := make([]byte, 0, size)
	keep := func(text string) []byte {
		start := len(memory)
		memory = append(memory, text...)
		return memory[start:len(memory):len(memory)]
	}
	own := make([]store.Draft, len(drafts))
	for i := range drafts {
		d := &drafts[i]
		payload := arena.Text(d.Payload)
		if payload == "" {
			payload = emptyPayload
		}
		own[i] = store.Draft{Topic: arena.Text(keep(d.Topic)), Name: arena.Text(keep(d.Name)), Payload: keep(payload)}
		if d.Key != nil {
			own[i].Key = keep(arena.Text(d.Key))
		}
	}
	return &call{drafts: own, bytes: size, done: make(chan outcome, 1)}
}

const emptyPayload = "{}"
