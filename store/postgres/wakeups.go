package postgres

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// How seldom to look for events while nothing happens and wake-ups are known to come:
// what is committed then is announced, unless its trigger did not fire, and so is as much
// later at most.
const (
	// usualRest is for the leader's rounds. It is less than what a log may be quiet for:
	// or other sessions would have to look whether rows wait.
	usualRest = usualQuiet - 50*time.Millisecond
	// followerRest is for those who would take over. They hear of rows as the leader does.
	followerRest = maxRest
	// readerRest is for those who wait to read, since anyone has last asked how far the log
	// reaches. A service does so each second, and so has its readers ask nothing.
	readerRest = 1500 * time.Millisecond
	// watcherRest is for what looks whether rows wait, and watchedRest where rounds say that
	// they do not; mendRest for what looks for removed ones.
	watcherRest, watchedRest = 2 * time.Second, 10 * time.Second
	mendRest                 = 10 * time.Second
)

// restPause is usualRest; zero: no log rests. Tests change it.
var restPause = usualRest

const (
	// proofPause is how often it is proved that wake-ups come, and proofAge how long that
	// counts.
	proofPause = 20 * time.Second
	proofAge   = proofPause * 5 / 2
	// distrustFor is for how long wake-ups count for nothing once rows have come without.
	distrustFor = time.Minute
	// settling is how long a session that does not lead goes on looking often after it has
	// last heard of something, and unsettled how long after rows of which it has not heard
	// that they were moved.
	settling, unsettled = time.Second, 10 * time.Second
)

// proof is what a wake-up says that is none.
const proof = "proof"

// proofSQL sends a proof, by a session that is not the one to hear it, and tells whether
// commits send wake-ups.
const proofSQL = `SELECT tgenabled IN ('O', 'A'), pg_notify($1, $2) IS NOT NULL FROM pg_trigger
	WHERE tgrelid = 'sluice_outbox'::regclass AND tgname = 'sluice_outbox_inserted'`

// wakeUps knows whether commits wake this node: whether the outbox's trigger is enabled, and
// what other sessions notify comes through to the one that listens. Through a pooler that
// was not noticed, for one, it does not.
type wakeUps struct {
	mu sync.Mutex
	// Guarded by mu.
	enabled    time.Time // when the trigger was last seen to be enabled; zero: it was not, or no session listens
	heard      time.Time // when the session that listens last heard another one
	distrusted time.Time // until when nothing is made of that
	told       time.Time // when it was last told that rows had come without a wake-up
	resting    bool      // the session looks seldom
}

// proven tells whether what is committed now wakes this node, as far as can be known.
func (w *wakeUps) proven(now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return now.Sub(w.enabled) < proofAge && now.Sub(w.heard) < proofAge && now.After(w.distrusted)
}

// asked notes what the database has said of the trigger.
func (w *wakeUps) asked(enabled bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.enabled = time.Time{}
	if enabled {
		w.enabled = time.Now()
	}
}

// hear notes that the session has heard another one.
func (w *wakeUps) hear() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = time.Now()
}

// end notes that the session has ended: nobody listens.
func (w *wakeUps) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.enabled, w.heard, w.resting = time.Time{}, time.Time{}, false
}

// distrust notes that rows have come without a wake-up, and returns whether that is to be
// told.
func (w *wakeUps) distrust(now time.Time) (tell bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.distrusted = now.Add(distrustFor)
	if tell = now.Sub(w.told) >= tellPause; tell {
		w.told = now
	}
	return tell
}

// rest notes whether the session looks seldom.
func (w *wakeUps) rest(rests bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.resting = rests
}

// atRest tells whether the session looks seldom.
func (w *wakeUps) atRest() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.resting
}

// proveWakeUps sends proofs until ctx ends.
func (s *session) proveWakeUps(ctx context.Context) {
	defer s.log.wakeUps.end()
	due := time.NewTicker(proofPause)
	defer due.Stop()
	for {
		s.log.wakeUps.asked(s.prove(ctx))
		select {
		case <-ctx.Done():
			return
		case <-due.C:
		}
	}
}

// prove sends a proof, and tells whether the trigger is enabled.
func (s *session) prove(ctx context.Context) (enabled bool) {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	var sent bool
	err := s.log.pool.QueryRow(ctx, proofSQL, fmt.Sprintf("sluice_outbox_%d", s.outbox), proof).Scan(&enabled, &sent)
	return err == nil && enabled && sent
}

// restfulness is when a session last had a reason to look often. It is owned by the session's
// loop.
type restfulness struct {
	sign       time.Time // when rows were last found, or announced
	unanswered bool      // they were announced, and nobody has moved any since
	clear      time.Time // when nobody last had anything to commit
	surprised  bool      // rows were found at rest, of which nobody has told yet
}

// wakened notes that somebody has announced rows.
func (r *restfulness) wakened() {
	r.sign, r.unanswered, r.surprised = time.Now(), true, false
}

// sees notes what has come of a round: whether to rest after it, and whether rows come that
// nobody announces.
func (s *session) sees(result outcome) {
	r, w := &s.restful, &s.log.wakeUps
	now := time.Now()
	switch {
	case result != nothing:
		r.surprised = r.surprised || w.atRest() && !s.heard && !s.woken
		r.sign = now
	case r.surprised && !s.woken: // nor has anyone since
		r.surprised = false
		if w.distrust(now) {
			s.log.logger.Warn("events came without a wake-up, as rows that are restored or replicated do: looking for events each poll interval for a while", "for", distrustFor)
		}
	}
	w.rest(result == nothing && s.mayRest(now))
}

// mayRest tells whether there is no need to look often: whoever commits from now on wakes
// this node. Who commits while another is at it does not wake anyone; but the leader has
// looked since who had something to commit, and there was nobody, and a round has come after
// that.
func (s *session) mayRest(now time.Time) bool {
	r := &s.restful
	if s.log.rest == 0 || s.log.server.pooled || s.isQuiet() || s.held.id != 0 || s.held.look > 0 || !s.log.wakeUps.proven(now) {
		return false
	}
	if s.leads {
		return r.clear.After(r.sign)
	}
	calm := now.Sub(r.sign)
	return calm >= unsettled || calm >= settling && !r.unanswered
}

// waitFor waits for an event after an offset, for as long as it is likely to be announced;
// otherwise for atMost.
func (l *Log) waitFor(ctx context.Context, after int64, atMost time.Duration) error {
	for began := l.now(); ; {
		if err := l.head.Wait(ctx, after, atMost); err != nil || l.head.Offset() > after {
			return err
		}
		since := max(began, time.Duration(l.asked.Load()))
		if l.rest == 0 || l.now()-since >= readerRest || !l.wakeUps.proven(time.Now()) {
			return nil
		}
	}
}

// now is the time since the log was opened: it is not set.
func (l *Log) now() time.Duration { return time.Since(l.opened) }
