package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/internal/pgtest"
)

const audienceRules = `
topics:
  - {match: "orders"}
  - {match: "log:*", publish: log}
`

// An audience is clients of many kinds on one topic, whose events are numbered, while each
// pushes to a topic of its own.
type audience struct {
	cluster *cluster
	proxies []*proxy
	members []*member
	db      *pgx.Conn
	last    int // event that was inserted
}

// A member is a client of an audience.
type member struct {
	*phoenix
	name string
	own  string // topic
	// How often it has had to connect or join again, when that was last asked.
	disturbed int
	got       map[string][]string // "offset number" of the events that came, by topic
}

// newAudience has clients of these kinds join by way of each load balancer.
func newAudience(t testing.TB, at string, c *cluster, proxies []*proxy, kinds []flavour) *audience {
	t.Helper()
	a := &audience{cluster: c, proxies: proxies, db: database(t, at)}
	for _, p := range proxies {
		for _, f := range kinds {
			m := &member{phoenix: connect(t, p.address, f.args...), name: f.name + " by " + p.name,
				own: fmt.Sprintf("log:%d", len(a.members)), got: make(map[string][]string)}
			m.join(t, "orders", map[string]any{"after": 0})
			m.join(t, m.own, map[string]any{"after": 0})
			a.members = append(a.members, m)
		}
	}
	return a
}

// insert inserts the next event, in a transaction of its own.
func (a *audience) insert(ctx context.Context) error {
	_, err := a.db.Exec(ctx, `INSERT INTO sluice_outbox (topic, event, payload) VALUES ('orders', 'created', $1)`, fmt.Sprintf(`{"n":%d}`, a.last+1))
	if err == nil {
		a.last++
	}
	return err
}

// during inserts events all the while that something is done, and one more that only those
// who are there then can deliver.
func (a *audience) during(t testing.TB, do func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	begun, stop := make(chan struct{}), make(chan struct{}) // closed by the goroutine, and here
	ended := make(chan error, 1)                            // sent to once, by the goroutine
	go func() {
		begin := sync.OnceFunc(func() { close(begun) })
		defer begin()
		pace := time.NewTicker(50 * time.Millisecond)
		defer pace.Stop()
		for n := 1; ; n++ {
			if err := a.insert(ctx); err != nil {
				ended <- err
				return
			}
			if n == 3 {
				begin()
			}
			select {
			case <-pace.C:
			case <-stop:
				ended <- nil
				return
			}
		}
	}()
	<-begun
	do()
	close(stop)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := a.insert(ctx); err != nil {
		t.Fatal(err)
	}
}

// has waits until each client has got what the log has of its topics, and compares: each event
// once, and in order.
func (a *audience) has(t testing.TB) {
	t.Helper()
	logged := a.log(t)
	for i, event := range logged["orders"] {
		if _, n, _ := strings.Cut(event, " "); n != fmt.Sprint(i+1) {
			t.Fatalf("event %d of the log is %s", i+1, n)
		}
	}
	for _, m := range a.members {
		for _, topic := range []string{"orders", m.own} {
			for len(m.got[topic]) < len(logged[topic]) {
				message := m.next(t, "message")
				var payload struct {
					Offset int64
					Data   struct{ N int }
				}
				if err := json.Unmarshal(message.Payload, &payload); err != nil {
					t.Fatalf("%s: %v", message.Payload, err)
				}
				at, got := len(m.got[message.Topic]), fmt.Sprint(payload.Offset, payload.Data.N)
				if at >= len(logged[message.Topic]) {
					logged = a.log(t) // a push that was given up may be sequenced all the same
				}
				if want := logged[message.Topic]; at >= len(want) || got != want[at] {
					t.Fatalf("%s: after %d events of %s comes %s", m.name, at, message.Topic, message.Payload)
				}
				m.got[message.Topic] = append(m.got[message.Topic], got)
			}
		}
	}
}

// log is what the log has once all that was inserted is in it: "offset number", by topic.
func (a *audience) log(t testing.TB) (all map[string][]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		rows, err := a.db.Query(ctx, `SELECT topic, "offset" || ' ' || (payload->>'n') FROM sluice_log ORDER BY "offset"`)
		if err != nil {
			t.Fatal(err)
		}
		all = make(map[string][]string)
		var topic, event string
		if _, err := pgx.ForEachRow(rows, []any{&topic, &event}, func() error {
			all[topic] = append(all[topic], event)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if len(all["orders"]) >= a.last {
			return all
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("of %d events %d are in the log", a.last, len(all["orders"]))
		}
	}
}

// push has all clients push so many events at once, and tells which of them were not
// answered "ok" for all.
func (a *audience) push(t testing.TB, count int) (failed []string) {
	t.Helper()
	for _, m := range a.members {
		m.do(t, "pushMany", map[string]any{"topics": []string{m.own}, "event": "said", "count": count})
	}
	for _, m := range a.members {
		if got, want := m.answered(t), fmt.Sprintf(`{"ok":%d}`, count); got != want {
			failed = append(failed, fmt.Sprintf("%s: the pushes are answered %s, want %s", m.name, got, want))
		}
	}
	return failed
}

// disturbed tells which clients have had to connect or join again, since it was last asked.
func (a *audience) disturbed() (which []string) {
	for _, m := range a.members {
		count := len(m.said("close", "closed", "errored", "refused"))
		if count > m.disturbed {
			which = append(which, m.name)
		}
		m.disturbed = count
	}
	return which
}

// starved tells who was kept from running for so long that others took him for gone.
func (a *audience) starved(t testing.TB) (why []string) {
	t.Helper()
	if n := a.cluster.count(t, "sluice_cluster_gone_total", `reason="silent"`); n > 0 {
		why = append(why, fmt.Sprintf("nodes were silent: %d", n))
	}
	if n := a.cluster.count(t, "sluice_sockets_closed_total", `reason="poll_timeout"`); n > 0 {
		why = append(why, fmt.Sprintf("clients did not poll: %d", n))
	}
	for _, p := range a.proxies {
		if p.has("is DOWN", "timed out", "no live upstreams") {
			why = append(why, p.name+" has taken a node for gone")
		}
	}
	return why
}

// Any of three nodes serves any client, behind nginx and HAProxy as they are configured in
// deploy, without sticky sessions: no poll needs the node that holds its session. While rows
// are inserted one node is drained and comes back, and another is killed: each event comes
// once and in order.
func TestAnyNodeServesAnyClient(t *testing.T) {
	t.Parallel()
	var kinds []flavour
	for _, f := range flavours {
		if (f.polls || f.args[0] != "phoenix1721") && f.args[0] != "phoenix16" && f.args[1] == "2" { // 1.6 polls push in no order
			kinds = append(kinds, f)
		}
	}
	at := pgtest.Schema(t)
	c := clustered(t, at, []string{"a", "b", "c"}, "--config", config(t, audienceRules), "--trusted-proxies", "127.0.0.1/32",
		"--heartbeat-timeout", "1h", "--drain-timeout", patience.String())
	proxies := []*proxy{nginx(t, c), haproxy(t, c)}
	a := newAudience(t, at, c, proxies, kinds)

	// Who is kept from running for seconds is taken for gone, and his clients connect again: so
	// it is asked for a time in which nobody had to, and not that nobody ever has to. Without
	// requests that are handed over, polls would find no session at each turn.
	const pushes, attempts = 5, 20
	for attempt := 1; ; attempt++ {
		handed := c.count(t, "sluice_longpoll_handed_total", `result="answered"`)
		var failed []string
		a.during(t, func() { failed = a.push(t, pushes) })
		a.has(t)
		handed = c.count(t, "sluice_longpoll_handed_total", `result="answered"`) - handed
		which := a.disturbed()
		if len(failed)+len(which) == 0 && handed > 0 {
			break
		}
		why := a.starved(t)
		t.Logf("attempt %d: connected again: %q, pushes: %q, handed over: %d; %v", attempt, which, failed, handed, why)
		if attempt == attempts {
			if len(why) == 0 {
				t.Fatal("again and again somebody has to connect anew, although all nodes and clients have run")
			}
			break // too busy a machine to tell: that nothing is lost or comes twice is seen all the same
		}
	}
	for _, p := range proxies {
		p.tellsWhoAsks(t, c)
	}

	drained, killed := 2, 1
	a.during(t, func() {
		if code := c.nodes[drained].stop(t); code != 0 {
			t.Errorf("the node that drains ended with %d", code)
		}
		c.begin(t, drained)
		c.knowEachOther(t)
		c.nodes[drained].await(t, "/metrics", func(_ int, body string) bool { // it is asked again
			return counted(t, body, "sluice_longpoll_handed_total", `result="answered"`) > 0
		})
	})
	a.has(t)

	a.during(t, func() {
		if err := c.nodes[killed].cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		c.nodes[killed].wait(t)
	})
	a.has(t)
}
