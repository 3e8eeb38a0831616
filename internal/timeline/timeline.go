package timeline

import (
	"context"
	"sync"
	"time"

	"github.com/sluicehq/sluice/metrics"
)

// Interval is how long a sample lasts, and Kept how many there are: ten minutes.
const (
	Interval = time.Second
	Kept     = 600
)

// Config says what is sampled. All is required but After.
type Config struct {
	Metrics *metrics.Set
	Pushed  func() int64                   // messages written since the start, whatever their tags
	Deepest func() int64                   // messages in the fullest mailbox of late
	Levels  func() (lag, outboxRows int64) // how they stand now
	After   func()                         // called by Run after each sample; nil: nobody is told
}

// Sample is what a node did within an interval. Rates are a second's.
type Sample struct {
	At         time.Time // its end
	Routed     float64   // events
	Pushed     float64   // messages
	P50, P99   Seconds   // of delivery, from a row's insert to the write; 0 where nothing was delivered
	Lag        int64     // events between the log's head and what has been routed, at its end
	OutboxRows int64     // that wait to be sequenced, at its end
}

// Seconds is a duration as a number of seconds.
type Seconds float64

func seconds(d time.Duration) Seconds { return Seconds(d.Seconds()) }

// Timeline keeps samples. Its methods may be called concurrently.
type Timeline struct {
	// Immutable after New.
	config   Config
	routed   *metrics.Counter
	delivery *metrics.Timing
	line     []*watched

	// Owned by Run: how all stood at the last sample.
	at        time.Time
	wasRouted int64
	wasPushed int64
	delivered metrics.Distribution

	mu sync.Mutex
	// Guarded by mu.
	samples []Sample // a ring, once there are Kept
	next    int      // where the next one goes
	stages  []Stage  // of the last sample; replaced, never changed
}

// New makes a timeline with nothing in it.
func New(config Config) *Timeline {
	return &Timeline{
		config:   config,
		routed:   config.Metrics.Counter(metrics.EventsRouted),
		delivery: config.Metrics.Timing(metrics.DeliveryTime),
		line:     watch(config),
	}
}

// Run samples until ctx ends.
func (t *Timeline) Run(ctx context.Context) error {
	t.begin(time.Now())
	ticker := time.NewTicker(Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			t.sample(time.Now())
			if t.config.After != nil {
				t.config.After()
			}
		}
	}
}

// begin notes how all stands, for the first sample.
func (t *Timeline) begin(now time.Time) {
	t.at, t.wasRouted, t.wasPushed, t.delivered = now, t.routed.Value(), t.config.Pushed(), t.delivery.Distribution()
	for _, w := range t.line {
		w.begin()
	}
}

// sample looks at all, and keeps what has come since the last look.
func (t *Timeline) sample(now time.Time) (Sample, []Stage) {
	elapsed := max(now.Sub(t.at), time.Millisecond)
	delivered, was := t.delivery.Distribution(), t.delivered
	since := delivered.Since(was)
	routed, pushed := t.routed.Value(), t.config.Pushed()
	s := Sample{
		At:     now,
		Routed: float64(routed-t.wasRouted) / elapsed.Seconds(),
		Pushed: float64(pushed-t.wasPushed) / elapsed.Seconds(),
		P50:    seconds(since.Quantile(0.5)),
		P99:    seconds(since.Quantile(0.99)),
	}
	s.Lag, s.OutboxRows = t.config.Levels()
	t.at, t.wasRouted, t.wasPushed, t.delivered = now, routed, pushed, delivered
	stages := make([]Stage, len(t.line))
	for i, w := range t.line {
		stages[i] = w.stage(elapsed)
	}
	t.keep(s, stages)
	return s, stages
}

func (t *Timeline) keep(s Sample, stages []Stage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stages = stages
	if len(t.samples) < Kept {
		t.samples = append(t.samples, s)
		return
	}
	t.samples[t.next] = s
	t.next = (t.next + 1) % Kept
}

// Samples are those that are kept, the oldest first.
func (t *Timeline) Samples() []Sample {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append(append([]Sample{}, t.samples[t.next:]...), t.samples[:t.next]...)
}

// Last is the last sample, if there is one, with the stages as they were in it. The
// stages are shared, and not to be changed.
func (t *Timeline) Last() (s Sample, stages []Stage, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.samples) == 0 {
		return Sample{}, nil, false
	}
	return t.samples[(t.next+len(t.samples)-1)%len(t.samples)], t.stages, true
}
