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
	k := &keyedBatching[T, K]{
		batcher: s, name: name, run: r, meter: newMeter(r.topology.recorder(name)),
		starvedC: r.listen(s.Timeout), open: map[K]*group[T, K]{},
	}
	return newFlowNode(r, k.work)
}

// keyedBatching is a KeyBatcher at work, owned by its goroutine. What it holds is bounded by
// the line's demand.
type keyedBatching[T any, K comparable] struct {
	batcher  KeyBatcher[T, K]
	name     string
	run      *run
	meter    *meter
	starvedC <-chan struct{}

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

func (k *keyedBatching[T, K]) work(in <-chan any, out chan<- any) {
	k.timer = time.NewTimer(0)
	k.timer.Stop()
	defer k.timer.Stop()
	k.run.topology.outlive(k.name, func() {
		if b := k.hand; b != nil && !b.ended.Load() {
			k.sort(b)
		}
		k.loop(in, out)
	})
}

func (k *keyedBatching[T, K]) loop(in <-chan any, out chan<- any) {
	for in != nil || len(k.open)+len(k.ready) > 0 {
		if len(k.ready) > 0 {
			b := k.ready[0]
			k.ready = k.ready[1:]
			b.sent = k.meter.sent(len(b.Events))
			out <- b
			k.meter.record()
			continue
		}
		if in == nil || len(k.open) > 0 && k.run.source.starved() && k.batcher.Timeout > 0 {
			k.flush(time.Time{})
			continue
		}
		if k.batcher.Timeout <= 0 && len(k.open) > 0 {
			if in = k.gather(in); len(k.ready) == 0 {
				k.flush(time.Time{})
			}
			continue
		}
		select {
		case element, ok := <-in:
			if !ok {
				in = nil
				continue
			}
			k.add(element)
		case now := <-k.timer.C:
			k.flush(now.Add(-k.batcher.Timeout))
		case <-k.starvedC: // the loop looks at why
		}
	}
}

// gather takes what is there without waiting; it returns nil if the input has closed.
func (k *keyedBatching[T, K]) gather(in <-chan any) <-chan any {
	for len(k.ready) == 0 {
		select {
		case element, ok := <-in:
			if !ok {
				return nil
			}
			k.add(element)
		default:
			return in
		}
	}
	return in
}

func (k *keyedBatching[T, K]) add(element any) {
	if k.hand = received[T](k.run.topology, k.name, element); k.hand != nil {
		k.sort(k.hand)
	}
}

// sort puts a batch's events to those of their keys.
func (k *keyedBatching[T, K]) sort(b *Batch[T]) {
	k.meter.begin(len(b.Events), b.sent)
	keys := make([]K, len(b.Events))
	failed := each(k.run.topology, b.Events, func(i int) error {
		keys[i] = k.batcher.Key(&b.Events[i])
		return nil
	})
	reportEach(k.run, k.name, b, failed)
	k.meter.end(0, len(failed))
	ranges, ok := b.take()
	if !ok {
		return
	}
	var ended []trackedRange
	c := cursor{ranges: ranges}
	for i, f := 0, 0; i < len(keys); i++ {
		if f < len(failed) && failed[f].index == i {
			ended = c.move(1, ended)
			failed[f].index = f
			f++
			continue
		}
		k.put(keys[i], b, i, &c)
	}
	acknowledge(ended, failed)
	k.meter.record()
}

// put appends event i of b, whose range is next in c, to the batch of its key.
func (k *keyedBatching[T, K]) put(key K, b *Batch[T], i int, c *cursor) {
	o := k.open[key]
	if o == nil {
		o = &group[T, K]{key: key, batch: withRanges[T](nil, b.At, nil), since: time.Now()}
		k.open[key] = o
		if k.queue = append(k.queue, o); len(k.queue) == 1 && k.batcher.Timeout > 0 {
			k.timer.Reset(k.batcher.Timeout)
		}
	}
	o.batch.Events = append(o.batch.Events, b.Events[i])
	o.batch.ranges = c.move(1, o.batch.ranges)
	o.batch.count++
	if b.At.Before(o.batch.At) {
		o.batch.At = b.At
	}
	if o.batch.count >= k.batcher.Size {
		k.release(o)
	}
}

// release makes a group ready.
func (k *keyedBatching[T, K]) release(o *group[T, K]) {
	k.ready = append(k.ready, o.batch)
	delete(k.open, o.key)
	i := slices.Index(k.queue, o)
	k.queue = slices.Delete(k.queue, i, i+1)
}

// flush releases groups opened until then; zero is all.
func (k *keyedBatching[T, K]) flush(until time.Time) {
	for len(k.queue) > 0 {
		o := k.queue[0]
		if !until.IsZero() && o.since.After(until) {
			k.timer.Reset(time.Until(o.since.Add(k.batcher.Timeout)))
			return
		}
		k.release(o)
	}
	k.timer.Stop()
}
