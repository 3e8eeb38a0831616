package admin

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/stages"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/sqlite"
)

// logAnswer is what GET /api/log answers.
type logAnswer struct {
	Events []struct {
		Offset     int64           `json:"offset"`
		Topic      string          `json:"topic"`
		Event      string          `json:"event"`
		Payload    json.RawMessage `json:"payload"`
		Key        *string         `json:"key"`
		InsertedAt time.Time       `json:"inserted_at"`
	} `json:"events"`
	Through int64  `json:"through"`
	More    bool   `json:"more"`
	Head    int64  `json:"head"`
	Trimmed int64  `json:"trimmed"`
	Epoch   string `json:"epoch"`
}

// newLog opens an embedded store, in a folder of its own.
func newLog(t *testing.T) (log store.Log, file string) {
	t.Helper()
	dir := t.TempDir()
	opened, err := sqlite.Open(t.Context(), sqlite.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	return opened, filepath.Join(dir, sqlite.FileName)
}

// seeLog asks for a part of the log.
func seeLog(t *testing.T, log store.Log, query string) (status int, answer logAnswer, text string) {
	t.Helper()
	a := &api{Config: Config{Stream: &stages.Stream{}}}
	a.Stream.Open(log, nil)
	recorder := httptest.NewRecorder()
	a.getLog(recorder, httptest.NewRequest("GET", "/api/log?"+query, nil))
	text = recorder.Body.String()
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatalf("%s: %v in %s", query, err, text)
	}
	return recorder.Code, answer, text
}

// offsets lists those of an answer.
func (a *logAnswer) offsets() string {
	var list []string
	for _, e := range a.Events {
		list = append(list, fmt.Sprint(e.Offset))
	}
	return strings.Join(list, " ")
}

func TestLogIsShown(t *testing.T) {
	t.Parallel()
	log, file := newLog(t)
	var drafts []store.Draft
	for i := range 12 { // offsets 1 to 12: a:1 b:2 c a:1 …
		topic := []string{"a:1", "b:2", "a:3"}[i%3]
		drafts = append(drafts, store.Draft{Topic: topic, Name: "e", Payload: fmt.Appendf(nil, "{\"n\":  %d, \"s\": \"<\\u0026\"}", i+1)})
	}
	drafts[1].Key = []byte(`k"<`)
	if err := log.Append(t.Context(), drafts); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		query, offsets string
		through        int64
		more           bool
	}{
		{"", "1 2 3 4 5 6 7 8 9 10 11 12", 12, false},
		{"topic=", "1 2 3 4 5 6 7 8 9 10 11 12", 12, false},
		{"topic=*", "1 2 3 4 5 6 7 8 9 10 11 12", 12, false},
		{"after=10", "11 12", 12, false},
		{"after=12", "", 12, false},
		{"after=99", "", 99, false}, // what is to come
		{"limit=2", "1 2", 2, true},
		{"after=10&limit=2", "11 12", 12, false},
		{"after=3&before=6", "4 5", 5, false},
		{"after=3&before=6&limit=1", "4", 4, true},
		{"after=3&before=3", "", 3, false},
		{"before=1", "", 0, false},
		{"topic=b:2", "2 5 8 11", 12, false},
		{"topic=b:2&limit=2", "2 5", 5, true},
		{"topic=b:2&after=5&before=9", "8", 8, false},
		{"topic=b:", "", 12, false},
		{"topic=a:*", "1 3 4 6 7 9 10 12", 12, false},
		{"topic=a:*&limit=3&after=1", "3 4 6", 6, true},
		{"topic=a:*&before=6", "1 3 4", 5, false},
		{"topic=x*", "", 12, false},
	} {
		status, got, text := seeLog(t, log, test.query)
		if status != http.StatusOK || got.offsets() != test.offsets || got.Through != test.through || got.More != test.more {
			t.Errorf("%s: %d, events %q, through %d, more %t", test.query, status, got.offsets(), got.Through, got.More)
		}
		if got.Head != 12 || got.Trimmed != 0 || got.Epoch == "" || !strings.Contains(text, `"events":[`) {
			t.Errorf("%s: %s", test.query, text)
		}
	}
	_, got, _ := seeLog(t, log, "after=1&limit=1")
	if e := got.Events[0]; e.Topic != "b:2" || e.Event != "e" || string(e.Payload) != `{"n":  2, "s": "<\u0026"}` || *e.Key != `k"<` || e.InsertedAt.IsZero() {
		t.Errorf("an event is shown as %+v", e)
	}
	for _, query := range []string{"after=-1", "after=x", "after=1.5", "before=0", "before=x", "limit=0", "limit=1001", "limit=x", "after=9223372036854775808", "topic=a%00", "wait=31s", "wait=-1s", "wait=20", "topic=" + strings.Repeat("x", 256)} {
		if status, _, text := seeLog(t, log, query); status != http.StatusBadRequest || !strings.Contains(text, `"hint"`) {
			t.Errorf("%s: %d %s", query, status, text)
		}
	}
	removed(t, log, file, 5)
	for query, want := range map[string]string{
		"": "6 7 8 9 10 11 12", "after=5&limit=2": "6 7", "after=11&epoch=" + url.QueryEscape(got.Epoch): "12", "topic=b:2": "8 11",
		"after=0": "410", "after=4": "410", "topic=b:2&after=4": "410", "topic=a:*&after=0": "410", "after=8&epoch=other": "410", "after=99&epoch=other": "410",
	} {
		status, got, text := seeLog(t, log, query)
		if is := got.offsets(); want != "410" && (status != http.StatusOK || is != want) || want == "410" && status != http.StatusGone || got.Trimmed != 5 {
			t.Errorf("%s, trimmed: %d %s", query, status, text)
		}
	}
}

// removed has the log begin after an offset.
func removed(t *testing.T, log store.Log, file string, offset int64) {
	t.Helper()
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), `DELETE FROM sluice_log WHERE "offset" <= ?`, offset); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), `UPDATE sluice_meta SET trimmed = ?`, offset); err != nil {
		t.Fatal(err)
	}
}

// However much there is, an answer and what is looked at for it are bounded, and all of it
// is had by going on.
func TestLooksAtTheLogAreBounded(t *testing.T) {
	t.Parallel()
	log, _ := newLog(t)
	const events, size = 14, 700 << 10
	for i := range events {
		topic := "large"
		if i == events-1 {
			topic = "last"
		}
		err := log.Append(t.Context(), []store.Draft{{Topic: topic, Name: "e", Payload: fmt.Appendf(nil, `{"s":%q}`, strings.Repeat("x", size))}})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, topic := range []string{"", "large", "l*"} {
		seen, asked := 0, 0
		for after, more := int64(0), true; more; asked++ {
			_, got, text := seeLog(t, log, fmt.Sprintf("topic=%s&after=%d", topic, after))
			if len(text) > maxLogAnswer+2*size || got.Through <= after {
				t.Fatalf("%q after %d: %d bytes, through %d", topic, after, len(text), got.Through)
			}
			seen += len(got.Events)
			after, more = got.Through, got.More
		}
		want := events
		if topic == "large" {
			want--
		}
		if seen != want || asked < 2 {
			t.Errorf("%q: %d events in %d answers, want %d in several", topic, seen, asked, want)
		}
	}
}

// endless is a log of which a reader cannot see the end, and in which the events that were
// there are trimmed, or of another epoch, by the time they are read.
type endless struct {
	store.Log
	fails error
	reads int
}

func (e *endless) Extent(context.Context) (store.Extent, error) {
	return store.Extent{Head: store.Head{Epoch: "e", Offset: 1 << 40}, Epochs: []store.Epoch{{ID: "e", First: 1}}}, nil
}

func (e *endless) Head(context.Context) (store.Head, error) { return store.Head{Trimmed: 77}, nil }

func (e *endless) Fetch(_ context.Context, after int64, limit store.Limit) ([]store.Event, error) {
	e.reads++
	if e.fails != nil {
		return nil, e.fails
	}
	list := make([]store.Event, limit.Events)
	for i := range list {
		list[i] = store.Event{Offset: after + 1 + int64(i), Topic: "other", Name: "e", Payload: []byte(`{}`)}
	}
	return list, nil
}

func TestLooksEnd(t *testing.T) {
	t.Parallel()
	log := &endless{}
	if status, got, _ := seeLog(t, log, "topic=none*"); status != http.StatusOK || len(got.Events) != 0 || got.Through != maxLogEvents || !got.More {
		t.Errorf("where nothing matches: %d %+v", status, got)
	}
	log.fails = fmt.Errorf("fetch: %w", store.ErrTrimmed)
	if status, got, _ := seeLog(t, log, "after=5"); status != http.StatusGone || got.Trimmed != 77 {
		t.Errorf("trimmed meanwhile: %d %+v", status, got)
	}
	for _, err := range []error{store.ErrNewEpoch, errors.New("broken")} {
		log.fails = err
		if status, _, text := seeLog(t, log, "after=5"); status != http.StatusServiceUnavailable {
			t.Errorf("%v: %d %s", err, status, text)
		}
	}
	log.fails = nil
	log.reads = 0
	if _, got, _ := seeLog(t, log, "limit=3"); len(got.Events) != 3 || log.reads != 1 {
		t.Errorf("%d events in %d reads", len(got.Events), log.reads)
	}
}
