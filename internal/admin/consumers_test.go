package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/stages"
	"github.com/sluicehq/sluice/store"
)

// consuming asks for what consumers do, of an embedded store.
type consuming struct {
	t    *testing.T
	api  *api
	log  store.Log
	file string
}

func newConsuming(t *testing.T) *consuming {
	t.Helper()
	log, file := newLog(t)
	a := &api{Config: Config{Node: logNode{log: log}, Stream: &stages.Stream{}, Readiness: stages.NewReadiness(slog.New(slog.DiscardHandler)), Metrics: newSet(t), Logger: slog.New(slog.DiscardHandler), MaxBodyBytes: 1000, BytesText: func(int64) string { return "" }}}
	a.Stream.Open(log, nil)
	return &consuming{t, a, log, file}
}

// logNode is a node that has seen all of a log.
type logNode struct {
	Node
	log store.Log
}

func (n logNode) Extent() (head, position int64) {
	h, err := n.log.Head(context.Background())
	if err != nil {
		return 0, 0
	}
	return h.Offset, h.Offset
}

func (c *consuming) append(topics ...string) {
	c.t.Helper()
	var drafts []store.Draft
	for _, topic := range topics {
		drafts = append(drafts, store.Draft{Topic: topic, Name: "e"})
	}
	if err := c.log.Append(c.t.Context(), drafts); err != nil {
		c.t.Error(err)
	}
}

// ask answers with the status and what is said, taken apart.
func (c *consuming) ask(method, path, body string) (status int, answer map[string]any) {
	c.t.Helper()
	mux := http.NewServeMux()
	for _, r := range c.api.routes() {
		if strings.HasPrefix(r.path, "/api/consumers") {
			mux.HandleFunc(r.method+" "+r.path, r.handle)
		}
	}
	recorder := httptest.NewRecorder()
	mux.ServeHTTP(recorder, httptest.NewRequest(method, "/api/consumers"+path, strings.NewReader(body)))
	if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil {
		c.t.Fatalf("%s %s: %v in %s", method, path, err, recorder.Body)
	}
	return recorder.Code, answer
}

// see is the offsets that a consumer sees, or the status.
func (c *consuming) see(path string) string {
	c.t.Helper()
	status, answer := c.ask("GET", path, "")
	if status != http.StatusOK {
		return fmt.Sprint(status)
	}
	var list []string
	for _, e := range answer["events"].([]any) {
		list = append(list, fmt.Sprint(e.(map[string]any)["offset"]))
	}
	return fmt.Sprint(list, " through ", answer["through"])
}

func (c *consuming) commit(name, epoch string, offset int64, more string) int {
	c.t.Helper()
	status, _ := c.ask("POST", "/"+name+"/commit", fmt.Sprintf(`{"epoch":%q,"offset":%d%s}`, epoch, offset, more))
	return status
}

func TestConsumers(t *testing.T) {
	t.Parallel()
	c := newConsuming(t)
	c.append("a:1", "b", "a:2", "b", "b")
	head, err := c.log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	epoch := head.Epoch
	see := func(path, want string) {
		t.Helper()
		if got := c.see(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	commit := func(name, epoch string, offset int64, more string, want int) {
		t.Helper()
		if got := c.commit(name, epoch, offset, more); got != want {
			t.Errorf("commit %d%s: %d, want %d", offset, more, got, want)
		}
	}
	see("/mail/events", "[1 2 3 4 5] through 5") // who has committed nothing has all
	see("/mail/events?limit=2", "[1 2] through 2")
	commit("mail", epoch, 2, "", 200)
	commit("mail", epoch, 2, "", 200) // again
	see("/mail/events", "[3 4 5] through 5")
	see("/mail/events?after=0&before=2&epoch=x", "[3 4 5] through 5") // its position is the consumer's
	see("/mail/events?topic=a:*", "[3] through 5")
	see("/mail/events?topic=b&limit=1", "[4] through 4")
	see("/other/events", "[1 2 3 4 5] through 5")
	commit("mail", epoch, 6, "", 409)   // there is no such event
	commit("mail", "other", 3, "", 409) // of another log
	commit("mail", epoch, 1, "", 409)
	commit("mail", epoch, 1, `,"rewind":false`, 409)
	commit("mail", epoch, 1, `,"rewind":true`, 200)
	see("/mail/events", "[2 3 4 5] through 5")
	commit("mail", epoch, 5, "", 200)
	see("/mail/events", "[] through 5")
	for _, bad := range []string{"", "{", `{}`, `{"epoch":"e"}`, `{"offset":1}`, `{"epoch":"e","offset":-1}`, `{"epoch":"e","offset":1.5}`, `{"epoch":"e","offset":1,"x":1}`, `{"epoch":"e","offset":1}{}`,
		`{"epoch":"e","offset":1,"read_after":{}}`, `{"epoch":"e","offset":1,"read_after":{"epoch":"e","offset":-1}}`, `{"epoch":"e","offset":1,"read_after":{"epoch":"e","offset":0,"x":1}}`} {
		if status, _ := c.ask("POST", "/mail/commit", bad); status != 400 {
			t.Errorf("commit %s: %d", bad, status)
		}
	}
	if status, _ := c.ask("POST", "/mail/commit", strings.Repeat(" ", 2000)); status != 413 {
		t.Errorf("a large body: %d", status)
	}
	for _, name := range []string{"a%20b", "a.b", "a%2Fb", strings.Repeat("x", 65), "ä"} {
		if status, _ := c.ask("GET", "/"+name+"/events", ""); status != 400 {
			t.Errorf("%s: %d", name, status)
		}
		if status, _ := c.ask("DELETE", "/"+name, ""); status != 400 {
			t.Errorf("delete %s: %d", name, status)
		}
	}
	for _, query := range []string{"limit=0", "limit=1001", "wait=31s", "wait=-1s", "wait=20", "topic=a%00"} {
		see("/mail/events?"+query, "400")
	}

	removed(t, c.log, c.file, 3)      // from now on it begins after 3
	commit("late", epoch, 2, "", 409) // it would begin with what is gone
	see("/new/events", "[4 5] through 5")
	if moved, err := c.log.MoveCursor(t.Context(), "consumer/late", nil, store.Cursor{Epoch: epoch, Offset: 2}); !moved || err != nil {
		t.Fatal(moved, err)
	}
	if err := c.log.Commit(t.Context(), "a node", store.Cursor{Epoch: epoch, Offset: 1}); err != nil {
		t.Fatal(err)
	}
	status, gone := c.ask("GET", "/late/events", "")
	if status != http.StatusGone || gone["trimmed"] != 3.0 || gone["resume"] != 3.0 || gone["epoch"] != epoch {
		t.Errorf("who has missed some: %d %v", status, gone)
	}
	_, all := c.ask("GET", "", "")
	var list []string
	for _, each := range all["consumers"].([]any) {
		one := each.(map[string]any)
		list = append(list, fmt.Sprint(one["name"], " at ", one["offset"], " behind ", one["lag"], " lost ", one["lost"]))
	}
	if got := strings.Join(list, ", "); got != "late at 2 behind 2 lost true, mail at 5 behind 0 lost false" || all["head"] != 5.0 || all["trimmed"] != 3.0 || all["epoch"] != epoch {
		t.Errorf("there are %s: %v", got, all)
	}
	commit("late", epoch, 3, "", 200)
	see("/late/events", "[4 5] through 5")
	for want := 1.0; want >= 0; want-- {
		if status, answer := c.ask("DELETE", "/late", ""); status != 200 || answer["deleted"] != want {
			t.Errorf("delete: %d %v", status, answer)
		}
	}
	see("/late/events", "[4 5] through 5")
}

// A position that was moved or deleted since events were read is not moved by their commit.
func TestCommitsDoNotUndo(t *testing.T) {
	t.Parallel()
	c := newConsuming(t)
	c.append("a", "a", "a", "a", "a")
	head, err := c.log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	after := func(epoch string, offset int64) string {
		return fmt.Sprintf(`,"read_after":{"epoch":%q,"offset":%d}`, epoch, offset)
	}
	for n, step := range []struct {
		to   int64
		more string
		want int
	}{
		{3, after(head.Epoch, 0), 409}, // there is none
		{3, "", 200},
		{4, after(head.Epoch, 3), 200},
		{4, after(head.Epoch, 3), 200}, // again, as its answer was lost
		{5, after(head.Epoch, 3), 409},
		{5, after("other", 4), 409},
		{1, `,"rewind":true` + after(head.Epoch, 3), 409},
		{1, `,"rewind":true` + after(head.Epoch, 4), 200},
		{5, after(head.Epoch, 4), 409}, // what was read before the rewind
		{5, after(head.Epoch, 1), 200},
	} {
		if got := c.commit("mail", head.Epoch, step.to, step.more); got != step.want {
			t.Errorf("step %d, to %d%s: %d, want %d", n, step.to, step.more, got, step.want)
		}
	}
	c.append("a")
	if status, _ := c.ask("DELETE", "/mail", ""); status != 200 {
		t.Fatal(status)
	}
	if got := c.commit("mail", head.Epoch, 6, after(head.Epoch, 5)); got != 409 {
		t.Errorf("what was read before it was deleted: %d", got)
	}
	if got := c.see("/mail/events"); got != "[1 2 3 4 5 6] through 6" {
		t.Errorf("who was deleted sees %s", got)
	}
}

// watchedLog says when somebody waits for its events.
type watchedLog struct {
	store.Log
	waits chan struct{} // sent by Wait, received by the test: nobody waits unseen
}

func (l watchedLog) Wait(ctx context.Context, after int64) error {
	select {
	case l.waits <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	return l.Log.Wait(ctx, after)
}

// What is waited for comes; what does not match is waited past; who leaves, whose time is over, and whose
// node drains, waits no more.
func TestConsumersWait(t *testing.T) {
	t.Parallel()
	c := newConsuming(t)
	log := watchedLog{c.log, make(chan struct{})}
	answers := make(chan string, 1)
	read := func(ctx context.Context, topic string, wait time.Duration) {
		go func() {
			view, err := c.api.readConsumerLog(ctx, log, "consumer/mail", logQuery{topic: topic, after: -1, limit: 10, wait: wait})
			if err != nil {
				answers <- err.Error()
				return
			}
			answers <- fmt.Sprint(view.count, " through ", view.through)
		}()
	}
	// answered lets a reader wait until it has answered.
	answered := func() string {
		for {
			select {
			case <-log.waits:
			case got := <-answers:
				return got
			}
		}
	}
	want := func(want string) {
		t.Helper()
		if got := answered(); got != want {
			t.Errorf("it is answered %s, want %s", got, want)
		}
	}
	for _, topic := range []string{"a", "a*"} {
		head, err := c.log.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if status := c.commit("mail", head.Epoch, head.Offset, ""); status != http.StatusOK {
			t.Fatal(status)
		}
		read(t.Context(), topic, time.Hour)
		<-log.waits
		c.append("b", "b")
		<-log.waits // it has seen these, or has been woken for nothing
		c.append("a")
		want(fmt.Sprint("1 through ", head.Offset+3))
	}
	read(t.Context(), "x", time.Nanosecond)
	want("0 through 6")
	go func() { // to an end, which is waited for no longer than there is something before it
		view, err := c.api.awaitLog(t.Context(), log, logQuery{topic: "x", after: 1, before: 7, limit: 10, wait: time.Hour})
		answers <- fmt.Sprint(view.through, " ", err)
	}()
	want("6 <nil>")
	leaving, leave := context.WithCancel(t.Context())
	read(leaving, "x", time.Hour)
	<-log.waits
	leave()
	want(context.Canceled.Error())
	read(t.Context(), "x", time.Hour)
	<-log.waits
	c.api.Readiness.Drain()
	want("0 through 6")
	read(t.Context(), "x", time.Hour)
	want("0 through 6")
	if left := c.api.waiting.Load(); left != 0 {
		t.Errorf("%d wait", left)
	}
}

// As many wait as may: what there is, is answered, and who would have to wait is told.
func TestConsumersThatWaitAreBounded(t *testing.T) {
	t.Parallel()
	c := newConsuming(t)
	c.append("a")
	c.api.waiting.Store(maxLogWaiting)
	for path, want := range map[string]string{
		"/mail/events?topic=a&wait=30s": "[1] through 1",
		"/mail/events?topic=x&wait=30s": "503",
		"/mail/events?topic=x":          "[] through 1",
		"/mail/events?topic=x&wait=0s":  "[] through 1",
	} {
		if got := c.see(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if left := c.api.waiting.Load(); left != maxLogWaiting {
		t.Errorf("%d wait", left)
	}
}

// Positions are judged across epochs by what both have been through.
func TestCommitsAreJudged(t *testing.T) {
	t.Parallel()
	// Epoch f begins after 8 of e's, and what is kept begins after 3.
	extent := store.Extent{Head: store.Head{Epoch: "f", Offset: 20, Trimmed: 3}, Epochs: []store.Epoch{{ID: "e", First: 1}, {ID: "f", First: 9}}}
	at := func(epoch string, offset int64) store.Cursor { return store.Cursor{Epoch: epoch, Offset: offset} }
	for _, test := range []struct {
		at     store.Cursor
		to     int64
		rewind bool
		ok     bool
	}{
		{at("", 0), 2, false, false}, // a new one would begin with what is gone
		{at("", 0), 2, true, false},
		{at("", 0), 3, false, true},
		{at("", 0), 20, false, true},
		{at("f", 10), 11, false, true},
		{at("f", 10), 9, false, false},
		{at("f", 10), 9, true, true},
		{at("f", 10), 3, true, true},
		{at("f", 10), 2, true, false},
		{at("f", 1), 2, false, true}, // it has come so far, too late as it is
		{at("f", 1), 20, false, true},
		{at("e", 10), 8, false, true}, // 9 and 10 were others then
		{at("e", 10), 7, false, false},
		{at("e", 10), 7, true, true},
		{at("e", 6), 6, false, true},
		{at("e", 6), 5, false, false},
		{at("e", 1), 3, false, true},
		{at("e", 1), 2, false, false},
		{at("gone", 10), 3, false, true},
		{at("gone", 10), 2, false, false},
	} {
		err := judgeCommit(&extent, test.at, at("f", test.to), test.at.Epoch != "", test.rewind)
		if refused := new(commitError); (err == nil) != test.ok || err != nil && (!errors.As(err, &refused) || refused.hint == "") {
			t.Errorf("from %v to %d, rewind %v: %v", test.at, test.to, test.rewind, err)
		}
	}
}

func TestConsumersAreBounded(t *testing.T) {
	t.Parallel()
	c := newConsuming(t)
	c.append("a")
	head, err := c.log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for n := range maxConsumers {
		if _, err := c.log.MoveCursor(t.Context(), fmt.Sprint("consumer/", n), nil, store.Cursor{Epoch: head.Epoch}); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.commit("one-more", head.Epoch, 1, ""); got != 409 {
		t.Errorf("one more: %d", got)
	}
	if got := c.commit("7", head.Epoch, 1, ""); got != 200 {
		t.Errorf("one that there is: %d", got)
	}
}
