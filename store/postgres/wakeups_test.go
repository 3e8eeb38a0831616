package postgres_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
)

// link is between a log and its server.
type link struct {
	deaf    bool         // what others notify does not come through; immutable
	asked   atomic.Int64 // transactions, or nearly: each ends with a message of its kind
	dropped atomic.Int64 // notifications
}

// through returns the URL of the server's other end.
func (l *link) through(t *testing.T, url string) string {
	t.Helper()
	config := connect(t, url).Config()
	server := net.JoinHostPort(config.Host, fmt.Sprint(config.Port))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { l.carry(client, server) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		all.Wait()
	})
	return strings.Replace(url, server, listener.Addr().String(), 1)
}

func (l *link) carry(client net.Conn, server string) {
	backend, err := net.Dial("tcp", server)
	if err != nil {
		client.Close()
		return
	}
	var up sync.WaitGroup
	up.Go(func() {
		defer backend.Close()
		if !copyMessage(backend, client, 0, nil) { // the first one has no type
			return
		}
		for copyMessage(backend, client, 1, func(kind byte) bool {
			if kind == 'S' || kind == 'Q' {
				l.asked.Add(1)
			}
			return true
		}) {
		}
	})
	for copyMessage(client, backend, 1, func(kind byte) bool {
		if kind == 'A' && l.deaf {
			l.dropped.Add(1)
			return false
		}
		return true
	}) {
	}
	client.Close()
	up.Wait()
}

// copyMessage copies a message of PostgreSQL's protocol, if pass lets it through, and tells
// whether there was one. Its length stands behind as many bytes as its type has.
func copyMessage(to io.Writer, from io.Reader, typeBytes int, pass func(kind byte) bool) bool {
	header := make([]byte, typeBytes+4)
	if _, err := io.ReadFull(from, header); err != nil {
		return false
	}
	body := make([]byte, binary.BigEndian.Uint32(header[typeBytes:])-4)
	if _, err := io.ReadFull(from, body); err != nil {
		return false
	}
	if pass != nil && !pass(header[0]) {
		return true
	}
	_, err := to.Write(append(header, body...))
	return err == nil
}

// serve does with a log what a service does: it waits for events, and looks at the log each
// second. It sends how often it has looked.
func (l *link) serve(t *testing.T, log *postgres.Log) (beats chan time.Time) {
	mustRun(t, log)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		all.Wait()
	})
	all.Go(func() {
		for log.Wait(ctx, 0) == nil {
			if _, err := log.Fetch(ctx, 0, store.Limit{Events: 10}); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	beats = make(chan time.Time, 1)
	all.Go(func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			if _, err := log.Head(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			if err := log.Sequencing(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			select {
			case <-ctx.Done():
				return
			case at := <-ticker.C:
				select {
				case beats <- at:
				default:
				}
			}
		}
	})
	return beats
}

// TestIdleLogsAskLittle counts what a node that leads, and one that does not, ask of a
// database in which nothing happens, until that is little.
func TestIdleLogsAskLittle(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	for _, name := range []string{"leader", "other"} {
		way := new(link)
		log := mustOpen(t, postgres.Config{DatabaseURL: way.through(t, url), Node: name})
		log.Rest(postgres.UsualRest)
		beats := way.serve(t, log)
		until(t, name+" leads, or knows who does", func() bool { return log.Leads() || name == "other" })
		const each, besides = 4, 6 // transactions a second, and those that a second more makes
		var asked int64
		until(t, name+" asks little", func() bool {
			<-beats
			before, began := way.asked.Load(), time.Now()
			<-beats
			<-beats
			asked = way.asked.Load() - before
			return asked <= each*int64(time.Since(began)/time.Second)+besides
		})
		t.Logf("%s: %d transactions between three looks", name, asked)
	}
}

// TestRowsWithoutWakeUps has rows be committed, while a log rests, that nobody announces. They
// are found, and the log does not rest any more.
func TestRowsWithoutWakeUps(t *testing.T) {
	t.Parallel()
	const insert = `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`
	for _, test := range []struct{ name, before, insert string }{
		{"trigger disabled", `ALTER TABLE sluice_outbox DISABLE TRIGGER sluice_outbox_inserted`, insert},
		{"replicated", `SET session_replication_role = replica`, insert},
		{"held back", `SELECT 1`, `DO $$ BEGIN
			PERFORM set_config('sluice.wakes_' || 'sluice_outbox'::regclass::oid, 'yes', true);
			INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e'); END $$`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.Schema(t)
			conn := connect(t, url)
			log := mustOpen(t, postgres.Config{DatabaseURL: url, PollInterval: 5 * time.Millisecond})
			log.Rest(100 * time.Millisecond)
			mustRun(t, log)
			until(t, "the log rests", log.AtRest)
			mustExec(t, conn, test.before)
			mustExec(t, conn, test.insert)
			next(t, log, 0)
			until(t, "the log trusts no wake-up", func() bool { return !log.WakeUpsProven() })
			mustExec(t, conn, test.insert)
			next(t, log, 1)
		})
	}
}

// TestWakeUpsEndARest has a log rest for longer than any test takes.
func TestWakeUpsEndARest(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	conn := connect(t, url)
	log := mustOpen(t, postgres.Config{DatabaseURL: url, PollInterval: 5 * time.Millisecond})
	log.Rest(time.Hour)
	mustRun(t, log)
	for n := range int64(3) {
		until(t, "the log rests", log.AtRest)
		mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
		next(t, log, n)
	}
	if !log.WakeUpsProven() {
		t.Error("wake-ups that came are not trusted")
	}
}

// TestDeafLogDoesNotRest: what passes for a direct connection may lead through a pooler, where
// LISTEN hears nothing.
func TestDeafLogDoesNotRest(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	way := &link{deaf: true}
	log := mustOpen(t, postgres.Config{DatabaseURL: way.through(t, url), PollInterval: 5 * time.Millisecond})
	log.Rest(time.Hour)
	mustRun(t, log)
	until(t, "a proof was lost", func() bool { return way.dropped.Load() > 0 })
	asked := way.asked.Load()
	until(t, "rounds go on", func() bool { return way.asked.Load() > asked+50 })
	if log.AtRest() || log.WakeUpsProven() {
		t.Error("a log rests that hears nothing")
	}
	mustExec(t, connect(t, url), `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
	next(t, log, 0)
}
