package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/internal/wake"
)

// database is a log that several processes share, in memory.
type database struct {
	mu sync.Mutex
	// Guarded by mu.
	epoch    string
	events   []store.Event // of offsets from 1 on
	trimmed  int64
	erasures []store.Erasure
	nodes    []*node
}

func newDatabase() *database { return &database{epoch: "first"} }

// node is a process's log: what a [Log] is made of.
type node struct {
	store.Log // what nobody calls
	db        *database
	head      wake.Head

	told   func(store.Sequenced)
	wanted func() bool

	leads   atomic.Bool
	deaf    atomic.Bool  // hears of no commit
	lag     atomic.Int64 // what it reads ends so many events early, as of a standby
	away    atomic.Bool
	fetches atomic.Int64 // reads of events so far, found or not
	rows    atomic.Int64 // that they have found
	busy    sync.Mutex   // held by a test for as long as reads are to take
}

var errAway = errors.New("the database is away")

func (db *database) open() *node {
	n := &node{db: db}
	db.mu.Lock()
	defer db.mu.Unlock()
	db.nodes = append(db.nodes, n)
	return n
}

// begin begins an epoch whose first offset comes after some of the last one's.
func (db *database) begin(epoch string, after int64) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.epoch, db.events = epoch, db.events[:after:after]
}

// erase empties a topic's payloads.
func (db *database) erase(topic string) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.events = slices.Clone(db.events)
	for i := range db.events {
		if db.events[i].Topic == topic {
			db.events[i].Payload = []byte("{}")
		}
	}
	db.erasures = append(db.erasures, store.Erasure{Number: int64(len(db.erasures) + 1), Topic: topic, UpTo: int64(len(db.events))})
}

func (db *database) trim(upTo int64) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.trimmed = upTo
}

// text is what the event at an offset says in an epoch.
func text(epoch string, offset int64) []byte { return fmt.Appendf(nil, `{"%s":%d}`, epoch, offset) }

// sequence has this node move so many events with payloads to the log, in one round, which
// brings the first of them along, or none.
func (n *node) sequence(along int, payloads ...[]byte) {
	n.db.mu.Lock()
	after := int64(len(n.db.events))
	s := store.Sequenced{After: after}
	for i, payload := range payloads {
		offset := after + 1 + int64(i)
		if payload == nil {
			payload = text(n.db.epoch, offset)
		}
		n.db.events = append(n.db.events, store.Event{Offset: offset, Topic: "t", Name: "n", Payload: payload, InsertedAt: time.UnixMicro(offset).UTC()})
	}
	s.Through = int64(len(n.db.events))
	if along > 0 {
		s.Epoch, s.Events = n.db.epoch, slices.Clone(n.db.events[after:after+int64(along)])
	}
	nodes := slices.Clone(n.db.nodes)
	n.db.mu.Unlock()
	n.told(s)
	for _, each := range nodes {
		if !each.deaf.Load() {
			each.head.Advance(s.Through)
		}
	}
}

// move is sequence for events that say where they are.
func (n *node) move(events, along int) { n.sequence(along, make([][]byte, events)...) }

func (n *node) Fetch(ctx context.Context, after int64, limit store.Limit) ([]store.Event, error) {
	n.fetches.Add(1)
	n.busy.Lock()
	//lint:ignore SA2001 to wait is all
	n.busy.Unlock()
	known := n.head.Offset()
	n.db.mu.Lock()
	defer n.db.mu.Unlock()
	end := max(after, int64(len(n.db.events))-n.lag.Load())
	switch {
	case n.away.Load():
		return nil, errAway
	case limit.Epoch != "" && limit.Epoch != n.db.epoch:
		return nil, store.ErrNewEpoch
	case after < n.db.trimmed:
		return nil, store.ErrTrimmed
	case after >= end:
		n.head.Disprove(known, end)
		return nil, ctx.Err()
	}
	events := slices.Clone(n.db.events[after:min(end, after+int64(limit.Events))])
	n.rows.Add(int64(len(events)))
	return events, nil
}

func (n *node) Head(context.Context) (store.Head, error) {
	n.db.mu.Lock()
	defer n.db.mu.Unlock()
	if n.away.Load() {
		return store.Head{}, errAway
	}
	h := store.Head{Epoch: n.db.epoch, Offset: int64(len(n.db.events)), Trimmed: n.db.trimmed, Erased: int64(len(n.db.erasures))}
	n.head.Advance(h.Offset)
	return h, nil
}

func (n *node) Extent(ctx context.Context) (store.Extent, error) {
	h, err := n.Head(ctx)
	return store.Extent{Head: h, Epochs: []store.Epoch{{ID: "past"}, {ID: h.Epoch}}}, err
}

func (n *node) Erase(_ context.Context, which store.Selection) (count, through int64, more bool, err error) {
	n.db.erase(which.Topic)
	return 1, n.head.Offset(), false, nil
}

func (n *node) Erasures(_ context.Context, after int64) ([]store.Erasure, error) {
	n.db.mu.Lock()
	defer n.db.mu.Unlock()
	return slices.Clone(n.db.erasures[after:]), nil
}

func (n *node) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (n *node) KnownHead() int64     { return n.head.Offset() }
func (n *node) Advance(offset int64) { n.head.Advance(offset) }
func (n *node) Leads() bool          { return n.leads.Load() }

func (n *node) WaitFor(ctx context.Context, after int64, atMost time.Duration) error {
	return n.head.Wait(ctx, after, cmp.Or(atMost, 100*time.Millisecond))
}

func (n *node) OnSequenced(told func(store.Sequenced), wanted func() bool) {
	n.told, n.wanted = told, wanted
}
