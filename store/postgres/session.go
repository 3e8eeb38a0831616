package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Waiting times between attempts to restore a lost connection.
const (
	minReconnect = 50 * time.Millisecond
	maxReconnect = 5 * time.Second
)

// restInterval is how long the sequencer rests after a round that moved something,
// so that what commits at about the same time goes with one round. Each row that
// comes meanwhile waits for it: a longer rest gathers more, and is felt.
const restInterval = 200 * time.Microsecond

// How much longer the sequencer waits each time it has found nothing: after rows
// that were announced, and after others. Those come without a sound again, where
// nobody can listen or the trigger is disabled.
const (
	afterAnnounced   = 4
	afterUnannounced = 2
)

// maxRefused bounds the pause after a round that the server has refused.
const maxRefused = time.Second

// lockTimeout is how long a round waits for who has locked a table, or a row just
// before it was moved. It is tried again: what waits is waited for by others.
const lockTimeout = 200 * time.Millisecond

// maxSilence is how long the session that leads may do nothing before the server
// ends it, so that another takes over: it does something each maxRest at least. For
// as long may what the server sends it, in the midst of a round, not be taken.
var maxSilence = usualSilence // tests change it

const (
	usualSilence = 5 * time.Second
	maxRest      = usualSilence / 3
)

// Run implements [store.Log]. An error says that it runs already.
func (l *Log) Run(ctx context.Context) error {
	if l.running.Swap(true) {
		return errors.New("postgres: Run is running already")
	}
	defer l.running.Store(false)

	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = minReconnect, maxReconnect
	lost := false
	for {
		worked, err := l.runSession(ctx, func() {
			if lost {
				l.pool.Reset() // its connections are as dead as ours was
			}
			lost = false
		})
		if ctx.Err() != nil {
			return nil
		}
		if worked {
			pause.Reset()
		}
		l.failures.Add(1)
		lost = !isRefused(err)
		l.rounds.fail(l.explain(ctx, l.server.failure("run the log", err, reads)), lost)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause.NextBackOff()):
		}
	}
}

// session is one connection's turn at Run.
type session struct {
	log    *Log
	conn   *pgx.Conn
	outbox uint32 // oid of sluice_outbox, which lock and notification names derive from

	leads     bool          // this session sequences; the others only listen
	fence     int64         // of the row that says so; 0: it does not yet
	noteDue   time.Time     // when to say so again
	noteTold  time.Time     // when it was last told that it cannot be noted
	leading   chan struct{} // closed by lead once leads is set; the session's trimmer waits for it
	woken     bool          // somebody committed to the outbox since the last round
	heard     bool          // they did before the present one
	announced int64         // offset that a notification has named since announce
	head      *int64        // of the log, after the last round; nil while it has to be read
	trickles  bool          // the last round has moved few rows, and all there were
	watermark lowWatermark  // where rounds begin
	epoch     int32         // the number of the log's, where rounds tell it

	timeout       time.Duration // statement_timeout
	extendAfter   time.Time     // no attempt to make a partition before this
	extendFailure error         // of the last one
	healTold      time.Time     // when it was last told that ids are drawn out of order

	// How the next round is done: see sluice_sequence.
	careful    bool
	quiet      bool      // no wake-up this time
	quietUntil time.Time // nor until then
	quietTold  time.Time
	redone     string // SQLSTATE of the round before, if it was refused
	rejected   bool   // rows were looked for that are refused
	held       held
	restful    restfulness
}

// runSession connects, listens and sequences until ctx ends or the connection
// is lost. It calls connected once all is in order, and tells whether a round of the
// leader's has come to its end, or the session has lasted.
func (l *Log) runSession(ctx context.Context, connected func()) (worked bool, err error) {
	s := &session{log: l, leading: make(chan struct{})}
	s.watermark.off = l.healed // somebody has ids left
	config := l.pool.Config().ConnConfig
	config.OnNotification = s.notified
	connectedOnce := cancelNothing(config)
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return false, err
	}
	connectedOnce()
	s.conn = conn
	defer disconnect(conn)
	defer l.handoff.Store(nil)
	defer func() { s.resign(err) }()
	if err := s.start(ctx); err != nil {
		return false, err
	}
	var trimmer sync.WaitGroup
	defer trimmer.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	trimmer.Go(func() { s.mendWhileLeading(ctx) })
	if !l.server.pooled {
		trimmer.Go(func() { s.proveWakeUps(ctx) })
	}
	if l.retention > 0 {
		trimmer.Go(func() { s.trimWhileLeading(ctx) })
	}
	connected()
	began := time.Now()
	idle, longer := restInterval, time.Duration(afterUnannounced)
	refused := backoff.NewExponentialBackOff()
	refused.InitialInterval, refused.MaxInterval = minReconnect, maxRefused
	for ctx.Err() == nil {
		result, err := s.round(ctx)
		if lost := s.note(ctx); lost != nil {
			return worked, lost
		}
		if err != nil {
			if conn.IsClosed() || !isRefused(err) {
				return worked, err
			}
			s.tell(ctx, err)
			if err := s.pause(ctx, refused.NextBackOff(), true); err != nil {
				return worked, err
			}
			continue
		}
		if result == undone {
			continue
		}
		// Who finds the lead with another has done nothing yet: perhaps with its own
		// session before, which is not gone.
		worked = worked || s.leads || time.Since(began) >= maxReconnect
		refused.Reset()
		s.sees(result)
		switch result {
		case more, cleared:
			continue
		case emptied:
			idle, longer = restInterval, afterUnannounced
			if s.heard {
				longer = afterAnnounced
			}
		case nothing:
			// Who commits while another notifies is not announced; looking
			// soon, and then less and less often, finds most of them long
			// before the poll does.
			idle = min(longer*idle, s.pollInterval())
		}
		if err := s.pause(ctx, idle, result == emptied); err != nil {
			return worked, err
		}
	}
	return worked, nil
}

// tell tells why a round was refused, for as long as rounds are.
func (s *session) tell(ctx context.Context, err error) {
	s.log.failures.Add(1)
	err = s.log.explain(ctx, s.log.server.failure("sequence events", err, reads))
	if code(err) == lockNotAvailable {
		ctx, cancel := context.WithTimeout(ctx, roundTimeout)
		defer cancel()
		err = s.log.blame(ctx, s.conn, err)
	}
	s.log.rounds.fail(err, false)
}

// cancelNothing keeps the driver from having the server cancel what it is at, once
// the connection is given up: of a round that waits for a synchronous standby, a
// cancel ends the waiting, and shows what the standby may never have. It returns
// what to call when connected. To cancel, the driver dials anew.
func cancelNothing(config *pgx.ConnConfig) (connected func()) {
	dial := config.DialFunc
	var done atomic.Bool
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if done.Load() {
			return nil, errors.New("postgres: a round is not cancelled")
		}
		return dial(ctx, network, addr)
	}
	return func() { done.Store(true) }
}

// start listens, and then reads the head: nothing that is sequenced in
// between goes unnoticed.
func (s *session) start(ctx context.Context) error {
	if err := s.conn.QueryRow(ctx, `SELECT 'sluice_outbox'::regclass::oid`).Scan(&s.outbox); err != nil {
		return err
	}
	if !s.log.server.pooled {
		if err := s.setUp(ctx); err != nil {
			return err
		}
	}
	_, err := s.log.readHead(ctx, s.conn)
	return err
}

// setUp makes the server end a session that hangs, and listens.
func (s *session) setUp(ctx context.Context) error {
	// Of a process that is stopped, or that the network has lost, the server
	// would keep the session, and its lock. An offset that readers have seen
	// must survive a crash.
	settings := fmt.Sprintf(`%s; SET lock_timeout = %d; LISTEN sluice_outbox_%[3]d; LISTEN sluice_log_%[3]d;
		SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'`,
		settingsOfLeader(s.log.silence), lockTimeout.Milliseconds(), s.outbox)
	_, err := s.conn.Exec(ctx, settings, pgx.QueryExecModeSimpleProtocol)
	return err
}

// notified is called by the driver, within calls on the connection. A session
// hears of its own rounds too, before it has seen their end: so this only takes
// note, and announce, which pause calls, makes it known.
func (s *session) notified(_ *pgconn.PgConn, n *pgconn.Notification) {
	if n.PID != s.conn.PgConn().PID() {
		s.log.wakeUps.hear()
	}
	if strings.HasPrefix(n.Channel, "sluice_outbox_") {
		if n.Payload != proof {
			s.woken = true
			s.restful.wakened()
		}
		return
	}
	s.restful.unanswered = false
	offset, err := strconv.ParseInt(n.Payload, 10, 64)
	if err != nil {
		return
	}
	s.announced = offset
	if n.PID != s.conn.PgConn().PID() {
		s.log.rounds.heard()
	}
	if s.head != nil && n.PID != s.conn.PgConn().PID() {
		s.head = nil // a node behind a pooler, where nobody leads, sequences too
	}
}

func (s *session) announce() {
	s.log.head.Advance(s.announced)
	s.announced = 0 // what is found not to be there stays forgotten
}

// pause waits until somebody commits to the outbox, at most for atMost. A
// resting one waits in full.
func (s *session) pause(ctx context.Context, atMost time.Duration, resting bool) error {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	if s.log.server.pooled {
		<-ctx.Done()
		return nil
	}
	for resting || !s.woken {
		s.announce()
		// A deadline that passes leaves the connection in good order.
		err := s.conn.PgConn().WaitForNotification(ctx)
		if ctx.Err() != nil && !s.conn.IsClosed() {
			break
		}
		if err != nil {
			return err
		}
	}
	s.announce()
	s.heard, s.woken = s.woken, false
	return nil
}
