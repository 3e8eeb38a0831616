package pipeline

import (
	"slices"
	"time"

	"github.com/reugn/go-streams"
)

// KeyBatcher joins events of one key into batches of their own, each with the size
// and the time of a [Batcher]. Order is kept within a key, not between keys.
type KeyBatcher[T any, K comparable] struct {
	// Name of the stage. Empty is "batch".
	Name string
	// Key of an event. One that panics fails its event.
	Key func(*T) K
	// Size is the most events in a batch. Zero is DefaultBatch.
	Size int
	// Timeout is how long a batch waits for more. Zero: all go as soon as nothing more is there.
	Timeout time.Duration
}

func (s KeyBatcher[T, K]) shape() shape { return Batcher[T]{Name: s.Name}.shape() }

func (s KeyBatcher[T, K]) flow(r *run) streams.Flow {
	if s.Size <= 0 {
		s.Size = DefaultBatch
	}
	name := Batcher[T]{Name: s.Name}.name()
	g := &grouper[T, K]{
		batcher: s, name: name, run: r, meter: newMeter(r.topology.recorder(name)),
		hungry: r.listen(s.Timeout), open: map[K]*group[T, K]{},
	}
	return newConduit(r, g.work)
}

// grouper is a KeyBatcher at work, owned by its goroutine. What it holds is bounded by
// the line's demand.
type grouper[T any, K comparable] struct {
	batcher KeyBatcher[T, K]
	name    string
	run     *run
	meter   *meter
	hungry  <-chan struct{}

	open  map[K]*group[T, K]
	queue []*group[T, K] // the open ones, oldest first
	ready []*Batch[T]    // to be sent; nothing is received meanwhile
	hand  *Batch[T]      // being sorted
	timer *time.Timer
}

type group[T any, K comparable] struct {
	key   K
	batch *Batch[T]
	since time.Time
}

func (g *grouper[T, K]) work(in <-chan any, out chan<- any) {
	g.timer = time.NewTimer(0)
	g.timer.Stop()
	defer g.timer.Stop()
	g.run.topology.outlive(g.name, func() {
		if b := g.hand; b != nil && !b.ended.Load() {
			g.sort(b)
		}
		g.loop(in, out)
	})
}

func (g *grouper[T, K]) loop(in <-chan any, out chan<- any) {
	for in != nil || len(g.open)+len(g.ready) > 0 {
		if len(g.ready) > 0 {
			b := g.ready[0]
			g.ready = g.ready[1:]
			b.sent = g.meter.sent(len(b.Events))
			out <- b
			g.meter.record()
			continue
		}
		if in == nil || len(g.open) > 0 && g.run.source.starved() && g.batcher.Timeout > 0 {
			g.flush(time.Time{})
			continue
		}
		if g.batcher.Timeout <= 0 && len(g.open) > 0 {
			if in = g.gather(in); len(g.ready) == 0 {
				g.flush(time.Time{})
			}
			continue
		}
		select {
		case element, ok := <-in:
			if !ok {
				in = nil
				continue
			}
			g.add(element)
		case now := <-g.timer.C:
			g.flush(now.Add(-g.batcher.Timeout))
		case <-g.hungry: // the loop looks at why
		}
	}
}

// gather takes what is there without waiting; it returns nil if the input has closed.
func (g *grouper[T, K]) gather(in <-chan any) <-chan any {
	for len(g.ready) == 0 {
		select {
		case element, ok := <-in:
			if !ok {
				return nil
			}
			g.add(element)
		default:
			return in
		}
	}
	return in
}

func (g *grouper[T, K]) add(element any) {
	if g.hand = received[T](g.run.topology, g.name, element); g.hand != nil {
		g.sort(g.hand)
	}
}

// sort puts a batch's events to those of their keys.
func (g *grouper[T, K]) sort(b *Batch[T]) {
	g.meter.begin(len(b.Events), b.sent)
	keys := make([]K, len(b.Events))
	failed := each(g.run.topology, b.Events, func(i int) error {
		keys[i] = g.batcher.Key(&b.Events[i])
		return nil
	})
	reportEach(g.run, g.name, b, failed)
	g.meter.end(0, len(failed))
	shares, ok := b.take()
	if !ok {
		return
	}
	var ended []share
	c := cursor{shares: shares}
	for i, f := 0, 0; i < len(keys); i++ {
		if f < len(failed) && failed[f].index == i {
			ended = c.move(1, ended)
			failed[f].index = f
			f++
			continue
		}
		g.put(keys[i], b, i, &c)
	}
	settle(ended, failed)
	g.meter.record()
}

// put appends event i of b, whose receipt is next in c, to the batch of its key.
func (g *grouper[T, K]) put(key K, b *Batch[T], i int, c *cursor) {
	o := g.open[key]
	if o == nil {
		o = &group[T, K]{key: key, batch: withShares[T](nil, b.At, nil), since: time.Now()}
		g.open[key] = o
		if g.queue = append(g.queue, o); len(g.queue) == 1 && g.batcher.Timeout > 0 {
			g.timer.Reset(g.batcher.Timeout)
		}
	}
	o.batch.Events = append(o.batch.Events, b.Events[i])
	o.batch.shares = c.move(1, o.batch.shares)
	o.batch.count++
	if b.At.Before(o.batch.At) {
		o.batch.At = b.At
	}
	if o.batch.count >= g.batcher.Size {
		g.release(o)
	}
}

// release makes a group ready.
func (g *grouper[T, K]) release(o *group[T, K]) {
	g.ready = append(g.ready, o.batch)
	delete(g.open, o.key)
	i := slices.Index(g.queue, o)
	g.queue = slices.Delete(g.queue, i, i+1)
}

// flush releases groups opened until then; zero is all.
func (g *grouper[T, K]) flush(until time.Time) {
	for len(g.queue) > 0 {
		o := g.queue[0]
		if !until.IsZero() && o.since.After(until) {
			g.timer.Reset(time.Until(o.since.Add(g.batcher.Timeout)))
			return
		}
		g.release(o)
	}
	g.timer.Stop()
}
