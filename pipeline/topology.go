package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultDrainTimeout bounds a drain unless Config.DrainTimeout says otherwise.
const DefaultDrainTimeout = 30 * time.Second

// Config makes a Topology.
type Config struct {
	// DrainTimeout is how long events under way may take to end once Run's context has
	// ended. Shorter stops sooner and fails more. Zero is DefaultDrainTimeout.
	DrainTimeout time.Duration
	// Retry is for handlers that have none of their own.
	Retry Retry
	// Observer watches the stages. Nil: nobody does.
	Observer Observer
	// OnFailure is told of every failure: of events, finally; of demand handlers, each
	// attempt; of hooks such as OnDiscard that panicked. What failed waits for it, so it must
	// not block. If it panics itself, Run says so in the end.
	OnFailure func(Failure)
}

// Topology is producers and the lines that hang on them. It owns every goroutine
// that they need.
type Topology struct {
	config     Config
	goroutines sync.WaitGroup // of lines and producers; Run joins them
	exited     atomic.Bool    // a user's function has ended a goroutine: they are called apart from now on

	// Guarded by mu.
	mu         sync.Mutex
	mistakes   []error
	producers  []func(soft, hard context.Context)
	drains     []func() // of producer-consumers
	lines      []*Line
	committers []committer
	leaving    []source // of lines that have ended, while their events are under way below
	state      state
	soft, hard context.Context
	alive      int           // producers and lines that have not ended
	quiet      chan struct{} // closed when none is left
	failure    error         // why the topology stopped by itself
	unheard    error         // how OnFailure failed
	stop       func()        // ends soft, which begins the drain
}

type state int

const (
	composing state = iota
	running
	draining
	over
)

type committer interface {
	run(until, ctx context.Context)
	commit(context.Context)
}

// NewTopology returns an empty topology.
func NewTopology(config Config) *Topology {
	if config.DrainTimeout <= 0 {
		config.DrainTimeout = DefaultDrainTimeout
	}
	config.Retry = config.Retry.orElse(Retry{Attempts: 3})
	return &Topology{config: config, quiet: make(chan struct{})}
}

// Run starts the lines, then the producers, and blocks until all have ended: by
// themselves, or because ctx ended, or because a producer failed that a line could not
// do without. It returns nil, that producer's error, [ErrDrainTimeout], or the mistakes
// in the topology, in which case nothing was started. It runs once.
func (t *Topology) Run(ctx context.Context) error {
	soft, stop := context.WithCancel(ctx)
	defer stop()
	hard, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	if err := t.start(soft, hard, stop); err != nil {
		return err
	}
	commits, noMore := context.WithCancel(hard)
	var committing sync.WaitGroup
	for _, c := range t.committers {
		committing.Go(func() { c.run(commits, hard) })
	}

	select {
	case <-soft.Done():
	case <-t.quiet:
	}
	t.drain()
	timeout := time.NewTimer(t.config.DrainTimeout)
	defer timeout.Stop()
	var late error
	select {
	case <-t.quiet:
	case <-timeout.C:
		late = ErrDrainTimeout
		kill()
		<-t.quiet
	}
	t.goroutines.Wait()
	for errors.Is(apart(t.leave), ErrExited) { // begun again where it was
		t.exited.Store(true)
	}
	noMore()
	defer time.AfterFunc(t.config.DrainTimeout, kill).Stop() // a commit under way does not hold us for ever
	committing.Wait()
	last, done := context.WithTimeout(context.WithoutCancel(ctx), t.config.DrainTimeout)
	defer done()
	for _, c := range t.committers {
		c.commit(last)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return errors.Join(t.failure, late, t.unheard)
}

// start begins everything, consumers before producers: nothing moves before all stand.
func (t *Topology) start(soft, hard context.Context, stop func()) error {
	lines, producers, err := t.begin(soft, hard, stop)
	if err != nil {
		return err
	}
	for _, l := range lines {
		t.launch(l, false)
	}
	for _, run := range producers {
		t.goroutines.Go(func() {
			defer t.ended()
			run(soft, hard)
		})
	}
	return nil
}

func (t *Topology) begin(soft, hard context.Context, stop func()) ([]*Line, []func(soft, hard context.Context), error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != composing {
		return nil, nil, fmt.Errorf("run topology: %w", ErrEnded)
	}
	if len(t.mistakes) > 0 {
		return nil, nil, errors.Join(t.mistakes...)
	}
	for _, l := range t.lines {
		l.live = true
	}
	t.state, t.soft, t.hard, t.stop = running, soft, hard, stop
	if t.alive = len(t.lines) + len(t.producers); t.alive == 0 {
		close(t.quiet)
	}
	return slices.Clone(t.lines), t.producers, nil
}

// ended is told by each producer and line when it has.
func (t *Topology) ended() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.alive--; t.alive == 0 {
		t.state = over
		close(t.quiet)
	}
}

// fail drains the topology and has Run return err.
func (t *Topology) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failure == nil {
		t.failure = err
	}
	t.stop()
}

// leave has the subscriptions leave whose lines have ended, with all that is below them.
func (t *Topology) leave() error {
	for _, s := range t.leaving {
		s.leave()
	}
	return nil
}

// stopping tells whether the drain has begun.
func (t *Topology) stopping() bool { return t.soft.Err() != nil }

func (t *Topology) drain() {
	t.mu.Lock()
	t.state = max(t.state, draining)
	drains := t.drains
	t.mu.Unlock()
	for _, drain := range drains {
		drain()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range slices.Clone(t.lines) { // those that are idle have nothing to wait for
		if !l.live {
			t.close(l)
		}
	}
}

func (t *Topology) addProducer(run func(soft, hard context.Context), drain func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != composing {
		t.mistakes = append(t.mistakes, fmt.Errorf("add producer: %w", ErrEnded))
		return
	}
	t.producers = append(t.producers, run)
	if drain != nil {
		t.drains = append(t.drains, drain)
	}
}

func (t *Topology) addCommitter(c committer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.committers = append(t.committers, c)
}

// misuse is a mistake in composing, which Run returns.
func (t *Topology) misuse(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mistakes = append(t.mistakes, err)
}

func configError(field, format string, args ...any) error {
	return fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...))
}
