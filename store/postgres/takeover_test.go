package postgres_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
)

// urlVariable names the database to a test process's child, which then is
// another node. With silenceVariable the server ends its session sooner than others.
const urlVariable, silenceVariable = "SLUICE_TEST_OTHER_NODE", "SLUICE_TEST_OTHER_NODE_SILENCE"

// TestOtherNode is the other one: it runs the log until its input ends.
func TestOtherNode(t *testing.T) {
	if url := os.Getenv(urlVariable); url != "" {
		log := mustOpen(t, postgres.Config{DatabaseURL: url})
		if silence, err := time.ParseDuration(os.Getenv(silenceVariable)); err == nil {
			log.GiveSilence(silence)
		}
		mustRun(t, log)
		io.Copy(io.Discard, os.Stdin)
	}
}

// startOtherNode returns a process that sequences the log.
func startOtherNode(t *testing.T, url string, conn *pgx.Conn, env ...string) *os.Process {
	t.Helper()
	node := exec.Command(os.Args[0], "-test.run=^TestOtherNode$")
	node.Env = append(append(os.Environ(), urlVariable+"="+url), env...)
	input, err := node.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		node.Process.Kill()
		node.Wait()
		input.Close()
	})
	until(t, "the other node leads", func() bool { return leader(t, conn) != 0 })
	return node.Process
}

// leader returns the process id of the session that leads, or 0.
func leader(t *testing.T, conn *pgx.Conn) (pid int) {
	t.Helper()
	err := conn.QueryRow(t.Context(), `SELECT coalesce(max(pid), 0) FROM pg_locks
		WHERE locktype = 'advisory' AND classid = 1936487683 AND objid = 'sluice_outbox'::regclass AND granted`).Scan(&pid)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// TestOtherNodeTakesOver has the node that sequences die, and hang: then it
// does not close its connection, and its kernel answers for it.
func TestOtherNodeTakesOver(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		signal os.Signal
	}{{"from one that dies", syscall.SIGKILL}, {"from one that hangs", syscall.SIGSTOP}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.Schema(t)
			log := mustOpen(t, postgres.Config{DatabaseURL: url})
			conn := connect(t, url)
			other := startOtherNode(t, url, conn, silenceVariable+"=2s")
			mustRun(t, log)
			after := int64(0)
			follow := func(events int) {
				t.Helper()
				for range events {
					if err := log.Append(t.Context(), []store.Draft{{Topic: fmt.Sprint(after), Name: "e"}}); err != nil {
						t.Fatal(err)
					}
					if e := next(t, log, after); e.Topic != fmt.Sprint(after) {
						t.Fatalf("got event %s at %d, want %d", e.Topic, e.Offset, after)
					}
					after++
				}
			}
			follow(20)
			if err := other.Signal(test.signal); err != nil {
				t.Fatal(err)
			}
			follow(20)
			until(t, "this one leads", log.Leads)
			if test.signal == syscall.SIGSTOP {
				if err := other.Signal(syscall.SIGCONT); err != nil {
					t.Fatal(err)
				}
				follow(20)
			}
		})
	}
}

// TestKilledSessionsLoseNothing ends the session that sequences again and
// again, while applications commit.
func TestKilledSessionsLoseNothing(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	conn := connect(t, url)
	var logs []*postgres.Log
	for range 2 {
		log := mustOpen(t, postgres.Config{DatabaseURL: url, PollInterval: 10 * time.Millisecond})
		mustRun(t, log)
		logs = append(logs, log)
	}
	const writers, kills = 4, 10
	ctx, cancel := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	written := make([]int, writers)
	turns := make(chan struct{}, 40) // so much may be written that was not read: what is left at the end does not grow with how slow all this is
	for w := range writers {
		app := connect(t, url)
		writing.Go(func() {
			for {
				select {
				case turns <- struct{}{}:
				case <-ctx.Done():
					return
				}
				if _, err := app.Exec(t.Context(), `INSERT INTO sluice_outbox (topic, event) VALUES ($1, $2)`, fmt.Sprint(w), fmt.Sprint(written[w])); err != nil {
					t.Error(err)
					return
				}
				written[w]++
			}
		})
	}
	after := int64(0)
	seen := make([]int, writers)
	read := func() {
		e := next(t, logs[0], after)
		var w int
		fmt.Sscan(e.Topic, &w)
		if after++; e.Offset != after || e.Name != fmt.Sprint(seen[w]) {
			t.Fatalf("got event %s of writer %d at %d, want %d at %d", e.Name, w, e.Offset, seen[w], after)
		}
		seen[w]++
	}
	for range kills {
		for range 20 {
			read()
			<-turns
		}
		if pid := leader(t, conn); pid != 0 {
			mustExec(t, conn, `SELECT pg_terminate_backend($1)`, pid)
		}
	}
	cancel()
	writing.Wait()
	for w := range writers {
		for seen[w] < written[w] {
			read()
		}
	}
	if head, err := logs[1].Head(t.Context()); err != nil || head.Offset != after {
		t.Errorf("the log ends at %d, %v; want %d", head.Offset, err, after)
	}
}

// TestPreparedRowsAreNotPassedOver commits in two phases, with other events
// sequenced in between.
func TestPreparedRowsAreNotPassedOver(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: url, PollInterval: 5 * time.Millisecond})
	mustRun(t, log)
	conn, app := connect(t, url), connect(t, url)
	mustExec(t, conn, `ALTER TABLE sluice_outbox DISABLE TRIGGER sluice_outbox_inserted`)
	after := int64(0)
	for turn := range 3 {
		name := fmt.Sprintf("sluice_test_%d", turn)
		mustExec(t, app, `BEGIN`)
		mustExec(t, app, `INSERT INTO sluice_outbox (topic, event) VALUES ('prepared', 'e')`)
		for step := range 2 {
			for range 5 {
				mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
				if e := next(t, log, after); e.Topic != "t" {
					t.Fatalf("got event %s, which is not committed", e.Topic)
				}
				after++
			}
			if step == 0 {
				mustExec(t, app, `PREPARE TRANSACTION '`+name+`'`)
			}
		}
		mustExec(t, app, `COMMIT PREPARED '`+name+`'`)
		if e := next(t, log, after); e.Topic != "prepared" {
			t.Fatalf("got event %s, want the one that was prepared", e.Topic)
		}
		after++
	}
}
