package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// A phoenix is the npm client at work in a Node process, alone or among the others of a test.
type phoenix struct {
	*process
	begins string         // what its reports begin with
	number int            // among the clients of its process; 0 if it is alone
	seen   map[string]int // by kind of report, the place after the last one read
}

// A report is what the client says has happened: see node/client.mjs.
type report struct {
	What     string
	Topic    string
	Event    string
	Status   string
	Code     int
	Reason   string
	Payload  json.RawMessage
	Response json.RawMessage
}

// A flavour is a way in which a stock client may speak: the package's two
// living versions, on either transport, in its own serialization and in the
// old one, and old versions that are still in use, which sent over long-polls
// what a tick of the application brought about in many requests (1.6) or all in
// one (to 1.7.22).
type flavour struct {
	name   string
	args   []string // of client.mjs
	binary bool     // payloads may be bytes, from the client at least
	polls  bool
}

// flavours are the clients that must work unchanged.
var flavours = func() (all []flavour) {
	for _, library := range []string{"phoenix16", "phoenix1721", "phoenix17", "phoenix18"} {
		for _, transport := range []string{"websocket", "longpoll"} {
			for _, version := range []string{"2", "1"} {
				old := library == "phoenix16" || library == "phoenix1721"
				if old && version == "1" {
					continue
				}
				all = append(all, flavour{
					name:   fmt.Sprintf("%s over %s in version %s", library, transport, version),
					args:   []string{library, version, transport},
					binary: version == "2" && (library != "phoenix16" || transport == "websocket"), // it has no base64
					polls:  transport == "longpoll",
				})
			}
		}
	}
	return all
}()

// connect runs a client and waits until its socket is open.
func connect(t testing.TB, address string, args ...string) *phoenix {
	t.Helper()
	c := dial(t, address, args...)
	c.next(t, "open")
	return c
}

// dial runs a client and has it connect. It goes when t ends.
func dial(t testing.TB, address string, args ...string) *phoenix {
	t.Helper()
	all := crowdOf(t)
	number := int(all.clients.Add(1))
	c := &phoenix{process: all.process, begins: fmt.Sprintf(`{"client":%d,"what":"`, number), number: number, seen: map[string]int{}}
	c.do(t, "begin", map[string]any{"args": append([]string{mount(address)}, args...)})
	t.Cleanup(func() { fmt.Fprintf(c.stdin, `{"do":"end","client":%d}`+"\n", number) })
	c.do(t, "connect", nil)
	return c
}

// alone is the client of a process that has no other.
func alone(p *process) *phoenix {
	return &phoenix{process: p, begins: `{"what":"`, seen: map[string]int{}}
}

// A crowd is a Node process with all clients of a test and of its subtests: a process takes
// a second of the processor, and a client little more than its connection.
type crowd struct {
	*process
	clients atomic.Int64 // that there have been
	users   int          // tests that have clients there; guarded by crowds.mu
}

// crowds are those of the tests that run, by what they are named at the top.
var crowds = struct {
	mu sync.Mutex
	of map[string]*crowd // guarded by mu
}{of: map[string]*crowd{}}

// crowdOf is the crowd of a test. It ends with the last one of those that it was given to.
func crowdOf(t testing.TB) *crowd {
	t.Helper()
	test, _, _ := strings.Cut(t.Name(), "/")
	crowds.mu.Lock()
	defer crowds.mu.Unlock()
	all := crowds.of[test]
	if all == nil {
		p, err := launch(exec.Command("node", "node/client.mjs"))
		if err != nil {
			t.Fatal(err)
		}
		all = &crowd{process: p}
		crowds.of[test] = all
	}
	all.users++
	t.Cleanup(func() {
		crowds.mu.Lock()
		defer crowds.mu.Unlock()
		if t.Failed() {
			t.Logf("the clients said:\n%s%s", all.stdout.text(), all.stderr.text())
		}
		if all.users--; all.users == 0 {
			all.finish()
			delete(crowds.of, test)
		}
	})
	return all
}

// do has the client do something.
func (c *phoenix) do(t testing.TB, what string, with map[string]any) {
	t.Helper()
	command := map[string]any{"do": what}
	if c.number > 0 {
		command["client"] = c.number
	}
	for key, value := range with {
		command[key] = value
	}
	line, err := json.Marshal(command)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(c.stdin, "%s\n", line); err != nil {
		t.Fatalf("tell the client to %s: %v", line, err)
	}
}

// join joins a topic with params and gives the reply's response.
func (c *phoenix) join(t testing.TB, topic string, params map[string]any) json.RawMessage {
	t.Helper()
	if params == nil {
		params = map[string]any{}
	}
	c.do(t, "join", map[string]any{"topic": topic, "params": params})
	answer := c.next(t, "joined", "refused")
	for answer.Topic != topic {
		answer = c.next(t, "joined", "refused") // of a topic that the client has not left in time
	}
	if answer.What != "joined" {
		t.Fatalf("joining %s was refused: %s", topic, answer.Response)
	}
	return answer.Response
}

// next waits for the client's next report of a kind, or of one of several.
func (c *phoenix) next(t testing.TB, kinds ...string) report {
	t.Helper()
	from := c.seen[kinds[0]]
	for _, kind := range kinds {
		from = min(from, c.seen[kind])
	}
	at := from - 1
	for {
		next, ok := c.stdout.next(t.Context(), at+1, func(line string) bool { return slices.Contains(kinds, c.kindOf(line)) })
		if !ok {
			t.Fatalf("the client has not reported %q; it said:\n%s", kinds, c.stdout.text())
		}
		if at = next; at < c.seen[c.kindOf(c.stdout.line(at))] {
			continue // read before
		}
		var r report
		if err := json.Unmarshal([]byte(c.stdout.line(at)), &r); err != nil {
			t.Fatalf("read the client's report %s: %v", c.stdout.line(at), err)
		}
		c.seen[r.What] = at + 1
		return r
	}
}

// kindOf is what a line reports, empty for a line that is no report of this client.
func (c *phoenix) kindOf(line string) string {
	rest, is := strings.CutPrefix(line, c.begins)
	kind, _, ends := strings.Cut(rest, `"`)
	if !is || !ends {
		return ""
	}
	return kind
}

// said is what the client has reported until now, of some kinds.
func (c *phoenix) said(kinds ...string) (lines []string) {
	for line := range strings.Lines(c.stdout.text()) {
		if slices.Contains(kinds, c.kindOf(line)) {
			lines = append(lines, line)
		}
	}
	return lines
}

// payloads waits for n messages and gives "event payload" of each.
func (c *phoenix) payloads(t testing.TB, n int) []string {
	t.Helper()
	var all []string
	for range n {
		message := c.next(t, "message")
		all = append(all, message.Event+" "+string(message.Payload))
	}
	return all
}

// frame waits for a message of an event that belongs to no joined channel.
func (c *phoenix) frame(t testing.TB, topic, event string) report {
	t.Helper()
	for {
		if r := c.next(t, "frame"); r.Topic == topic && r.Event == event {
			return r
		}
	}
}
