package channels

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
)

// replayWorkers is how many channels catch up at the same time: how many reads
// of the history are under way at most.
const replayWorkers = 4

// replayPause is how long a worker rests after a read that failed.
const replayPause = 250 * time.Millisecond

// replayStep is how many remembered segments a worker looks at a time.
const replayStep = 16

// Bounds of a page, the piece in which channels read the history.
const (
	pageMessages = 500
	pageBytes    = 128 << 10
)

// Replayer brings channels that are behind up to date: from what the hub
// remembers, else from the history, a page at a time and only as mailboxes
// have room.
type Replayer struct {
	// Immutable after NewReplayer.
	hub     *Hub
	history History
	encoder outbound.Encoder
	pages   *pages
	budget  budget

	mu sync.Mutex
	// Guarded by mu: channels that have something to read and room for it, each
	// once, and what others ask for before they can begin; bounded by the number of
	// channels.
	queue []errand
	tails tails
	ready sync.Cond // there is something in queue, or it is over
	over  bool
}

// errand is what a worker has to do: to serve a channel, or to find the tail of a topic.
type errand struct {
	actor *Actor
	tail  *tail
}

// NewReplayer returns a replayer for the channels of a hub, which from then on
// remembers what it routes. What is remembered (half), the pages that are kept for
// others that want the same (a quarter), and those on their way to clients (a
// quarter, or leastReplays) hold at most the given number of bytes. Call it before
// anything is routed.
func NewReplayer(hub *Hub, history History, encoder outbound.Encoder, bytes int) *Replayer {
	r := &Replayer{hub: hub, history: history, encoder: encoder, pages: &pages{limit: bytes / 4}}
	r.budget.replays = outbound.NewReplayBudget(int64(max(bytes/4, leastReplays)), r.goOn)
	hub.evictions.limit = int64(bytes - 2*(bytes/4))
	r.ready.L = &r.mu
	hub.replayer.Store(r)
	return r
}

// Run works until ctx ends. Channels that are behind then stay behind.
func (r *Replayer) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		r.mu.Lock()
		r.over = true
		if r.budget.timer != nil {
			r.budget.timer.Stop()
		}
		r.tails.end()
		r.mu.Unlock()
		r.ready.Broadcast()
	})
	defer stop()
	var workers sync.WaitGroup
	for range replayWorkers {
		workers.Go(func() {
			builder := outbound.NewBuilder(r.encoder)
			for e, ok := r.next(); ok; e, ok = r.next() {
				if e.tail != nil {
					r.readTail(ctx, e.tail)
					continue
				}
				if err := e.actor.guard(func() { r.serve(ctx, e.actor, builder) }); err != nil {
					builder = outbound.NewBuilder(r.encoder) // whatever it holds is half-written
					e.actor.fail(err, "replay")
				}
				r.goOn() // who had room made for it may not have needed it
			}
		})
	}
	workers.Wait()
	return nil
}

// CatchUp has the channel brought up to date, as far as anybody can.
func (a *Actor) CatchUp() {
	if r := a.host.hub.replayer.Load(); r != nil {
		r.add(a)
	}
}

// add has a channel served. It may be called with the connection's lock held.
func (r *Replayer) add(a *Actor) {
	r.mu.Lock()
	r.queue = append(r.queue, errand{actor: a})
	r.mu.Unlock()
	r.ready.Signal()
}

// next waits for something to do; there is nothing more when it is over.
func (r *Replayer) next() (e errand, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) == 0 && !r.over {
		r.ready.Wait()
	}
	if r.over {
		return errand{}, false
	}
	e = r.queue[0]
	r.queue[0] = errand{}
	r.queue = r.queue[1:]
	return e, true
}

// serve reads for a channel until it is live, or its mailbox is full: then it
// is added again once there is room.
func (r *Replayer) serve(ctx context.Context, a *Actor, builder *outbound.Builder) {
	topic, formats := a.Topic(), a.subscription.formats
	for ctx.Err() == nil {
		after, behind := a.mailbox.Lag()
		if !behind || a.subscription.cancelled.Load() { // nothing is kept for who has left: it would never be live
			return
		}
		segments, whole := r.hub.recentAfter(topic, after, formats)
		switch {
		case whole && len(segments) == 0:
			if r.hub.goLive(topic, after, &a.mailbox) {
				return
			}
		case whole:
			for _, seg := range segments {
				if !a.offer(seg, false) {
					return
				}
			}
		case !r.admit(a):
			return
		default:
			page, err := r.read(ctx, topic, after, formats, builder)
			if err != nil {
				r.failed(ctx, a, err)
				return
			}
			if page.segment != nil && !a.offer(page.segment, true) {
				return
			}
			a.mailbox.AdvanceTo(page.through)
		}
	}
}

// failed deals with a read that failed: what is gone ends the channel, so that
// its client joins again and is told; anything else is tried again.
func (r *Replayer) failed(ctx context.Context, a *Actor, err error) {
	if errors.Is(err, ErrGone) {
		a.missed()
		return
	}
	if ctx.Err() != nil {
		return
	}
	a.log(err, "replay")
	pause := time.NewTimer(replayPause)
	defer pause.Stop()
	select {
	case <-pause.C:
		r.add(a)
	case <-ctx.Done():
	}
}

// errNotSeen says that whoever answered has not seen what this node has: a standby
// that lags behind, say. What it does not have may be there all the same.
var errNotSeen = errors.New("channels: the history ends before what has been seen of it")

// read returns a page that begins right after an offset, or before it: one that
// another channel has read, if there is one.
func (r *Replayer) read(ctx context.Context, topic string, after int64, formats outbound.FormatSet, builder *outbound.Builder) (*page, error) {
	if p := r.pages.find(topic, after, formats); p != nil {
		return p, nil
	}
	seen := r.pages.erasures()
	upTo := r.hub.Head()
	messages, through, err := r.history.Replay(ctx, topic, after, upTo, pageMessages, pageBytes)
	if err != nil {
		return nil, err
	}
	if through <= after && after < upTo {
		return nil, errNotSeen
	}
	builder.Start(outbound.Audience{Topic: topic, Formats: formats}) // it is not routed
	for i := range messages {
		if err := builder.Add(&messages[i]); err != nil {
			r.hub.metrics.failures.Add(1) // the encoder stage left it out too
		}
	}
	p := &page{topic: topic, after: after, through: through, segment: builder.Segment()}
	if !r.pages.keep(p, seen) { // what was read may have been erased since
		return r.read(ctx, topic, after, formats, builder)
	}
	return p, nil
}

// page is a piece of a topic's history: all of its events from right after one
// offset up to another.
type page struct {
	topic          string
	after, through int64
	segment        *outbound.Segment // nil if there are none
}

// pages are those that were read last, within a number of bytes.
type pages struct {
	limit int

	mu        sync.Mutex
	held      int     // bytes; guarded by mu
	list      []*page // oldest first; guarded by mu
	forgotten int     // how often something was erased; guarded by mu
}

// maxPages bounds how many pages are looked through.
const maxPages = 64

func (p *pages) find(topic string, after int64, formats outbound.FormatSet) *page {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.list {
		if one.topic == topic && one.after <= after && after < one.through && one.segment.Has(formats) {
			return one
		}
	}
	return nil
}

// erasures is how often something was erased.
func (p *pages) erasures() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.forgotten
}

// keep remembers a page that has events, and forgets others for it. It returns
// false if something was erased since erasures returned seen.
func (p *pages) keep(one *page, seen int) bool {
	if one.segment == nil {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.forgotten != seen {
		return false
	}
	p.list = append(p.list, one)
	p.held += one.segment.Size()
	for len(p.list) > 0 && (p.held > p.limit || len(p.list) > maxPages) {
		p.held -= p.list[0].segment.Size()
		copy(p.list, p.list[1:])
		p.list[len(p.list)-1] = nil
		p.list = p.list[:len(p.list)-1]
	}
	return true
}
