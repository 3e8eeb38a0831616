package benchmarks

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPlanIsTheSeeds(t *testing.T) {
	t.Parallel()
	for _, owns := range []bool{false, true} {
		kinds := slices.Clone(outsideFaults)
		if owns {
			kinds = append(kinds, ownFaults...)
		}
		one, same, other := newPlan(7, owns), newPlan(7, owns), newPlan(8, owns)
		differs := false
		for round := range 3 {
			var struck []faultKind
			for range kinds {
				f := one.next()
				if again := same.next(); again != f {
					t.Fatalf("one seed plans %+v and %+v", f, again)
				}
				differs = differs || other.next() != f
				if f.after < soonest || f.after >= latest || f.lasts < shortest || f.lasts >= longest {
					t.Errorf("out of bounds: %+v", f)
				}
				struck = append(struck, f.kind)
			}
			slices.Sort(struck)
			if want := slices.Sorted(slices.Values(kinds)); !slices.Equal(struck, want) {
				t.Errorf("round %d strikes %v, want each of %v", round, struck, want)
			}
		}
		if !differs {
			t.Error("two seeds plan the same")
		}
	}
}

func TestReceiptsTellWhatWentWrong(t *testing.T) {
	t.Parallel()
	type arrival struct {
		offset int64
		writer int
		number int64
	}
	committed := []numbers{nil, nil}
	for n := range int64(70) { // more than a word of them
		committed[0].add(n)
	}
	committed[1].add(3)
	all := func() (arrivals []arrival) {
		for n := range int64(70) {
			arrivals = append(arrivals, arrival{10 + 2*n, 0, n})
		}
		return append(arrivals, arrival{200, 1, 3})
	}
	for name, test := range map[string]struct {
		arrivals []arrival
		want     Check
		strange  int64
	}{
		"all":                    {all(), Check{}, 0},
		"none":                   {nil, Check{Lost: 71}, 0},
		"one less":               {slices.Delete(all(), 65, 66), Check{Lost: 1}, 0},
		"one again":              {append(all(), all()[5]), Check{Twice: 1}, 0},
		"again by a new offset":  {append(all(), arrival{300, 0, 5}), Check{Twice: 1}, 0},
		"late":                   {append(slices.Delete(all(), 5, 6), all()[5]), Check{Disordered: 1}, 0},
		"at another's offset":    {append(slices.Delete(all(), 5, 6), arrival{200, 0, 5}), Check{Disordered: 1}, 0},
		"never committed":        {append(all(), arrival{300, 1, 4}), Check{}, 1},
		"of nobody":              {append(all(), arrival{300, 2, 0}, arrival{301, -1, 0}), Check{}, 2},
		"with an absurd number":  {append(all(), arrival{300, 0, 1 << 62}, arrival{301, 0, -1}), Check{}, 2},
		"lost and never came it": {append(slices.Delete(all(), 0, 1), arrival{300, 1, 4}), Check{Lost: 1}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := receipts{seen: make([]numbers, 2)}
			for _, a := range test.arrivals {
				r.note(a.offset, a.writer, a.number)
			}
			if got, strange := r.against(committed); got != test.want || strange != test.strange {
				t.Errorf("%+v and %d strange, want %+v and %d", got, strange, test.want, test.strange)
			}
		})
	}
}

// A client keeps after and epoch as PROTOCOL.md has it.
func TestChaosClientResumes(t *testing.T) {
	t.Parallel()
	at := func(n int64) *int64 { return &n }
	for name, test := range map[string]struct {
		before       *int64
		answer       string
		after        int64
		broken, ends bool
	}{
		"from now on":       {nil, `{"status":"ok","response":{"offset":9,"epoch":"e","resumed":true}}`, 9, false, false},
		"resumed":           {at(4), `{"status":"ok","response":{"offset":9,"epoch":"e","resumed":true}}`, 4, false, false},
		"cannot be resumed": {at(4), `{"status":"ok","response":{"offset":9,"epoch":"e","resumed":false}}`, 9, true, false},
		"refused":           {at(4), `{"status":"error","response":{"reason":"unavailable"}}`, 4, false, true},
		"no offset":         {at(4), `{"status":"ok","response":{"epoch":"e","resumed":true}}`, 4, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := chaosClient{seated: make(chan struct{}), unseated: 1}
			s := &seat{after: test.before}
			err := c.answered(s, []byte(test.answer))
			if (err != nil) != test.ends || s.joined == test.ends || (len(c.broken) > 0) != test.broken || *s.after != test.after {
				t.Errorf("goes on after %d, joined %v, broken %q: %v", *s.after, s.joined, c.broken, err)
			}
		})
	}
}

func TestRelayBreaksWhatItIsToldTo(t *testing.T) {
	t.Parallel()
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		for {
			conn, err := echo.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	r, err := newRelay(echo.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	said := func(conn net.Conn, word string) error {
		if _, err := io.WriteString(conn, word); err != nil {
			return err
		}
		_, err := io.ReadFull(conn, make([]byte, len(word)))
		return err
	}
	connect := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", r.address())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	conn := connect()
	if err := said(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	r.stall()
	if err := conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil { // long for what is not stalled
		t.Fatal(err)
	}
	if err := said(conn, "patience"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("while it is stalled: %v", err)
	}
	r.resume()
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, len("patience"))); err != nil {
		t.Errorf("after a stall: %v", err)
	}
	r.cut()
	if err := said(conn, "cut"); err == nil {
		t.Error("a connection that was cut goes on")
	}
	r.refuse()
	if err := said(connect(), "refused"); err == nil {
		t.Error("a connection that was refused goes on")
	}
	r.admit()
	if err := said(connect(), "again"); err != nil {
		t.Errorf("after it admits again: %v", err)
	}
	if err := r.close(); err != nil {
		t.Error(err)
	}
}

func TestBudgetGrowsWithEachBound(t *testing.T) {
	t.Parallel()
	b := DefaultChaos().budget()
	for name, more := range map[string]func(*Budget){
		"connections":   func(b *Budget) { b.Connections++ },
		"mailbox bytes": func(b *Budget) { b.MailboxBytes++ },
		"recent":        func(b *Budget) { b.Recent++ },
		"fetch bytes":   func(b *Budget) { b.FetchBytes++ },
		"lanes":         func(b *Budget) { b.Lanes++ },
		"demand":        func(b *Budget) { b.MaxDemand++ },
		"payload":       func(b *Budget) { b.Payload++ },
	} {
		larger := b
		more(&larger)
		if larger.Bytes() <= b.Bytes() {
			t.Errorf("more %s, and no larger a bound", name)
		}
	}
}

func TestChaosRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Chaos){
		"no program":         func(c *Chaos) { c.Program = "" },
		"no end":             func(c *Chaos) { c.For = 0 },
		"no nodes":           func(c *Chaos) { c.Nodes = 0 },
		"a keyword string":   func(c *Chaos) { c.DatabaseURL = "host=localhost" },
		"nobody that writes": func(c *Chaos) { c.Writers = 0 },
	} {
		c := DefaultChaos()
		c.Program, c.DatabaseURL = "sluice", "postgres://localhost:1/db"
		change(c)
		if _, err := c.Run(t.Context(), nil); err == nil || !strings.HasPrefix(err.Error(), "benchmarks: chaos") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What a node says that no service should say is kept, however it is cut.
func TestAlarms(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	l := &watchedLog{name: "node-1", out: &out}
	for _, piece := range []string{"all is we", "ll\nWARNING: DATA", " RACE\nand so on\nfatal error: all gorou", "tines are asleep\n"} {
		if _, err := io.WriteString(l, piece); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"node-1: WARNING: DATA RACE", "node-1: fatal error: all goroutines are asleep"}
	if got := l.alarm(); !slices.Equal(got, want) {
		t.Errorf("alarms %q, want %q", got, want)
	}
	if got := out.String(); strings.Count(got, "node-1 ") != 4 {
		t.Errorf("logged %q", got)
	}
}

func TestPauseEndsEarly(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	close(done)
	pause(t.Context(), done, patience)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	pause(ctx, nil, patience)
	if !over(ctx, nil) || !over(t.Context(), done) || over(t.Context(), nil) {
		t.Error("over is not what it should be")
	}
}

// A server that is started has the flags that it is given, and no other ones.
func TestEnvironmentOfAServer(t *testing.T) {
	t.Setenv("DATABASE_URL", "postgres://localhost/precious")
	t.Setenv("SLUICE_LANES", "3")
	t.Setenv("SLUICE_TEST_RUNS_MAIN", "yes")
	t.Setenv("HOMELY", "yes")
	got := environment()
	for variable, want := range map[string]bool{
		"DATABASE_URL=postgres://localhost/precious": false, "SLUICE_LANES=3": false, "SLUICE_TEST_RUNS_MAIN=yes": true, "HOMELY=yes": true,
	} {
		if slices.Contains(got, variable) != want {
			t.Errorf("%s is handed on: %v, want %v", variable, !want, want)
		}
	}
}
