package broadcast

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/metrics"
)

// Subjects is over how many subjects of the bus topics are spread. One for each topic
// would cost each node memory for all topics of all nodes.
const Subjects = 256

const (
	// linger is for how long a subject is listened to after the last subscriber of its
	// topics has left: a client that comes and goes costs the bus nothing.
	linger = 30 * time.Second
	// lookInterval is how often that, and what else passes with time, is looked at.
	lookInterval = 10 * time.Second
)

// Topics are the topics of this node: see [channels.PubSub.Deliver].
type Topics interface {
	Deliver(topic string, messages []channels.Message) (delivered int, err error)
}

// Config says what a [Bridge] joins.
type Config struct {
	Bus     cluster.Bus  // required
	Topics  Topics       // required
	Metrics *metrics.Set // may be nil
	Logger  *slog.Logger // nil: slog.Default

	// Expected tells whether other nodes serve the log that may not be heard at present:
	// they are sent to all the same. Nil: those that are heard are all.
	Expected func() bool
}

// Bridge sends what is broadcast on this node to the others, and delivers here what they
// broadcast. Its methods may be called concurrently.
type Bridge struct {
	// Immutable after New.
	config   Config
	sent     *metrics.Counter
	received *metrics.Counter
	lost     *metrics.Counter
	drops    [dropReasons]*metrics.Counter

	others   atomic.Bool   // whether other nodes are heard
	wanted   chan struct{} // Enter sends, without waiting; Run receives; nobody closes; one is enough to look anew
	failures channels.LogLimiter

	subjects [Subjects]subject
}

// subject is one subject of the bus.
type subject struct {
	topics atomic.Int32 // with subscribers; for a moment it may be below 0

	sending sync.Mutex
	// Guarded by sending.
	published uint64    // sequence of the last message that was sent
	end       func()    // of the subscription; nil: there is none
	since     uint32    // number of the subscription
	unwanted  time.Time // since when it has been seen that nobody wants it; zero: somebody does

	receiving sync.Mutex
	positions map[string]position // of nodes that send, by their ids; guarded by receiving
}

// New returns a bridge that carries what is sent at once, and listens as soon as [Bridge.Run]
// runs. Call it before the bus runs.
func New(config Config) (*Bridge, error) {
	if config.Bus == nil || config.Topics == nil {
		return nil, errors.New("broadcast: Config needs Bus and Topics")
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	if config.Expected == nil {
		config.Expected = func() bool { return false }
	}
	b := &Bridge{
		config:   config,
		sent:     config.Metrics.Counter(metrics.BroadcastsSent),
		received: config.Metrics.Counter(metrics.BroadcastsReceived),
		lost:     config.Metrics.Counter(metrics.BroadcastsLost),
		wanted:   make(chan struct{}, 1),
	}
	for reason, name := range dropNames {
		b.drops[reason] = config.Metrics.Counter(metrics.BroadcastsDropped, metrics.Reason(name))
	}
	config.Metrics.GaugeFunc(metrics.BroadcastSubjects, b.listening)
	config.Bus.Watch(func(nodes []cluster.Node) { b.others.Store(len(nodes) > 0) })
	return b, nil
}

// Enter implements [channels.Interest].
func (b *Bridge) Enter(topic string) {
	if b.subjects[subjectOf(topic)].topics.Add(1) != 1 {
		return
	}
	select {
	case b.wanted <- struct{}{}:
	default:
	}
}

// Leave implements [channels.Interest].
func (b *Bridge) Leave(topic string) { b.subjects[subjectOf(topic)].topics.Add(-1) }

// Run listens to what this node's topics fall to until ctx ends, and returns nil then.
func (b *Bridge) Run(ctx context.Context) error {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	defer b.endAll()
	for {
		now := time.Now()
		for i := range b.subjects {
			b.follow(i, now)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-b.wanted:
		case <-ticker.C:
			for i := range b.subjects {
				b.subjects[i].forget(time.Now())
			}
		}
	}
}

// follow begins or ends a subject's subscription.
func (b *Bridge) follow(i int, now time.Time) {
	s := &b.subjects[i]
	s.sending.Lock()
	defer s.sending.Unlock()
	switch {
	case s.topics.Load() > 0:
		s.unwanted = time.Time{}
		b.listen(i)
	case s.end == nil:
	case s.unwanted.IsZero():
		s.unwanted = now
	case now.Sub(s.unwanted) >= linger:
		s.end()
		s.end, s.unwanted = nil, time.Time{}
	}
}

// listen subscribes to a subject that somebody wants, unless that is done. Call it with
// sending locked.
func (b *Bridge) listen(i int) {
	s := &b.subjects[i]
	if s.end != nil || s.topics.Load() <= 0 {
		return
	}
	s.since++
	since := s.since
	end, err := b.config.Bus.Subscribe(subjectName(i), func(m cluster.Message) { b.receive(i, since, m) })
	if err != nil { // Run tries again
		b.failures.Error(b.config.Logger, "broadcasts of other nodes are not listened to", "subject", subjectName(i), "error", err)
		return
	}
	s.end = end
}

// endAll ends all subscriptions.
func (b *Bridge) endAll() {
	for i := range b.subjects {
		s := &b.subjects[i]
		s.sending.Lock()
		if s.end != nil {
			s.end()
			s.end = nil
		}
		s.sending.Unlock()
	}
}

// listening is how many subjects are listened to.
func (b *Bridge) listening() (n int64) {
	for i := range b.subjects {
		s := &b.subjects[i]
		s.sending.Lock()
		if s.end != nil {
			n++
		}
		s.sending.Unlock()
	}
	return n
}

// subjectOf is the subject that a topic falls to: the same one on every node.
func subjectOf(topic string) int { return int(xxhash.Sum64String(topic) % Subjects) }

func subjectName(i int) string { return subjectNames[i] }

var subjectNames = func() (names [Subjects]string) {
	for i := range names {
		names[i] = fmt.Sprintf("cast.%02x", i)
	}
	return names
}()
