package presence

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sluicehq/sluice/metrics"
)

// ErrFull is returned by Track where there are as many presences as there may be.
var ErrFull = errors.New("presence: there are as many presences as --max-presences allows")

// ErrLeft is returned for a presence that has left.
var ErrLeft = errors.New("presence: it has left")

// updateEvery is how often one presence is updated at most: of several updates in
// between, the last is made once the time is over.
const updateEvery = time.Second

// Config says how a Tracker gathers and what it holds.
type Config struct {
	// Interval is for how long changes are gathered before clients and other nodes are
	// told. More costs freshness, less costs messages. Required.
	Interval time.Duration
	// Permdown is for how long the presences of a node that is silent are kept, so that
	// they need not be fetched if it is heard again. Required.
	Permdown time.Duration
	// Max is how many presences there may be, of all nodes together. Required.
	Max int
	// Listed is how many of a topic's presences are listed. It is called with a lock
	// held: it does not block, and calls nothing of the tracker. Nil: DefaultMax.
	Listed func(topic string) int

	Metrics *metrics.Set // may be nil
	Logger  *slog.Logger // nil: slog.Default
}

// Tracker knows who is on which topic. Its methods may be called concurrently.
type Tracker struct {
	// Immutable after Join, or New.
	config   Config
	logger   *slog.Logger
	counters counters
	bus      Bus    // nil: there are no other nodes
	origin   uint64 // the first half of this node's refs
	name     string

	wake chan struct{} // sends whoever changes something; Run receives; one is enough

	sending sync.Mutex // orders what is published

	mu sync.Mutex

	// Guarded by mu.
	topics   map[string]*topic
	dirty    []*topic // those with changes that have not been told
	held     int      // presences, of all nodes
	lastRef  uint64   // of this node
	own      []ownEntry
	gaps     int         // of own, which are nil
	unsent   []*Presence // those that other nodes have not been told the last of
	delayed  []*Presence // those that are going to be updated
	seq      uint64      // of what has been published
	leaving  bool        // this node has said goodbye
	peers    map[string]*peer
	rejected time.Time       // when the log said last that something cannot be read
	life     context.Context // of fetches; nil before Run, and once it ends
	fetching sync.WaitGroup  // of them; counts with mu held
}

// New returns a tracker that nobody is on, of one node by itself.
func New(c Config) (*Tracker, error) {
	switch {
	case c.Interval <= 0:
		return nil, fmt.Errorf("presence: Config.Interval is %v; it must be positive", c.Interval)
	case c.Permdown <= 0:
		return nil, fmt.Errorf("presence: Config.Permdown is %v; it must be positive", c.Permdown)
	case c.Max <= 0:
		return nil, fmt.Errorf("presence: Config.Max is %d; it must be positive", c.Max)
	}
	t := &Tracker{
		config:   c,
		logger:   c.Logger,
		counters: newCounters(c.Metrics),
		wake:     make(chan struct{}, 1),
		topics:   make(map[string]*topic),
		peers:    make(map[string]*peer),
	}
	if t.logger == nil {
		t.logger = slog.Default()
	}
	var random [8]byte
	rand.Read(random[:])
	t.origin = binary.BigEndian.Uint64(random[:]) >> (64 - refBits)
	c.Metrics.GaugeFunc(metrics.Presences, func() int64 { return int64(t.Held()) })
	return t, nil
}

// Held is how many presences there are, of all nodes that are kept.
func (t *Tracker) Held() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.held
}

// listed is how many of a topic's presences are.
func (t *Tracker) listed(topic string) int {
	if t.config.Listed == nil {
		return DefaultMax
	}
	return max(1, t.config.Listed(topic))
}

// Wake has changes told, or lists given, within an interval. It does not block.
func (t *Tracker) Wake() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Audience is whom a node tells: its clients.
type Audience interface {
	// TellPresence calls changed once and tells clients what that returns; after that,
	// those that have waited for a list since before are given it. It returns true if
	// some had no room for it. Only Run calls it.
	TellPresence(changed func() []Change) (waiting bool)
}

// Run gathers what changes and tells the audience, and the other nodes, until ctx ends.
func (t *Tracker) Run(ctx context.Context, audience Audience) error {
	t.mu.Lock()
	t.life = ctx
	t.mu.Unlock()
	defer t.fetching.Wait()
	defer func() {
		t.mu.Lock()
		t.life = nil
		t.mu.Unlock()
	}()
	gathering := time.NewTimer(t.config.Interval)
	defer gathering.Stop()
	gathers := true
	var looks <-chan time.Time
	if t.bus != nil {
		ticker := time.NewTicker(lookEvery)
		defer ticker.Stop()
		looks = ticker.C
		end, err := t.bus.Subscribe(t.receive)
		if err != nil {
			return fmt.Errorf("subscribe to presences: %w", err)
		}
		defer end()
	}
	for beats := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-t.wake:
			if !gathers {
				gathers = true
				gathering.Reset(t.config.Interval)
			}
		case <-gathering.C:
			if gathers = t.tell(audience); gathers {
				gathering.Reset(t.config.Interval)
			}
		case <-looks:
			t.look()
			if beats++; beats%beatLooks == 1 {
				t.beat()
			}
		}
	}
}

// tell makes the updates that are due, and tells clients and other nodes what has
// changed. It returns true if there is something left that time brings.
func (t *Tracker) tell(audience Audience) (again bool) {
	t.mu.Lock()
	t.updateDelayed(time.Now())
	again = len(t.delayed) > 0
	t.mu.Unlock()
	t.publish()
	waiting := audience.TellPresence(func() []Change {
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.gather()
	})
	return again || waiting
}
