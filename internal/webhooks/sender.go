package webhooks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/sluicehq/sluice/internal/hooks"
	"github.com/sluicehq/sluice/internal/lease"
	"github.com/sluicehq/sluice/internal/lograte"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/store"
)

const (
	lookEvery   = 5 * time.Second // who has nothing to send looks whether somebody has moved or enabled it
	skimEvery   = 5 * time.Second // a position that has passed only what does not match is committed
	storePause  = time.Second     // after the store has failed
	moveTimeout = time.Minute     // of a commit
	lastTimeout = 2 * time.Second // of one that a drain waits for
	tellEvery   = time.Minute     // how often the log tells of one kind of failure
)

// sender is one webhook on this node.
type sender struct {
	// Immutable after start.
	hook     Webhook
	shown    string // the URL, as the log has it
	log      Log
	config   Config
	client   *http.Client
	logger   *slog.Logger
	throttle *lograte.Throttle
	counted  counters
	cancel   context.CancelFunc
	ended    chan struct{} // closed by the goroutine of start

	// Owned by run.

	role     *lease.Lease
	limit    int // events of the next batch at most: fewer while more are refused
	accepted int // batches in a row, since limit was changed
	pauses   int // since something was accepted

	// erased is the number of the last erasure that is in all that was read since.
	erased int64

	// Guarded by mu.

	mu      sync.Mutex
	doing   string
	reached int64
	since   time.Time // since when requests fail, to be shown; zero: they do not
	wrong   string    // how the last one did
}

func newSender(hook Webhook, log Log, config Config) *sender {
	logger := config.Logger.With("webhook", hook.Name)
	client := hooks.NewClient(1)
	if config.Transport != nil {
		client.Transport = config.Transport
	}
	return &sender{
		hook: hook, shown: hooks.Shown(hook.URL), log: log, config: config, client: client, logger: logger,
		throttle: lograte.New(tellEvery), counted: newCounters(config.Metrics, hook.Name),
		ended: make(chan struct{}), limit: hook.Batch, doing: Standby,
	}
}

// start sends until the sender is cancelled, or ctx ends.
func (s *sender) start(ctx context.Context) {
	ctx, s.cancel = context.WithCancel(ctx)
	go func() {
		defer close(s.ended)
		defer s.cancel()
		defer s.client.CloseIdleConnections()
		s.run(ctx)
	}()
}

// run waits for the role, and does its work for as long as this node has it.
func (s *sender) run(ctx context.Context) {
	for ctx.Err() == nil {
		s.note(Standby)
		role, err := lease.Acquire(ctx, lease.Config{Leases: s.log, Name: leasePrefix + s.hook.Name, Standby: true, Logger: s.logger})
		if err != nil {
			s.storeFailed(ctx, err)
			continue
		}
		s.role = role
		s.lead(ctx)
		role.Release()
	}
	s.note(Standby)
}

// lead works until ctx ends or another node has the role.
func (s *sender) lead(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		defer stop()
		if err := s.role.Keep(ctx); err != nil {
			s.logger.Warn("another node sends this webhook now", "error", err)
		}
	}()
	defer func() { stop(); <-kept }()
	s.logger.Info("this node sends the webhook", "url", s.shown)
	s.note(Sending)
	for ctx.Err() == nil {
		if err := s.advance(ctx); err != nil {
			s.storeFailed(ctx, err)
		}
	}
}

// storeFailed tells of a failure, and waits a little.
func (s *sender) storeFailed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	if !errors.Is(err, store.ErrTrimmed) && !errors.Is(err, store.ErrNewEpoch) { // which the next look finds
		if withheld, ok := s.throttle.Allow("store"); ok {
			s.logger.Warn("webhook waits for the store", "error", err, "withheld", withheld)
		}
	}
	_ = pause(ctx, storePause)
}

// advance goes on from the position, until it is time to look whether somebody else has
// moved it. The error is the store's, or what ctx ended with.
func (s *sender) advance(ctx context.Context) error {
	if _, disabled, err := s.log.Cursor(ctx, disabledPrefix+s.hook.Name); err != nil || disabled {
		if disabled {
			s.note(Disabled)
			err = pause(ctx, lookEvery)
		}
		return err
	}
	if s.now().State == Disabled {
		s.note(Sending)
	}
	at, mine, err := s.position(ctx)
	if err != nil || !mine {
		return err
	}
	looked, skimmed := time.Now(), time.Now()
	for read := at.Offset; ; {
		b, err := s.gather(ctx, at.Epoch, read)
		if err != nil {
			return err
		}
		switch idle := len(b.ends) == 0; {
		case !idle:
			if mine, err := s.deliver(ctx, &at, b); err != nil || !mine {
				return err
			}
			skimmed = time.Now()
		case b.through > at.Offset && time.Since(skimmed) >= skimEvery:
			if mine, err := s.move(ctx, &at, store.Cursor{Epoch: at.Epoch, Offset: b.through}); err != nil || !mine {
				return err
			}
			skimmed = time.Now()
		}
		if len(b.ends) == 0 {
			s.reach(b.through)
			s.note(Sending)
		}
		read = b.through
		if b.full {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			continue
		}
		left := lookEvery - time.Since(looked)
		if left <= 0 {
			if _, err := s.move(ctx, &at, store.Cursor{Epoch: at.Epoch, Offset: read}); err != nil {
				return err
			}
			return nil
		}
		if err := s.await(ctx, read, left); err != nil {
			return err
		}
	}
}

// await waits until there may be something behind a position, for a while at most.
func (s *sender) await(ctx context.Context, after int64, most time.Duration) error {
	waiting, stop := context.WithTimeout(ctx, most)
	defer stop()
	err := s.log.Wait(waiting, after)
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// position is where to go on: what the endpoint has to be told of that was missed is told.
// It is not ours if somebody else moves it at the same time, or the endpoint is not to be
// sent to.
func (s *sender) position(ctx context.Context) (at store.Cursor, mine bool, err error) {
	at, known, err := s.log.Cursor(ctx, store.ConsumerCursors+s.hook.Name)
	if err != nil {
		return at, false, err
	}
	extent, err := s.log.Extent(ctx)
	if err != nil {
		return at, false, err
	}
	s.erased = extent.Erased
	to := store.Cursor{Epoch: extent.Epoch, Offset: extent.Trimmed}
	if !known {
		if s.hook.FromHead {
			to.Offset = extent.Offset
		}
		s.logger.Info("webhook begins", "after", to.Offset)
		mine, err = s.log.MoveCursor(ctx, store.ConsumerCursors+s.hook.Name, nil, to)
		s.reach(to.Offset)
		return to, mine, err
	}
	s.reach(at.Offset)
	after, whole := extent.Resume(at)
	to.Offset = after
	if whole && at.Epoch == extent.Epoch {
		return at, true, nil
	}
	// Of another epoch it is told though all is there: what was accepted after this position,
	// and could not be committed, may have been taken back.
	mine, err = s.tellReset(ctx, &at, &reset{Epoch: extent.Epoch, From: at.Offset, FromEpoch: at.Epoch, To: after})
	return at, mine, err
}

// tellReset has the endpoint know that something will not be sent, and moves the position.
func (s *sender) tellReset(ctx context.Context, at *store.Cursor, r *reset) (mine bool, err error) {
	lost := max(0, r.To-r.From)
	if at.Epoch != r.Epoch {
		lost = 0 // nobody knows how much
	}
	if _, ok := s.throttle.Allow(r.id(s.hook.Name)); ok {
		s.logger.Error("what follows a webhook's position is no longer kept, or of a new epoch: its endpoint is told", "position", r.From, "epoch", r.FromEpoch, "goes_on_after", r.To, "lost", lost)
	}
	request := &request{id: r.id(s.hook.Name), body: r.body()}
	var first time.Time // that this was not accepted
	for {
		switch f, err := s.attempt(ctx, request); {
		case err != nil:
			return false, err
		case f == nil:
			s.counted.lost.Add(lost)
			s.succeeded(1)
			return s.move(ctx, at, store.Cursor{Epoch: r.Epoch, Offset: r.To})
		case f.gone:
			return false, s.disable(ctx, *at)
		case s.isOver(&first, f):
			s.counted.lost.Add(lost)
			s.counted.skipped.Add(1)
			s.logger.Error("webhook has given up telling its endpoint what was missed", "error", f)
			s.restart()
			return s.move(ctx, at, store.Cursor{Epoch: r.Epoch, Offset: r.To})
		default:
			if mine, err := s.pauseAfter(ctx, *at, f); err != nil || !mine {
				return false, err
			}
		}
	}
}

// deliver sends a batch until it is accepted, or given up, and moves the position behind it.
// It sends less at a time where that may help: then b is cut. Of what is erased meanwhile,
// b is read anew.
func (s *sender) deliver(ctx context.Context, at *store.Cursor, b *batch) (mine bool, err error) {
	var failed time.Time // for the first time, as the batch or a part of it
	for {
		request := &request{id: b.id(s.hook.Name), body: b.body()}
		first, last, count := b.offsets[0], b.offsets[len(b.offsets)-1], int64(len(b.offsets))
		f, err := s.attempt(ctx, request)
		switch {
		case err != nil:
			return false, err
		case f == nil:
			s.succeeded(len(b.ends))
			s.counted.events.Add(count)
			return s.move(ctx, at, store.Cursor{Epoch: b.epoch, Offset: b.through})
		case f.gone:
			return false, s.disable(ctx, *at)
		}
		if over := s.isOver(&failed, f); f.divisible && count > 1 {
			b.cut(len(b.ends) / 2)
			s.limit, s.accepted, s.pauses = len(b.ends), 0, 0
		} else if over {
			s.counted.skipped.Add(count)
			s.logger.Error("webhook has given events up, they are left out", "first", first, "last", last, "count", count, "error", f)
			s.restart()
			return s.move(ctx, at, store.Cursor{Epoch: b.epoch, Offset: b.through})
		}
		if mine, err := s.pauseAfter(ctx, *at, f); err != nil || !mine {
			return false, err
		}
		if err := s.forget(ctx, *at, b); err != nil || len(b.ends) == 0 {
			return true, err
		}
	}
}

// growAfter is how many batches are accepted before more is tried than was refused.
const growAfter = 16

// succeeded notes that a request of so many events was accepted.
func (s *sender) succeeded(events int) {
	s.mu.Lock()
	since := s.since
	s.mu.Unlock()
	if !since.IsZero() {
		s.logger.Info("webhook is accepted again", "failed_for", time.Since(since).Round(time.Second))
		s.throttle.Forget(failing)
	}
	s.restart()
	if s.accepted++; s.accepted >= growAfter && s.limit < s.hook.Batch {
		s.limit, s.accepted = min(2*s.limit, s.hook.Batch), 0
	}
}

// restart notes that what comes next has not failed yet.
func (s *sender) restart() {
	s.pauses = 0
	s.note(Sending)
}

// isOver keeps a failure, and tells whether what has failed is to be given up. What first
// is of belongs to the request, and not to the endpoint, which may have failed for longer.
func (s *sender) isOver(first *time.Time, f *failure) bool {
	s.fails(f)
	if first.IsZero() {
		*first = time.Now()
	}
	return s.hook.GiveUpAfter > 0 && time.Since(*first) >= s.hook.GiveUpAfter
}

// move moves the cursor on, and tells whether it was where it was known to be. What was
// accepted is committed though ctx has ended, and until it has: a request that is made again
// because a commit is slow would come to the same.
func (s *sender) move(ctx context.Context, at *store.Cursor, to store.Cursor) (mine bool, err error) {
	if *at == to {
		return true, nil
	}
	mine, err = s.commit(ctx, store.ConsumerCursors+s.hook.Name, at, to)
	switch {
	case err != nil:
		return false, fmt.Errorf("commit the webhook's position %d: %w", to.Offset, err)
	case !mine:
		s.logger.Info("somebody else has moved this webhook's position: it is read again", "from", at.Offset, "to", to.Offset)
		s.restart()
		return false, nil
	}
	*at = to
	s.reach(to.Offset)
	return true, nil
}

// commit moves a cursor, and tries again until ctx ends where the store fails.
func (s *sender) commit(ctx context.Context, name string, from *store.Cursor, to store.Cursor) (moved bool, err error) {
	for again := false; ; again = true {
		moved, err = s.commitOnce(ctx, name, from, to, again)
		if err == nil || ctx.Err() != nil {
			return moved, err
		}
		s.storeFailed(ctx, err) // and once more if ctx ends meanwhile
	}
}

// commitOnce is an attempt of commit, which ctx ends after a little. Of one that is made
// again, the one before may have been carried out, though that was not heard of.
func (s *sender) commitOnce(ctx context.Context, name string, from *store.Cursor, to store.Cursor, again bool) (moved bool, err error) {
	under, stop := context.WithTimeout(context.WithoutCancel(ctx), moveTimeout)
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastTimeout, stop) })()
	moved, err = s.log.MoveCursor(under, name, from, to)
	if err != nil || moved || !again {
		return moved, err
	}
	is, known, err := s.log.Cursor(under, name)
	return known && is == to, err
}

// disable has nothing more be sent until somebody enables the webhook.
func (s *sender) disable(ctx context.Context, at store.Cursor) error {
	if _, err := s.commit(ctx, disabledPrefix+s.hook.Name, nil, at); err != nil {
		return fmt.Errorf("note that the webhook is disabled: %w", err)
	}
	s.logger.Error("webhook has answered 410 Gone and is disabled; POST /api/consumers/{name}/enable has it go on", "url", s.shown, "after", at.Offset)
	s.note(Disabled)
	return nil
}

// counters are a webhook's own.
type counters struct {
	requests              map[result]*metrics.Counter
	events, skipped, lost *metrics.Counter
	time                  *metrics.Timing
}

func newCounters(set *metrics.Set, name string) counters {
	tag := metrics.Consumer(name)
	c := counters{
		requests: map[result]*metrics.Counter{},
		events:   set.Counter(metrics.WebhookEvents, tag),
		skipped:  set.Counter(metrics.WebhookSkipped, tag),
		lost:     set.Counter(metrics.ConsumerLost, tag),
		time:     set.Timing(metrics.WebhookTime, tag),
	}
	for _, each := range results {
		c.requests[each] = set.Counter(metrics.WebhookRequests, tag, metrics.Status(string(each)))
	}
	return c
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
