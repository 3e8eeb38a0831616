package chaos

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

	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// Fewer events between faults leave the faults what they are.
func TestPlanOfFaultsThatAreClose(t *testing.T) {
	t.Parallel()
	const most = 100
	far, near := newPlan(7, outsideFaults), newPlan(7, outsideFaults)
	near.latest = most
	for range 3 * len(outsideFaults) {
		one, other := far.next(), near.next()
		if other.after < soonest || other.after >= most {
			t.Errorf("out of bounds: %+v", other)
		}
		if other.after = one.after; other != one {
			t.Errorf("%+v becomes %+v", one, other)
		}
	}
}

func TestPlanIsTheSeeds(t *testing.T) {
	t.Parallel()
	for _, kinds := range [][]faultKind{outsideFaults, slices.Concat(outsideFaults, ownFaults), embeddedFaults} {
		one, same, other := newPlan(7, kinds), newPlan(7, kinds), newPlan(8, kinds)
		differs := false
		for round := range 3 {
			var applied []faultKind
			for range kinds {
				f := one.next()
				if again := same.next(); again != f {
					t.Fatalf("one seed plans %+v and %+v", f, again)
				}
				differs = differs || other.next() != f
				if f.after < soonest || f.after >= latest || f.lasts < shortest || f.lasts >= longest {
					t.Errorf("out of bounds: %+v", f)
				}
				applied = append(applied, f.kind)
			}
			slices.Sort(applied)
			if want := slices.Sorted(slices.Values(kinds)); !slices.Equal(applied, want) {
				t.Errorf("round %d strikes %v, want each of %v", round, applied, want)
			}
		}
		if !differs {
			t.Error("two seeds plan the same")
		}
	}
}

// book is an audit of one topic, of whose writers each writes what is listed,
// at offsets that are two apart.
func book(at time.Time, events ...[2]int64) *audit {
	a := &audit{epochs: []epoch{{1, "e", 1}, {2, "g", 160}, {3, "f", 1}}, byTopic: map[string][]entry{}}
	for i, e := range events {
		a.all = append(a.all, entry{position{1, 10 + 2*int64(i)}, e[0], e[1], at.Add(time.Duration(i) * time.Second)})
	}
	a.byTopic["t"] = a.all
	return a
}

func TestReceiptsTellWhatWentWrong(t *testing.T) {
	t.Parallel()
	type arrival struct {
		offset int64
		writer int
		number int64
	}
	var events [][2]int64
	var whole []arrival
	for n := range int64(70) { // more than a word of them
		events = append(events, [2]int64{0, n})
		whole = append(whole, arrival{10 + 2*n, 0, n})
	}
	events, whole = append(events, [2]int64{1, 3}), append(whole, arrival{150, 1, 3})
	events = append(events, [2]int64{-1, -1}) // a client's
	a := book(time.Now(), events...)
	all := func() []arrival { return slices.Clone(whole) }
	hole := func(from, to int64) []told { return []told{{"e", "e", from, to, time.Now()}} }
	for name, test := range map[string]struct {
		arrivals []arrival
		start    int64
		told     []told
		erased   []offsetIn
		want     swarm.Check
		excused  int64
		strange  int64
	}{
		"all":                     {arrivals: all()},
		"none":                    {want: swarm.Check{Lost: 71}},
		"from the middle on":      {arrivals: all()[30:], start: 10 + 2*29},
		"one less":                {arrivals: slices.Delete(all(), 65, 66), want: swarm.Check{Lost: 1}},
		"one less, and told":      {arrivals: slices.Delete(all(), 65, 66), told: hole(10+2*64, 10+2*65), excused: 1},
		"one less, told of later": {arrivals: slices.Delete(all(), 65, 66), told: hole(10+2*65, 200), want: swarm.Check{Lost: 1}},
		"one less, told of other": {arrivals: slices.Delete(all(), 65, 66), told: hole(0, 10+2*64), want: swarm.Check{Lost: 1}},
		"told of a later epoch":   {arrivals: all()[:60], told: []told{{"e", "f", 10 + 2*59, 1, time.Now()}}, excused: 11},
		"told in a later epoch of the same offsets": {arrivals: all()[:45], told: []told{{"g", "g", 10 + 2*44, 200, time.Now()}}, excused: 26},
		"one less, that was erased":                 {arrivals: slices.Delete(all(), 65, 66), erased: []offsetIn{{"e", 10 + 2*65}}, excused: 1},
		"one less, another's erased":                {arrivals: slices.Delete(all(), 65, 66), erased: []offsetIn{{"e", 10 + 2*64}, {"f", 10 + 2*65}}, want: swarm.Check{Lost: 1}},
		"one again":                                 {arrivals: append(all(), all()[5]), want: swarm.Check{Twice: 1}},
		"again by a new offset":                     {arrivals: append(all(), arrival{300, 0, 5}), want: swarm.Check{Twice: 1}},
		"late":                                      {arrivals: append(slices.Delete(all(), 5, 6), all()[5]), want: swarm.Check{Disordered: 1}},
		"at another's offset":                       {arrivals: append(slices.Delete(all(), 5, 6), arrival{150, 0, 5}), want: swarm.Check{Disordered: 1}},
		"never committed":                           {arrivals: append(all(), arrival{300, 1, 4}), strange: 1},
		"of nobody":                                 {arrivals: append(all(), arrival{300, 2, 0}, arrival{301, -1, 0}), strange: 2},
		"with an absurd number":                     {arrivals: append(all(), arrival{300, 0, 1 << 62}, arrival{301, 0, -1}), strange: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := receipts{seen: make([]numbers, 2), started: true, startEpoch: "e", start: test.start, told: test.told, erased: test.erased}
			for _, a := range test.arrivals {
				r.note(a.offset, a.writer, a.number)
			}
			if got, excused, strange := r.against("t", a); got != test.want || excused != test.excused || strange != test.strange {
				t.Errorf("%+v, %d excused and %d strange, want %+v, %d and %d", got, excused, strange, test.want, test.excused, test.strange)
			}
		})
	}
}

// Being told has a cause: what was asked for is older than the retention, or
// somebody removed it.
func TestToldWithoutACause(t *testing.T) {
	t.Parallel()
	began := time.Now()
	a := book(began, [2]int64{0, 0}, [2]int64{0, 1}, [2]int64{0, 2})
	for name, test := range map[string]struct {
		from    int64
		after   time.Duration
		removed time.Duration // 0: never
		want    int64
	}{
		"in time":            {10, 5 * time.Second, 0, 1},
		"too late":           {10, 12 * time.Second, 0, 0},
		"nothing came since": {14, time.Hour, 0, 1},
		"removed before":     {10, 5 * time.Second, time.Second, 0},
		"removed after":      {10, 5 * time.Second, 6 * time.Second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := receipts{told: []told{{"e", "e", test.from, 99, began.Add(test.after)}}}
			var removed time.Time
			if test.removed > 0 {
				removed = began.Add(test.removed)
			}
			if got := r.causeless(a, 10*time.Second, removed); got != test.want {
				t.Errorf("%d without a cause, want %d", got, test.want)
			}
		})
	}
}

func TestAuditTellsDisorder(t *testing.T) {
	t.Parallel()
	a := book(time.Now(), [2]int64{0, 0}, [2]int64{1, 5}, [2]int64{0, 2}, [2]int64{0, 1}, [2]int64{0, 3}, [2]int64{1, 4}, [2]int64{-1, -1})
	certain := func(string, int64, int64) bool { return false }
	if got := a.disordered(certain); got != 2 {
		t.Errorf("%d out of order, want 2", got)
	}
	if got := a.disordered(func(_ string, writer, _ int64) bool { return writer == 1 }); got != 1 {
		t.Errorf("%d out of order without the doubtful, want 1", got)
	}
}

// A client keeps after and epoch as PROTOCOL.md has it.
func TestChaosClientResumes(t *testing.T) {
	t.Parallel()
	at := func(n int64) *int64 { return &n }
	for name, test := range map[string]struct {
		before     *int64
		answer     string
		after      int64
		told, ends bool
	}{
		"from now on":       {nil, `{"status":"ok","response":{"offset":9,"epoch":"e","resumed":true}}`, 9, false, false},
		"resumed":           {at(4), `{"status":"ok","response":{"offset":9,"epoch":"e","resumed":true}}`, 4, false, false},
		"cannot be resumed": {at(4), `{"status":"ok","response":{"offset":9,"epoch":"e","resumed":false}}`, 9, true, false},
		"refused":           {at(4), `{"status":"error","response":{"reason":"unavailable"}}`, 4, false, true},
		"no offset":         {at(4), `{"status":"ok","response":{"epoch":"e","resumed":true}}`, 4, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := client{joinedAll: make(chan struct{}), unjoined: 1}
			s := &subscription{after: test.before}
			err := c.answered(s, []byte(test.answer))
			if (err != nil) != test.ends || s.joined == test.ends || (len(s.receipts.told) > 0) != test.told || *s.after != test.after {
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
	b := Default().budget()
	for name, more := range map[string]func(*Budget){
		"connections":   func(b *Budget) { b.Connections++ },
		"mailbox bytes": func(b *Budget) { b.MailboxBytes++ },
		"recent":        func(b *Budget) { b.Recent++ },
		"fetch bytes":   func(b *Budget) { b.FetchBytes++ },
		"inbound bytes": func(b *Budget) { b.InboundBytes++ },
		"message bytes": func(b *Budget) { b.MessageBytes++ },
		"payload":       func(b *Budget) { b.Payload++ },
		"nodes":         func(b *Budget) { b.Nodes = 2 },
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
		"no program":          func(c *Chaos) { c.Program = "" },
		"no end":              func(c *Chaos) { c.For = 0 },
		"no nodes":            func(c *Chaos) { c.Nodes = 0 },
		"a keyword string":    func(c *Chaos) { c.DatabaseURL = "host=localhost" },
		"nobody that writes":  func(c *Chaos) { c.Writers = 0 },
		"two nodes on a file": func(c *Chaos) { c.DatabaseURL, c.Embedded = "", true },
		"a bus on a file":     func(c *Chaos) { c.DatabaseURL, c.Embedded, c.Nodes, c.Bus = "", true, 1, BusRoutes },
		"a bus of one":        func(c *Chaos) { c.Nodes, c.Bus = 1, BusNATS },
		"faults at once":      func(c *Chaos) { c.Spacing = soonest },
		"no such bus":         func(c *Chaos) { c.Bus = "train" },
		"two stores":          func(c *Chaos) { c.Nodes, c.Embedded = 1, true },
	} {
		c := Default()
		c.Program, c.DatabaseURL = "sluice", "postgres://localhost:1/db"
		change(c)
		if _, err := c.Run(t.Context(), nil); err == nil || !strings.HasPrefix(err.Error(), "benchmarks: chaos") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPauseEndsEarly(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	close(done)
	pause(t.Context(), done, time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	pause(ctx, nil, time.Hour)
	if !over(ctx, nil) || !over(t.Context(), done) || over(t.Context(), nil) {
		t.Error("over is not what it should be")
	}
}

// Nothing that the writers mean to come into the log is larger than it may be.
func TestPayloadsAreNoLargerThanTheyMayBe(t *testing.T) {
	t.Parallel()
	w := newWriter(1, 1, nil, []string{"t"}, nil)
	largest := 0
	for n := range int64(4_000) { // some dozen huge ones, some of them odd
		largest = max(largest, len(w.payload(n, 1)))
	}
	if largest > maxPayload || largest < maxPayload/2 {
		t.Errorf("the largest of them has %d bytes, want up to %d", largest, maxPayload)
	}
}

// TestWhatOthersPushMovesThePlace has a client receive what another one pushed to the log: it
// is an event of the topic as any, whose order counts, and the last one may be of that kind.
func TestWhatOthersPushMovesThePlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, payload string
		want          int64
		broken        int
	}{
		{"in the log", `{"offset":12,"data":{"forged":1}}`, 12, 0},
		{"not in the log", `{"data":{"forged":1,"offset":99}}`, 7, 0},
		{"with what is no object", `{"data":[1]}`, 7, 0},
		{"again", `{"offset":7,"data":{"forged":1}}`, 7, 1},
		{"from before", `{"offset":3,"data":{"forged":1}}`, 7, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			at := &subscription{}
			at.moveTo(7)
			one := &client{subscriptions: map[string]*subscription{"t": at}}
			if err := one.handle(nil, phoenixMessage{topic: "t", event: forgedEvent, payload: []byte(c.payload)}); err != nil {
				t.Fatal(err)
			}
			if *at.after != c.want || at.reached.Load() != c.want || len(one.broken) != c.broken || one.foreign != 1 {
				t.Errorf("it is at %d, %d of others came, broken: %q", *at.after, one.foreign, one.broken)
			}
		})
	}
}
