package relay

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/internal/ring"
	"github.com/sluicehq/sluice/store"
)

const (
	// maxQueued bounds the bytes that wait to be published, unless it is one batch.
	maxQueued = 4 << 20
	// patience is how long this node's own line may take to read what was sequenced
	// before it is read for the others.
	patience = 2 * time.Millisecond
	// stalled is how long a line may not read that others are not to outrun, unless
	// Config.stalled says otherwise.
	stalled = time.Second
	// aheadSize bounds a read for the others, in events.
	aheadSize = 500
)

// publisher publishes what this process's sequencer has moved. Most of it is read
// already: along with its round, or by this node's own line, which the database sees
// anyway. The rest it reads itself.
type publisher struct {
	log *Log // immutable

	others atomic.Int64  // nodes that there are besides this one
	wakes  chan struct{} // sent to by who has changed what follows, without blocking; received by run; holds one
	turn   chan struct{} // whoever is in it, and only one at a time, reads what is published next

	mu sync.Mutex
	// Guarded by mu.
	through int64 // rounds of this process have moved all up to here from begun on
	queued  int64 // what is up to here is queued, published, or never to be
	fresh   bool  // others may have published before what is queued next
	queue   ring.Ring[batch]
	bytes   int       // of the queue
	line    int64     // how far this node's own line has read
	moved   time.Time // when the line did last

	// Owned by run.
	epoch   string // of what was published last
	sent    int64  // up to here it was; 0: others may have published since
	scratch []byte // of the last page
}

// batch is events to be published, which follow one another.
type batch struct {
	epoch  string
	fresh  bool
	events []store.Event
	bytes  int
}

func (p *publisher) init(log *Log) {
	p.log, p.fresh = log, true
	p.wakes = make(chan struct{}, 1)
	p.turn = make(chan struct{}, 1)
}

// wanted tells whether any node receives what is published.
func (p *publisher) wanted() bool { return p.others.Load() > 0 }

// sequenced takes what a round has moved. It is called by the sequencer, and waits for
// nothing.
func (p *publisher) sequenced(s store.Sequenced) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.After != p.through { // others have, in between
		if p.wanted() {
			p.log.counted.unread.Add(max(p.through-p.queued, 0))
		}
		p.queued, p.fresh = s.After, true
	}
	p.through = s.Through
	if !p.wanted() {
		p.queued = s.Through
		return
	}
	p.claim(s.Epoch, s.Events)
	p.wake()
}

// offer takes what was read of an epoch, if it is to be published and was not yet.
func (p *publisher) offer(epoch string, events []store.Event) {
	if epoch == "" || len(events) == 0 || !p.wanted() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.claim(epoch, events)
	p.wake()
}

// claim queues those events that are the next to be published. It is called with mu
// held.
func (p *publisher) claim(epoch string, events []store.Event) {
	for len(events) > 0 && events[0].Offset <= p.queued {
		events = events[min(p.queued+1-events[0].Offset, int64(len(events))):]
	}
	if len(events) == 0 || events[0].Offset != p.queued+1 {
		return
	}
	events = events[:min(p.through-p.queued, int64(len(events)))]
	if len(events) == 0 {
		return
	}
	b := batch{epoch: epoch, fresh: p.fresh, events: events}
	for i := range events {
		b.bytes += encodedSize(&events[i])
	}
	p.queued += int64(len(events))
	if p.queue.Len() > 0 && p.bytes+b.bytes > maxQueued {
		p.log.counted.queueFull.Add(int64(len(events)))
		return // who receives what follows sees that something is missing
	}
	p.fresh = false
	p.queue.Push(b)
	p.bytes += b.bytes
}

func (p *publisher) wake() {
	select {
	case p.wakes <- struct{}{}:
	default:
	}
}

// next is the first batch of the queue. It stays there until it was published: this
// node's line may read it meanwhile.
func (p *publisher) next() (b batch, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.queue.Len() == 0 {
		return batch{}, false
	}
	return *p.queue.At(0), true
}

// pop takes the first batch out of the queue.
func (p *publisher) pop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes -= p.queue.Pop().bytes
}

// take returns events of an epoch that are queued, none if the next one after an offset is
// not.
func (p *publisher) take(epoch string, after int64, limit store.Limit) []store.Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	if after >= p.queued {
		return nil
	}
	for i := range p.queue.Len() {
		b := p.queue.At(i)
		if first := b.events[0].Offset; b.epoch == epoch && first <= after+1 && after+1 < first+int64(len(b.events)) {
			rest := b.events[after+1-first:]
			n, _ := within(rest, limit, new(int))
			return rest[:n:n]
		}
	}
	return nil
}

// hasMoved tells whether rounds of this process have moved what is after an offset:
// nobody else publishes that.
func (p *publisher) hasMoved(after int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return after < p.through
}

// reading notes that this node's line reads after an offset.
func (p *publisher) reading(after int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line, p.moved = max(p.line, after), time.Now()
}

// read reads the database, and publishes what it brings if that is this node's to do.
// Who reads what is to be published next does so alone; what has been read for the others
// since the caller looked is not read again.
func (p *publisher) read(ctx context.Context, after int64, limit store.Limit) ([]store.Event, error) {
	l := p.log
	if p.isNext(after) {
		select {
		case p.turn <- struct{}{}:
			defer func() { <-p.turn }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if p.hasMoved(after) {
		if events := l.fromPages(after, limit); len(events) > 0 {
			return events, nil
		}
	}
	events, err := l.source.Fetch(ctx, after, limit)
	if len(events) > 0 {
		l.counted.misses.Add(1)
		p.offer(limit.Epoch, events)
	}
	return events, err
}

// isNext tells whether what is after an offset is to be published next.
func (p *publisher) isNext(after int64) bool {
	if !p.wanted() {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return after == p.queued && after < p.through
}

// run publishes until ctx ends.
func (p *publisher) run(ctx context.Context) {
	marks := time.NewTicker(markInterval)
	defer marks.Stop()
	ahead := time.NewTimer(patience)
	defer ahead.Stop()
	waits := int64(-1) // the offset after which the timer is set for what nobody has read; -1: it is not
	for {
		p.publishQueued()
		switch after, behind := p.isBehind(); {
		case !behind:
			ahead.Stop()
			waits = -1
		case after != waits: // more rounds do not put it off
			ahead.Reset(patience)
			waits = after
		}
		select {
		case <-ctx.Done():
			return
		case <-p.wakes:
		case <-marks.C:
			p.mark()
		case <-ahead.C:
			waits = -1
			p.readAhead(ctx)
		}
	}
}

// publishQueued publishes what is queued, and has this node read it from pages too.
func (p *publisher) publishQueued() {
	for b, ok := p.next(); ok; b, ok = p.next() {
		p.publish(b)
		p.pop()
	}
}

// isBehind tells whether events were moved that nobody has read for the others, and
// that this node's line does not read by itself, and after which offset.
func (p *publisher) isBehind() (after int64, behind bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queued, p.queued < p.through && p.wanted()
}

// readAhead reads what was moved, and publishes it: unless the line is at it, or far
// behind. Then those who are as far behind would not have it for long enough.
func (p *publisher) readAhead(ctx context.Context) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	default:
		return
	}
	l := p.log
	p.mu.Lock()
	after, through, line, idle := p.queued, p.through, p.line, time.Since(p.moved)
	p.mu.Unlock()
	if after >= through || idle < l.config.stalled && l.held(line) > l.config.Bytes/2 {
		return
	}
	epoch := l.knownEpoch()
	if epoch == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, l.config.stalled)
	defer cancel()
	events, err := l.source.Fetch(ctx, after, store.Limit{Events: aheadSize, Bytes: pageTarget, Epoch: epoch})
	if err != nil || len(events) == 0 {
		p.skip(after, through)
		return
	}
	p.offer(epoch, events)
	p.publishQueued()
}

// skip leaves to the others to read what this node could not.
func (p *publisher) skip(after, through int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.queued == after {
		p.log.counted.unread.Add(through - after)
		p.queued = through
	}
}

// publish publishes a batch in pages.
func (p *publisher) publish(b batch) {
	if b.fresh || b.epoch != p.epoch {
		p.epoch, p.sent = b.epoch, 0
	}
	if p.log.bus.Connected() != nil {
		p.log.counted.away.Add(int64(len(b.events)))
		return
	}
	head := p.log.source.KnownHead()
	for events := b.events; len(events) > 0; {
		left := 0 // out, as too large
		for left < len(events) && headerSize+encodedSize(&events[left]) > maxPage {
			left++
		}
		n := fill(events[left:])
		next := page{epoch: b.epoch, prev: p.sent, events: events[left : left+n]}
		last := events[left+n-1].Offset
		if left > 0 {
			p.log.counted.unpublishable.Add(int64(left))
			next.flags |= flagMissing
		}
		if n == 0 {
			next.flags |= flagMark
			next.prev = last // nobody is to wait for it
		}
		next.head = max(head, last)
		events = events[left+n:]
		if err := p.send(&next); err != nil {
			p.log.counted.away.Add(int64(n))
			continue
		}
		p.sent = last
	}
}

// fill is how many of the events make the next page.
func fill(events []store.Event) (n int) {
	size := headerSize
	for n < min(len(events), maxPageEvents) {
		event := encodedSize(&events[n])
		if size+event > maxPage || n > 0 && size+event > pageTarget {
			break
		}
		size += event
		n++
	}
	return n
}

// send gives a page to the bus, and to this node's own window.
func (p *publisher) send(next *page) error {
	p.scratch = appendPage(p.scratch[:0], next)
	data := bytes.Clone(p.scratch)
	if err := p.log.bus.Publish(subject, data); err != nil {
		return err
	}
	p.log.counted.published.Add(1)
	own, err := parsePage(data)
	if err != nil {
		return err // what no other node reads either
	}
	if len(own.events) > 0 {
		p.log.take(own, false)
	}
	return nil
}

// mark says how far the log reaches, while this node sequences it: so others know that
// they hear of what comes.
func (p *publisher) mark() {
	epoch := p.log.knownEpoch()
	if epoch == "" || !p.wanted() || !p.log.source.Leads() {
		return
	}
	mark := page{flags: flagMark, epoch: epoch, head: p.log.source.KnownHead()}
	if epoch == p.epoch {
		mark.prev = p.sent
	}
	if mark.head >= mark.prev {
		_ = p.send(&mark) // away: the next one is due in a moment
	}
}
