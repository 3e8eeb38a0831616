package postgres_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
)

// newSet is a set of metrics, and what a gauge or counter in it says, -1 for that it
// has none of that name.
func newSet(t *testing.T) (set *metrics.Set, value func(name string) float64) {
	t.Helper()
	set, err := metrics.New(metrics.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return set, func(name string) float64 {
		answer := httptest.NewRecorder()
		set.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
		for line := range strings.Lines(answer.Body.String()) {
			var v float64
			if _, err := fmt.Sscanf(line, name+" %g", &v); err == nil {
				return v
			}
		}
		return -1
	}
}

// awaitLeader has the log look until it sees what is wanted.
func awaitLeader(t *testing.T, log *postgres.Log, wanted func(store.Leader) bool) (l store.Leader) {
	t.Helper()
	until(t, "it sees who leads", func() bool {
		if l = log.Outbox().Leader; wanted(l) {
			return true
		}
		_ = log.Sequencing(t.Context()) // it looks, whatever it finds
		return false
	})
	return l
}

func led(by string, self bool) func(store.Leader) bool {
	return func(l store.Leader) bool { return l.Node == by && l.Self == self }
}

// giveLead has a log lead that runs, and another see that it does: whoever else leads loses
// its session.
func giveLead(t *testing.T, conn *pgx.Conn, to, seenBy *postgres.Log) {
	t.Helper()
	until(t, "it leads, and is seen to", func() bool {
		if l := to.Outbox().Leader; l.Self {
			_ = seenBy.Sequencing(t.Context()) // it looks, whatever it finds
			return seenBy.Outbox().Leader.Node == l.Node
		}
		if pid := leader(t, conn); pid != 0 && !to.Leads() {
			mustExec(t, conn, `SELECT pg_terminate_backend($1)`, pid)
		}
		return false
	})
}

// runLog runs the log until the function that it returns is called.
func runLog(t *testing.T, log *postgres.Log) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- log.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// TestLeaderIsSeen has the lead go from one node to another, by each way that ends
// it: all nodes see who has it, and the log says why it went.
func TestLeaderIsSeen(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	conn := connect(t, url)
	var lines [2]syncBuffer
	var logs [2]*postgres.Log
	var gauge [2]func(string) float64
	for i, name := range []string{"a", "b"} {
		set, value := newSet(t)
		logs[i] = mustOpen(t, postgres.Config{DatabaseURL: url, Node: name, PollInterval: 5 * time.Millisecond, Metrics: set, Logger: textLogger(&lines[i])})
		gauge[i] = value
	}
	if l := logs[0].Outbox().Leader; l != (store.Leader{}) {
		t.Errorf("before anybody runs the log, %+v leads", l)
	}
	stop := runLog(t, logs[0])
	first := awaitLeader(t, logs[0], led("a", true))
	runLog(t, logs[1])
	if seen := awaitLeader(t, logs[1], led("a", false)); seen.Since.Sub(first.Since).Abs() > time.Minute {
		t.Errorf("the one says that it leads since %v, the other says %v", first.Since, seen.Since)
	}
	if a, b := gauge[0]("sluice_leader{}"), gauge[1]("sluice_leader{}"); a != -1 || b != -1 {
		t.Errorf("gauges with labels: %v, %v", a, b)
	}
	if a, b := gauge[0]("sluice_leader"), gauge[1]("sluice_leader"); a != 1 || b != 0 {
		t.Errorf("gauges are %v and %v while a leads", a, b)
	}

	stop()
	awaitLeader(t, logs[1], led("b", true))
	awaitLeader(t, logs[0], led("b", false))
	lines[0].await(t, "it stops", 1)
	lines[1].await(t, "it sequences the log", 1)
	if a, b := gauge[0]("sluice_leader"), gauge[1]("sluice_leader"); a != 0 || b != 1 {
		t.Errorf("gauges are %v and %v once b leads", a, b)
	}

	stop = runLog(t, logs[0])
	mustExec(t, conn, `SELECT pg_terminate_backend($1)`, leader(t, conn))
	lines[1].await(t, "this node leads no more", 1)
	lines[1].await(t, "pg_terminate_backend", 1)
	until(t, "a leads again", func() bool {
		if logs[0].Outbox().Leader.Self {
			return true
		}
		if pid := leader(t, conn); logs[1].Outbox().Leader.Self && pid != 0 { // b comes back first, perhaps
			mustExec(t, conn, `SELECT pg_terminate_backend($1)`, pid)
		}
		return false
	})
	lines[0].await(t, "from=b", 1)
	stop()
}

// TestLeaderNeedsNoNote takes from the leader the right to say that it leads: events
// come all the same, and it tells what is missing.
func TestLeaderNeedsNoNote(t *testing.T) {
	t.Parallel()
	owner, url := serving(t)
	conn := connect(t, owner)
	var lines syncBuffer
	log := mustOpen(t, postgres.Config{DatabaseURL: url, Node: "a", PollInterval: 5 * time.Millisecond, Logger: textLogger(&lines)})
	mustExec(t, conn, `REVOKE UPDATE, INSERT ON sluice_leases FROM `+userOf(t, url))
	mustRun(t, log)
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
	next(t, log, 0)
	lines.await(t, "cannot note that", 1)
	lines.await(t, "sluice_leases", 1)
	awaitLeader(t, log, led("a", true))
}

// TestOutboxIsSeen has rows wait while nobody runs the log, few of them and many.
func TestOutboxIsSeen(t *testing.T) {
	t.Parallel()
	for _, rows := range []int{0, 3, 1000, 1001, 50_000} {
		t.Run(fmt.Sprint(rows), func(t *testing.T) {
			t.Parallel()
			url := pgtest.Schema(t)
			set, value := newSet(t)
			log := mustOpen(t, postgres.Config{DatabaseURL: url, Metrics: set, PollInterval: 5 * time.Millisecond})
			conn := connect(t, url)
			mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event, inserted_at) SELECT 't', 'e', now() - interval '1 hour' FROM generate_series(1, $1)`, rows)
			if rows > 1000 { // it is known to the statistics a moment later
				mustExec(t, conn, `SELECT pg_stat_force_next_flush()`)
			}
			until(t, "it sees what waits", func() bool {
				_ = log.Sequencing(t.Context()) // of rows that wait it says so
				return rows == 0 || log.Outbox().Rows > int64(rows)/2
			})
			o := log.Outbox()
			if rows <= 1001 && o.Rows != int64(rows) || o.Rows > 2*int64(rows) {
				t.Errorf("of %d rows it sees %d", rows, o.Rows)
			}
			if got := value("sluice_outbox_rows"); got != float64(o.Rows) {
				t.Errorf("the gauge says %v", got)
			}
			if age := value("sluice_outbox_age"); rows == 0 && age != 0 || rows > 0 && (age < 3600 || age > 5400) {
				t.Errorf("the oldest of %d is %v seconds old", rows, age)
			}
			mustRun(t, log)
			if rows > 0 {
				next(t, log, int64(rows)-1)
			}
			until(t, "it sees that nothing waits", func() bool {
				_ = log.Sequencing(t.Context())
				return log.Outbox().Rows == 0
			})
			until(t, "its last round is counted", func() bool { // which was committed before
				return value("sluice_events_sequenced_total") == float64(rows) && (value("sluice_sequence_time_seconds_count") > 0) == (rows > 0)
			})
			if err := log.Append(t.Context(), []store.Draft{{Topic: "t", Name: "e"}, {Topic: "t", Name: "e"}}); err != nil {
				t.Fatal(err)
			}
			if n, calls := value("sluice_events_appended_total"), value("sluice_append_time_seconds_count"); n != 2 || calls != 1 {
				t.Errorf("%v events appended in %v calls", n, calls)
			}
		})
	}
}

// deadEnd passes on what goes to a server and back, until it is cut: then nothing goes
// either way. Before that it stops taking what the server sends on a connection once
// rows of padding come by it. Nobody closes a connection that has stopped, as it is
// with a process that is stopped, or a network that is gone.
type deadEnd struct {
	address string
	cut     chan struct{} // closed by the test
	end     func()        // closes all
}

const padding = "xxxxxxxxxxxxxxxx"

func newDeadEnd(t *testing.T, server string) *deadEnd {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &deadEnd{address: listener.Addr().String(), cut: make(chan struct{})}
	over := make(chan struct{}) // closed by end
	var serving sync.WaitGroup
	d.end = sync.OnceFunc(func() {
		close(over)
		listener.Close()
		serving.Wait()
	})
	t.Cleanup(d.end)
	serving.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { d.carry(client, server, over) })
		}
	})
	return d
}

// carry takes one connection's bytes both ways, until over if it stops.
func (d *deadEnd) carry(client net.Conn, server string, over <-chan struct{}) {
	defer client.Close()
	backend, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer backend.Close()
	backend.(*net.TCPConn).SetReadBuffer(64 << 10)
	stopped := make(chan struct{})
	stop := sync.OnceFunc(func() { close(stopped) })
	pump := func(to, from net.Conn) {
		buffer := make([]byte, 16<<10)
		for {
			n, reading := from.Read(buffer)
			if bytes.Contains(buffer[:n], []byte(padding)) {
				stop()
			}
			select {
			case <-stopped:
				<-over
			case <-d.cut:
				<-over
			default:
				if _, writing := to.Write(buffer[:n]); reading == nil && writing == nil {
					continue
				}
			}
			client.Close()
			backend.Close()
			return
		}
	}
	var pumps sync.WaitGroup
	ended := make(chan struct{})
	pumps.Go(func() { pump(backend, client) })
	pumps.Go(func() { pump(client, backend) })
	go func() { pumps.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-over:
		client.Close()
		backend.Close()
		<-ended
	}
}

// TestLeadEndsWithinItsLease has the node that leads be cut off so that the server
// hears nothing of it, at rest and in the midst of a round whose rows nobody takes:
// another one sequences before the lease is over, and nothing twice.
func TestLeadEndsWithinItsLease(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		cut  func(d *deadEnd)
		size int // of rows that come then
	}{
		{"at rest", func(d *deadEnd) { close(d.cut) }, 0},
		{"in a round", func(*deadEnd) {}, 1<<20 - 256},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			direct := pgtest.Schema(t)
			u, err := url.Parse(direct)
			if err != nil {
				t.Fatal(err)
			}
			d := newDeadEnd(t, u.Host)
			u.Host = d.address
			var lines syncBuffer
			other := mustOpen(t, postgres.Config{DatabaseURL: direct, Node: "b", Logger: textLogger(&lines)})
			log := mustOpen(t, postgres.Config{DatabaseURL: u.String(), Node: "a"})
			log.GiveSilence(2 * time.Second)
			runLog(t, log)
			runLog(t, other)
			conn := connect(t, direct)
			ctx, cancel := context.WithCancel(context.Background())
			var reading sync.WaitGroup
			reading.Go(func() { // a reader waits, so that rounds bring rows back
				for after := int64(0); ctx.Err() == nil; {
					if events, err := log.Fetch(ctx, after, store.Limit{Events: 100}); err == nil && len(events) > 0 {
						after = events[len(events)-1].Offset
					}
					_ = log.Wait(ctx, after) // it ends with the test
				}
			})
			defer func() {
				d.end()
				cancel()
				reading.Wait()
			}()
			const after = 40
			before := 0
			for session := 0; session == 0 || leader(t, conn) != session; { // until one session of its own has made all these rounds
				giveLead(t, conn, log, other)
				session = leader(t, conn)
				for range 30 {
					mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', $1)`, fmt.Sprint(before))
					next(t, other, int64(before))
					before++
				}
			}
			until(t, "the reader waits", log.Waited)
			test.cut(d)
			began := time.Now()
			mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event, payload) SELECT 't', n::text, json_build_object('pad', repeat('x', $1)) FROM generate_series($2::integer, $3) AS n ORDER BY n`, test.size, before, before+after-1)
			for i := range after {
				if e := next(t, other, int64(before+i)); e.Name != fmt.Sprint(before+i) {
					t.Fatalf("event %d is %s", e.Offset, e.Name)
				}
			}
			t.Logf("taken over within %v", time.Since(began).Round(time.Millisecond))
			lines.await(t, "from=a", 1)
			if head, err := other.Head(t.Context()); err != nil || head.Offset != int64(before+after) {
				t.Errorf("the log ends at %d, %v", head.Offset, err)
			}
		})
	}
}
