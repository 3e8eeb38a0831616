package relay

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/store"
)

// subject is where pages are published: of the one shard that there is, so that a node
// which has them has the whole log.
const subject = "log.0"

// Source is the log that is relayed, and what tells of its head and its sequencer.
type Source interface {
	store.Log

	// KnownHead is the newest offset that is known to this process, and Advance makes
	// one known, which wakes who waits for it. What is found not to be there is
	// forgotten again.
	KnownHead() int64
	Advance(offset int64)

	// WaitFor is Wait, with atMost in place of the log's poll interval; 0 stands for that.
	WaitFor(ctx context.Context, after int64, atMost time.Duration) error

	// OnSequenced has told called by Run after each round of this process that has
	// moved something, in order; it does not block. While wanted says so, what a round
	// moves is read along with it if that is little. Call it before Run.
	OnSequenced(told func(store.Sequenced), wanted func() bool)

	// Leads tells whether this process sequences the log.
	Leads() bool
}

// Config says how a log is relayed.
type Config struct {
	// Bytes bounds the pages that are kept, with what they take in memory. A node that
	// is further behind than they reach reads the database. At least MinBytes.
	Bytes int
	// Grace is for how long a reader that has heard of an event waits for the page that
	// brings it, before it reads the database; with more of it a bus that is slow saves
	// more reads, and an event whose page is lost is that much later. Zero: DefaultGrace.
	Grace time.Duration

	healthyFor time.Duration // zero: healthyFor
	stalled    time.Duration // zero: stalled

	// Metrics and Logger may be nil.
	Metrics *metrics.Set
	Logger  *slog.Logger
}

// Bounds and defaults.
const (
	// MinBytes is the least Config.Bytes: a page fits, whatever its events are.
	MinBytes = 2 << 20
	// DefaultGrace is what a zero Config.Grace means.
	DefaultGrace = 5 * time.Millisecond
)

const (
	// healthyFor is for how long after a page or a mark others are counted on, unless
	// Config.healthyFor says otherwise.
	healthyFor = 3 * time.Second
	// markInterval is how often a node that sequences says how far it is.
	markInterval = time.Second
	// healthyPoll is how often the database is asked by who waits, while pages come.
	healthyPoll = time.Second
)

// Log is a [store.Log] whose new events come through the bus where they can. Its
// methods may be called concurrently. Make it with [New].
type Log struct {
	store.Log // all but what follows is the database's

	// Immutable after New.
	source  Source
	bus     cluster.Bus
	config  Config
	counted counters
	began   time.Time

	publisher publisher
	graced    atomic.Int64 // the offset after which a page was waited for last

	mu sync.Mutex
	// Guarded by mu.
	epoch   string        // the log's, as last asked for; empty before that
	past    []string      // those before it that are known
	doubted bool          // a page of an epoch has come that nobody here has heard of: the log is to be asked
	window  window        // of epoch
	passed  int64         // up to here pages have come, or are known not to come
	barred  int64         // up to here events may have been erased, or trimmed, since they were published
	erased  int64         // number of the last erasure that barred takes in, as far as heads tell
	heard   time.Time     // when a page or mark of the epoch came last; zero: never
	changed chan struct{} // closed by wake, and made by who waits; nil while nobody does
	told    time.Time     // when a page that was not taken was told last
}

// counters are what a Log counts.
type counters struct {
	received, published, hits, misses *metrics.Counter
	lost, tooLarge                    *metrics.Counter // gaps
	malformed, unspoken, otherEpoch   *metrics.Counter // pages that were not taken
	repeated, erased                  *metrics.Counter
	queueFull, away, unpublishable    *metrics.Counter // events that were not published
	unread                            *metrics.Counter // likewise
}

// Measure has what a Log counts be among the metrics, also of a node that has none.
func Measure(set *metrics.Set) { newCounters(set) }

func newCounters(set *metrics.Set) counters {
	dropped := func(why string) *metrics.Counter { return set.Counter(metrics.RelayDropped, metrics.Reason(why)) }
	unpublished := func(why string) *metrics.Counter {
		return set.Counter(metrics.RelayUnpublished, metrics.Reason(why))
	}
	return counters{
		received:   set.Counter(metrics.RelayPages, metrics.Status("received")),
		published:  set.Counter(metrics.RelayPages, metrics.Status("published")),
		hits:       set.Counter(metrics.RelayHits),
		misses:     set.Counter(metrics.RelayMisses),
		lost:       set.Counter(metrics.RelayGaps, metrics.Reason("lost")),
		tooLarge:   set.Counter(metrics.RelayGaps, metrics.Reason("too_large")),
		malformed:  dropped("malformed"),
		unspoken:   dropped("version"),
		otherEpoch: dropped("epoch"),
		repeated:   dropped("repeated"),
		erased:     dropped("erased"),

		queueFull:     unpublished("queue"),
		away:          unpublished("away"),
		unpublishable: unpublished("too_large"),
		unread:        unpublished("unread"),
	}
}

// New returns the log of source, with its pages published and received through the bus.
// Call it before either runs.
func New(source Source, bus cluster.Bus, config Config) (*Log, error) {
	if config.Bytes < MinBytes {
		return nil, fmt.Errorf("relay: Config.Bytes is %d: want %d or more", config.Bytes, MinBytes)
	}
	if config.Grace == 0 {
		config.Grace = DefaultGrace
	}
	config.healthyFor, config.stalled = cmp.Or(config.healthyFor, healthyFor), cmp.Or(config.stalled, stalled)
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	l := &Log{
		Log: source, source: source, bus: bus, config: config, began: time.Now(),
		counted: newCounters(config.Metrics),
		window:  window{limit: config.Bytes},
	}
	l.publisher.init(l)
	l.graced.Store(-1)
	source.OnSequenced(l.publisher.sequenced, l.publisher.wanted)
	bus.Watch(func(nodes []cluster.Node) { l.publisher.others.Store(int64(len(nodes))) })
	config.Metrics.GaugeFunc(metrics.RelayAge, func() int64 { return int64(l.State().Age) })
	return l, nil
}

// Run implements [store.Log].
func (l *Log) Run(ctx context.Context) error {
	end, err := l.bus.Subscribe(subject, l.receive)
	if err != nil {
		return fmt.Errorf("receive pages of the log: %w", err)
	}
	defer end()
	publishing, stop := context.WithCancel(context.WithoutCancel(ctx))
	var publisher sync.WaitGroup
	publisher.Go(func() { l.publisher.run(publishing) })
	defer publisher.Wait()
	defer stop()
	if _, err := l.Head(ctx); err != nil { // which epoch is it? Who asks later tells as well
		l.config.Logger.Debug("the log's epoch is not known yet: pages wait for that", "error", err)
	}
	return l.source.Run(ctx)
}

// Head implements [store.Log].
func (l *Log) Head(ctx context.Context) (store.Head, error) {
	head, err := l.source.Head(ctx)
	if err == nil {
		l.note(head)
	}
	return head, err
}

// Extent implements [store.Log].
func (l *Log) Extent(ctx context.Context) (store.Extent, error) {
	extent, err := l.source.Extent(ctx)
	if err == nil {
		l.note(extent.Head)
		l.mu.Lock()
		l.past = l.past[:0]
		for _, e := range extent.Epochs {
			if e.ID != extent.Epoch {
				l.past = append(l.past, e.ID)
			}
		}
		l.mu.Unlock()
	}
	return extent, err
}

// note takes in what the database says of the log: what came before in pages counts no
// more where that is another log, or is kept or told no more.
func (l *Log) note(head store.Head) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doubted = false
	if head.Epoch != l.epoch {
		l.replace(head.Epoch)
		l.epoch, l.passed, l.barred = head.Epoch, 0, 0
		l.window.empty()
		l.heard = time.Time{}
	}
	if head.Erased > l.erased {
		l.erased = head.Erased
		l.bar(head.Offset) // no erasure so far reaches further
	}
	l.bar(head.Trimmed)
	l.wake()
}

// maxPast bounds the epochs that are known to be over, until the database lists them anew.
const maxPast = 64

// replace notes that the epoch so far is over, and another one is not. It is called with mu
// held.
func (l *Log) replace(by string) {
	l.past = slices.DeleteFunc(l.past, func(id string) bool { return id == by })
	if l.epoch == "" {
		return
	}
	if len(l.past) >= maxPast {
		l.past = slices.Delete(l.past, 0, 1)
	}
	l.past = append(l.past, l.epoch)
}

// bar has nothing of up to an offset read from pages. It is called with mu held.
func (l *Log) bar(upTo int64) {
	l.barred = max(l.barred, upTo)
	l.window.forget(upTo)
}

// Erase implements [store.Log].
func (l *Log) Erase(ctx context.Context, which store.Selection) (count, through int64, more bool, err error) {
	count, through, more, err = l.source.Erase(ctx, which)
	l.barAll(through) // what has failed has erased some, perhaps
	return count, through, more, err
}

// Erasures implements [store.Log].
func (l *Log) Erasures(ctx context.Context, after int64) ([]store.Erasure, error) {
	list, err := l.source.Erasures(ctx, after)
	if err != nil {
		return nil, err
	}
	if len(list) > 0 && list[0].Number != after+1 {
		l.barAll(0) // some are not known any more
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, each := range list {
		l.bar(each.UpTo)
	}
	return list, nil
}

// barAll has nothing that is known so far read from pages, nor of up to an offset.
func (l *Log) barAll(upTo int64) {
	head := l.source.KnownHead()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bar(max(upTo, head, l.window.last(), l.passed))
}

// knownEpoch is the log's epoch as last asked for, empty if it is in doubt.
func (l *Log) knownEpoch() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.doubted {
		return ""
	}
	return l.epoch
}

// held is how many bytes of pages there are, or nearly, beyond an offset.
func (l *Log) held(beyond int64) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	first, last := l.window.first(), l.window.last()
	beyond = max(beyond, first-1)
	if first == 0 || beyond >= last {
		return 0
	}
	return int(float64(l.window.bytes) * float64(last-beyond) / float64(last-first+1))
}
