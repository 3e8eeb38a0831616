package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/sluicetest"
)

// TestConsume consumes from a service: what is printed or handed to a command, and where the
// next one goes on.
func TestConsume(t *testing.T) {
	t.Parallel()
	node := sluicetest.Run(t, sluicetest.With(func(*sluice.Config) {}))
	publish := func(topics ...string) {
		t.Helper()
		var lines strings.Builder
		for _, topic := range topics {
			fmt.Fprintf(&lines, `{"topic":%q,"event":"e","key":"<k>","payload":{ "of": "<%s>" }}`+"\n", topic, topic)
		}
		if status, body := node.Request("POST", node.Admin, "/api/events", map[string]string{"Content-Type": "application/x-ndjson"}, lines.String()); status != http.StatusAccepted {
			t.Fatalf("publish: %d %s", status, body)
		}
	}
	publish("a:1", "b", "a:2", "b")
	_, position := node.Ask("GET", "/api/consumers")
	epoch := strings.Split(position, `"`)[len(strings.Split(position, `"`))-2] // the last that is said
	consume := func(args ...string) outcome {
		t.Helper()
		return call{args: append([]string{"consume", "--admin-url", "http://" + node.Admin}, args...)}.run(t)
	}
	// seen are the offsets and topics that have been consumed.
	seen := func(out outcome) string {
		t.Helper()
		var list []string
		for line := range strings.Lines(out.stdout) {
			var e consumedEvent
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Errorf("%v in %s", err, line)
			}
			if at, err := time.Parse(time.RFC3339, e.InsertedAt); err != nil || at.IsZero() {
				t.Errorf("inserted at %q: %v", e.InsertedAt, err)
			}
			want := fmt.Sprintf(`{"topic":%q,"event":"e","offset":%d,"payload":{"of":"<%[1]s>"},"key":"<k>","inserted_at":%[3]q}`+"\n", e.Topic, e.Offset, e.InsertedAt)
			if line != want {
				t.Errorf("a line is %swant %s", line, want)
			}
			list = append(list, fmt.Sprint(e.Offset, " ", e.Topic))
		}
		return strings.Join(list, ", ")
	}
	for _, test := range []struct {
		args string
		want string
		says string
		exit int
	}{
		{"mail --count 3", "1 a:1, 2 b, 3 a:2", "mail begins with all that the log keeps", exitOK},
		{"mail --count 1", "4 b", "mail goes on after offset 3, 1 event behind", exitOK},
		{"some --count 2 --batch 1 --topic a:*", "1 a:1, 3 a:2", "", exitOK},
		{"some --count 1", "4 b", "", exitOK},
		{"late --start 2 --count 1", "3 a:2", "late begins after offset 2", exitOK},
		{"late --start 0 --count 1", "4 b", "late goes on after offset 3", exitOK}, // a position is kept
		{"cat --count 4 --batch 3 --exec cat", "1 a:1, 2 b, 3 a:2, 4 b", "", exitOK},
		{"early --start 99 --count 1", "", "beyond the log's last", exitFailure},
		{"epoch --count 1 --start " + epoch + ":2", "3 a:2", "epoch begins after offset 2", exitOK},
		{"other --count 1 --start gone:2", "", "cannot begin after offset 2 of epoch gone", exitFailure},
		{"x --start e:", "", "--start", exitUsage},
		{"x --start e:-1", "", "--start", exitUsage},
		{"a.b", "", "<name>", exitUsage},
		{"x --start soon", "", "--start", exitUsage},
		{"x --start -1", "", "--start", exitUsage},
		{"x --batch 0", "", "--batch", exitUsage},
		{"x --batch 1001", "", "--batch", exitUsage},
		{"x --count -1", "", "--count", exitUsage},
		{"x --topic \x01", "", "topic", exitFailure},
	} {
		out := consume(strings.Fields(test.args)...)
		if got := seen(out); out.exit != test.exit || got != test.want || !strings.Contains(out.stderr, test.says) {
			t.Errorf("%q: %q, want %q\n%+v", test.args, got, test.want, out)
		}
	}
	out := consume("env", "--count", "1", "--exec", `read -r line; echo "$CONSUMER_NAME $CONSUMER_EPOCH"`)
	if name, epoch, _ := strings.Cut(strings.TrimSpace(out.stdout), " "); out.exit != exitOK || name != "env" || len(epoch) < 8 {
		t.Errorf("a command is told %+v", out)
	}

	// What fails comes again; a command need not read.
	marker := filepath.Join(t.TempDir(), "marker")
	again := defaultConsume()
	again.Name, again.Count, again.AdminURL = "again", 4, "http://"+node.Admin
	again.Exec = fmt.Sprintf("test -e %[1]s || { cat; touch %[1]s; exit 3; }; exec cat", marker)
	got := consumeBy(t.Context(), t, again, nil)
	if text := seen(outcome{stdout: got.out}); got.err != nil || text != "1 a:1, 2 b, 3 a:2, 4 b, 1 a:1, 2 b, 3 a:2, 4 b" ||
		!strings.Contains(got.told, "the command failed on offsets 1 to 4: exit status 3; trying again in 1s") {
		t.Errorf("%s\n%+v", text, got)
	}
	if out := consume("deaf", "--count", "4", "--exec", "exit 0"); out.exit != exitOK {
		t.Errorf("a command that reads nothing: %+v", out)
	}

	// Whoever waits gets what comes, from now on.
	answers := make(chan outcome, 1)
	go func() { answers <- consume("now", "--start", "head", "--count", "1") }()
	node.Eventually("a position", func() bool {
		_, body := node.Ask("GET", "/api/consumers")
		return strings.Contains(body, `"now"`)
	})
	publish("c")
	if out := <-answers; out.exit != exitOK || seen(out) != "5 c" {
		t.Errorf("%+v", out)
	}
}

// consumed is what a consumer has done.
type consumed struct {
	err    error
	out    string
	told   string
	pauses []time.Duration
}

// consumeBy consumes with pauses that are only noted. deal, if not nil, is done instead of what the
// command says.
func consumeBy(ctx context.Context, t *testing.T, command consumeCmd, deal func(context.Context, *eventBatch) error) (done consumed) {
	t.Helper()
	api, err := newAdminClient(command.AdminURL, "")
	if err != nil {
		t.Fatal(err)
	}
	defer api.close()
	var out, told bytes.Buffer
	if deal == nil {
		p, _ := call{}.process(t, &out, io.Discard)
		deal = command.dealer(p)
	}
	c := &consumer{
		api: api, command: command, deal: deal, left: command.Count,
		tell:  func(format string, args ...any) { fmt.Fprintf(&told, format+"\n", args...) },
		pause: func(_ context.Context, pause time.Duration) { done.pauses = append(done.pauses, pause) },
	}
	done.err = c.run(ctx)
	done.out, done.told = out.String(), told.String()
	return done
}

// said is an exchange with a stand-in for a service.
type said struct {
	asked  string // method and what follows the consumer's path, or its body
	status int    // 0: the connection is cut
	answer string
}

// Exchanges of the tests below.
var (
	started   = said{`{"epoch":"e","offset":0}`, 200, `{"offset":0}`}
	noneKnown = said{"GET /api/consumers", 200, `{"consumers":[],"head":2,"trimmed":0,"epoch":"e"}`}
	atOne     = said{"GET /api/consumers", 200, `{"consumers":[{"name":"mail","epoch":"e","offset":1,"lag":1}],"head":2,"trimmed":0,"epoch":"e"}`}
	second    = said{"GET events", 200, `{"epoch":"e","through":2,"more":false,"events":[{"topic":"t","event":"e","offset":2,"payload":{},"inserted_at":"2026-01-31T00:00:00Z"}]}`}
	committed = said{`{"epoch":"e","offset":2,"read_after":{"epoch":"e","offset":1}}`, 200, `{"offset":2}`}
	starting  = said{"", 503, `{"error":"starting","hint":"wait"}`}
	conflict  = said{committed.asked, 409, `{"error":"conflict","hint":"look"}`}
	gone      = said{"GET events", 410, `{"error":"gone","hint":"h","trimmed":7,"epoch":"f","resume":7}`}
)

// skipped is the commit of who goes on after what was lost.
const skipped = `{"epoch":"f","offset":7,"read_after":{"epoch":"e","offset":1}}`

// as is an exchange of another question, with the same answer.
func (s said) as(asked string) said { s.asked = asked; return s }

// after is a commit of what was read after another position.
func (s said) after(epoch string, offset int64) said {
	return s.as(fmt.Sprintf(`{"epoch":"e","offset":2,"read_after":{"epoch":%q,"offset":%d}}`, epoch, offset))
}

// refused is an exchange whose commit does not fit.
func (s said) refused() said { return conflict.as(s.asked) }

// TestConsumerGoesOn has a stand-in for the service answer in all ways: what may be another time is tried
// again, what was dealt with is committed, and what is for somebody else to decide is the end.
func TestConsumerGoesOn(t *testing.T) {
	t.Parallel()
	const anyPauses = "any" // so long as the answer has taken less than a pause
	cut := said{}
	for name, test := range map[string]struct {
		skip   bool
		script []said
		dealt  int    // batches
		err    string // in what it ends with; empty: enough
		told   string
		pauses string
	}{
		"as usual":                 {script: []said{atOne, second, committed}, dealt: 1},
		"away while it reads":      {script: []said{atOne, cut.as("GET events"), starting.as("GET events"), second, committed}, dealt: 1, told: "cannot reach", pauses: "[1s 2s]"},
		"a proxy's page":           {script: []said{atOne, {"GET events", 502, "<html>"}, second, committed}, dealt: 1, told: "502", pauses: "[1s]"},
		"away while it commits":    {script: []said{atOne, second, cut.as(committed.asked), starting.as(committed.asked), committed}, dealt: 1, told: "trying again to commit in 2s", pauses: "[1s 2s]"},
		"away at first":            {script: []said{cut.as("GET /api/consumers")}, err: "cannot reach"},
		"starting":                 {script: []said{starting.as("GET /api/consumers"), cut.as("GET /api/consumers"), atOne, second, committed}, dealt: 1, told: "starting: wait; trying again", pauses: "[1s 2s]"},
		"another one commits":      {script: []said{atOne, second, conflict, atOne, second, committed}, dealt: 2, told: "conflict: look; reading on", pauses: "[1s]"},
		"others always commit":     {script: []said{atOne, second, conflict, atOne, second, conflict, atOne, second, conflict}, dealt: 3, err: "conflict: look; the batch is not committed", pauses: "[1s 2s]"},
		"earliest":                 {script: []said{noneKnown, started, second, committed.after("e", 0)}, dealt: 1, told: "mail begins with all that the log keeps, after offset 0"},
		"trimmed meanwhile":        {script: []said{noneKnown, started.refused(), {noneKnown.asked, 200, `{"consumers":[],"head":3,"trimmed":1,"epoch":"e"}`}, {`{"epoch":"e","offset":1}`, 200, "{}"}, second, committed}, dealt: 1, told: "begins with all that the log keeps, after offset 1"},
		"trimmed before it begins": {script: []said{noneKnown, started, gone}, err: "sluice consume mail --skip-lost"},
		"another one has begun":    {script: []said{noneKnown, started.refused(), atOne, second, committed}, dealt: 1, told: "mail goes on after offset 1"},
		"deleted meanwhile":        {script: []said{atOne, second, conflict, noneKnown, started, second, committed.after("e", 0)}, dealt: 2, told: "begins with all", pauses: "[1s]"},
		"late at first":            {script: []said{noneKnown, started, second, conflict.after("e", 0), atOne, second, committed}, dealt: 2, told: "conflict: look; reading on", pauses: "[1s]"},
		"there may be no more":     {script: []said{noneKnown, started.refused(), noneKnown, started.refused(), noneKnown, started.refused()}, err: "begin after offset 0: conflict: look"},
		"lost":                     {script: []said{atOne, gone}, err: "sluice consume mail --skip-lost"},
		"lost, and left":           {skip: true, script: []said{atOne, gone, {skipped, 200, "{}"}, second, committed.after("f", 7)}, dealt: 1, told: "goes on after offset 7"},
		"lost, and away":           {skip: true, script: []said{atOne, gone, starting.as(skipped), gone, {skipped, 200, "{}"}, second, committed.after("f", 7)}, dealt: 1, told: "goes on after offset 7", pauses: "[1s]"},
		"nothing matches":          {script: []said{atOne, {"GET events", 200, `{"epoch":"e","through":2,"more":true,"events":[]}`}, committed, second, committed.after("e", 2)}, dealt: 1},
		"nothing comes":            {script: []said{atOne, {"GET events", 200, `{"epoch":"e","through":1,"more":false,"events":[]}`}, second, committed}, dealt: 1, pauses: anyPauses},
		"nothing is seen":          {script: []said{atOne, {"GET events", 200, `{"epoch":"e","through":1,"more":true,"events":[]}`}, second, committed}, dealt: 1, pauses: anyPauses},
		"nothing there yet":        {script: []said{{"GET /api/consumers", 200, `{"consumers":[],"head":0,"trimmed":0,"epoch":"e"}`}, started, {"GET events", 200, `{"epoch":"e","through":0,"more":false,"events":[]}`}, second, committed.after("e", 0)}, dealt: 1, pauses: anyPauses},
		"may only read":            {script: []said{atOne, second, {committed.asked, 403, `{"error":"read only"}`}}, dealt: 1, err: "read only; the batch is not committed"},
		"the token is wrong":       {script: []said{{"GET /api/consumers", 401, `{"error":"no"}`}}, err: "--admin-token-file"},
		"the token counts no more": {script: []said{atOne, {"GET events", 401, `{"error":"no"}`}}, err: "--admin-token-file"},
		"another server":           {script: []said{{"GET /api/consumers", 200, "{}"}}, err: "is that the admin listener"},
		"another server then":      {script: []said{atOne, {"GET events", 200, `{"events":[]}`}}, err: "is that the admin listener"},
		"more than was asked for":  {script: []said{atOne, {"GET events", 200, `{"epoch":"e","through":3,"events":[{},{}]}`}}, err: "is that the admin listener"},
		"an old version":           {script: []said{{"GET /api/consumers", 404, `{"error":"there is no GET /api/consumers"}`}}, err: "there is no GET"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			command := defaultConsume()
			command.Name, command.SkipLost, command.Count = "mail", test.skip, 1
			script := newScript(t, test.script)
			command.AdminURL = script.url
			dealt := 0
			got := consumeBy(t.Context(), t, command, func(context.Context, *eventBatch) error { dealt++; return nil })
			if dealt != test.dealt || (got.err == nil) != (test.err == "") || got.err != nil && !strings.Contains(got.err.Error(), test.err) || !strings.Contains(got.told, test.told) {
				t.Errorf("%d batches, %+v", dealt, got)
			}
			if pauses := strings.TrimPrefix(fmt.Sprint(got.pauses), "[]"); pauses != test.pauses && test.pauses != anyPauses {
				t.Errorf("it pauses %s, want %s", pauses, test.pauses)
			}
			script.end()
		})
	}
}

// script is a stand-in for a service that has its answers by heart.
type script struct {
	t   *testing.T
	url string

	mu   sync.Mutex
	left []said // guarded by mu
}

func newScript(t *testing.T, exchanges []said) *script {
	s := &script{t: t, left: exchanges}
	server := httptest.NewServer(s)
	server.Config.SetKeepAlivesEnabled(false) // or the client makes a request again by itself that was cut
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// ServeHTTP implements [http.Handler].
func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	asked := r.Method + " " + r.URL.Path
	switch {
	case asked == "GET /api/consumers/mail/events" && r.URL.RawQuery == "limit=1&wait=20s":
		asked = "GET events"
	case asked == "POST /api/consumers/mail/commit":
		asked = string(body)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.left) == 0 || s.left[0].asked != asked {
		s.t.Errorf("asked is %s?%s, left %v", asked, r.URL.RawQuery, s.left)
		w.WriteHeader(http.StatusTeapot)
		return
	}
	now := s.left[0]
	s.left = s.left[1:]
	if now.status == 0 {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(now.status)
	fmt.Fprint(w, now.answer)
}

// end tells whether all was asked.
func (s *script) end() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.left) > 0 {
		s.t.Errorf("not asked: %v", s.left)
	}
}

// TestConsumerEnds: who is told to end brings the batch in hand to its end, and commits it. What could
// not be dealt with, or committed, is said to come again.
func TestConsumerEnds(t *testing.T) {
	t.Parallel()
	failed := &dealError{errors.New("broken")}
	for name, test := range map[string]struct {
		script []said
		deal   error
		want   string
	}{
		"committed":     {[]said{atOne, second, committed}, nil, "<nil>"},
		"not dealt":     {[]said{atOne, second}, failed, "broken; the batch is not committed, and comes again"},
		"not committed": {[]said{atOne, second, starting.as(committed.asked)}, nil, "starting: wait; the batch is not committed, and comes again"},
		"refused":       {[]said{atOne, second, conflict}, nil, "the commit was refused: conflict: look"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := newScript(t, test.script)
			command := defaultConsume()
			command.Name, command.Batch, command.AdminURL = "mail", 1, script.url
			ctx, end := context.WithCancel(t.Context())
			defer end()
			got := consumeBy(ctx, t, command, func(ctx context.Context, _ *eventBatch) error {
				end()
				if ctx.Err() != nil {
					t.Error("the batch in hand is broken off")
				}
				return test.deal
			})
			if !strings.Contains(fmt.Sprint(got.err), test.want) || len(got.pauses) > 0 {
				t.Errorf("%+v", got)
			}
			script.end()
		})
	}

	// Who waits is not kept.
	waiting := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/consumers" {
			fmt.Fprint(w, atOne.answer)
			return
		}
		close(waiting)
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	ctx, end := context.WithCancel(t.Context())
	go func() { <-waiting; end() }()
	if out := (call{args: []string{"consume", "mail", "--admin-url", server.URL}}).runUntil(ctx, t); out.exit != exitOK || out.stdout != "" {
		t.Errorf("%+v", out)
	}
}

// keptFile counts how often it is told to keep what was written.
type keptFile struct {
	*os.File
	synced int
}

func (f *keptFile) Sync() error { f.synced++; return f.File.Sync() }

// What is printed to a regular file is there for good before it is committed; a pipe cannot keep anything.
func TestPrintedIsKept(t *testing.T) {
	t.Parallel()
	file, err := os.Create(filepath.Join(t.TempDir(), "events"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	reader, pipe, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	defer pipe.Close()
	for _, test := range []struct {
		out  *keptFile
		want int
	}{{&keptFile{File: file}, 1}, {&keptFile{File: pipe}, 0}} {
		p, _ := call{}.process(t, test.out, io.Discard)
		p.stdout = test.out
		command := defaultConsume()
		if err := command.dealer(p)(t.Context(), &eventBatch{Events: []consumedEvent{{Payload: json.RawMessage("{}")}}}); err != nil || test.out.synced != test.want {
			t.Errorf("%s is synced %d times, want %d: %v", test.out.Name(), test.out.synced, test.want, err)
		}
	}
}

// A command that consume runs is ended by SIGPIPE as from any shell.
func TestCommandsGetBrokenPipes(t *testing.T) {
	t.Parallel()
	node := sluicetest.Run(t, sluicetest.With(func(*sluice.Config) {}))
	if status, body := node.Request("POST", node.Admin, "/api/events", map[string]string{"Content-Type": "application/x-ndjson"}, `{"topic":"a","event":"e","payload":{}}`); status != http.StatusAccepted {
		t.Fatalf("publish: %d %s", status, body)
	}
	out, err := program(t, []string{"PATH=" + os.Getenv("PATH")}, "consume", "mail", "--count", "1", "--admin-url", "http://"+node.Admin,
		"--exec", `sh -c 'kill -PIPE $$; echo ignored'; exit 0`).Output()
	if err != nil || strings.Contains(string(out), "ignored") {
		t.Errorf("%s, %v", out, err)
	}
}
