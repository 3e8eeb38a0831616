package admin

import (
	"bytes"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/store"
)

func TestParseDraft(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, text string
		want       string // topic|event|payload|key, or what the error contains
		ok         bool
	}{
		{"whole", `{"topic":"a","event":"b","payload":{"x": 1},"key":"k"}`, `a|b|{"x": 1}|k`, true},
		{"no payload, no key", `{"topic":"a","event":"b"}`, `a|b|{}|<nil>`, true},
		{"null key", `{"topic":"a","event":"b","payload":{},"key":null}`, `a|b|{}|<nil>`, true},
		{"empty key", `{"topic":"a","event":"b","payload":{},"key":""}`, `a|b|{}|`, true},
		{"half of a surrogate pair", `{"topic":"a","event":"b","payload":{"s":"\ud800","\udc00":1}}`, `a|b|{"s":"\ud800","\udc00":1}|<nil>`, true},
		{"half of one in the topic", `{"topic":"\ud800","event":"b"}`, "", false},
		{"half of one in the event", `{"topic":"a","event":"\udc00"}`, "", false},
		{"half of one in the key", `{"topic":"a","event":"b","key":"\udc00"}`, "", false},
		{"payload not UTF-8", "{\"topic\":\"a\",\"event\":\"b\",\"payload\":{\"s\":\"\xff\"}}", "UTF-8", false},
		{"topic not UTF-8", "{\"topic\":\"\xff\",\"event\":\"b\"}", "UTF-8", false},
		{"field not UTF-8", "{\"topic\":\"a\",\"event\":\"b\",\"\xff\":1}", "", false},
		{"not JSON", `{"topic":`, "unexpected EOF", false},
		{"not an object", `7`, "number", false},
		{"payload not an object", `{"topic":"a","event":"b","payload":[1]}`, "payload", false},
		{"null payload", `{"topic":"a","event":"b","payload":null}`, "payload", false},
		{"no topic", `{"event":"b","payload":{}}`, "topic", false},
		{"reserved topic", `{"topic":"phoenix","event":"b"}`, "phoenix", false},
		{"reserved event", `{"topic":"a","event":"phx_join"}`, "phx_", false},
		{"misspelt", `{"topic":"a","event":"b","payloda":{}}`, "payloda", false},
		{"two", `{"topic":"a","event":"b"}{"topic":"a","event":"b"}`, "ndjson", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			drafts, err := new(draftParser).parse(nil, []byte(test.text))
			if err != nil {
				if test.ok || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got error %q, want %q", err, test.want)
				}
				return
			}
			draft, key := drafts[0], "<nil>"
			if draft.Key != nil {
				key = string(draft.Key)
			}
			if got := strings.Join([]string{draft.Topic, draft.Name, string(draft.Payload), key}, "|"); !test.ok || got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestParseLinesNamesTheBadLine(t *testing.T) {
	t.Parallel()
	good := `{"topic":"a","event":"b"}`
	for _, test := range []struct {
		name, body string
		count      int
		err        string
	}{
		{"one", good, 1, ""},
		{"empty lines are passed over", "\n" + good + "\n\n" + good + "\r\n", 2, ""},
		{"nothing", "", 0, ""},
		{"third line", good + "\n\n{oops}\n" + good, 0, "line 3: "},
		{"last line without its end", good + "\n{", 0, "line 2: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			drafts, err := parseLines([]byte(test.body), draftParser{})
			if test.err == "" && (err != nil || len(drafts) != test.count) {
				t.Errorf("got %d drafts, %v", len(drafts), err)
			}
			if test.err != "" && (err == nil || !strings.HasPrefix(err.Error(), test.err)) {
				t.Errorf("got %v, want %q", err, test.err)
			}
		})
	}
	_, err := parseOne([]byte("{\n\"topic\": \"a\",\n oops}"), draftParser{})
	if err == nil || !strings.HasPrefix(err.Error(), "line 3: ") {
		t.Errorf("one event over lines: got %v", err)
	}
}

// A name is what its JSON says, whatever stood in the line before.
func TestNamesAreUnescaped(t *testing.T) {
	t.Parallel()
	drafts, err := parseLines([]byte(`{"topic":"x\\u0041","event":"e\\n"}`+"\n"+`{"topic":"x\u0041","event":"e\u0042"}`), draftParser{})
	if err != nil || len(drafts) != 2 {
		t.Fatal(drafts, err)
	}
	if drafts[0].Topic != `x\u0041` || drafts[0].Name != `e\n` || drafts[1].Topic != "xA" || drafts[1].Name != "eB" {
		t.Errorf("%q", drafts)
	}
}

// What is not there takes up no memory.
func TestEmptyLinesCostNothing(t *testing.T) { // not parallel: it counts allocations
	body := bytes.Repeat([]byte("\n"), 1<<20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	drafts, err := parseLines(body, draftParser{})
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; err != nil || len(drafts) != 0 || grown > 8<<20 {
		t.Errorf("%d drafts and %d bytes of %d, %v", len(drafts), grown, len(body), err)
	}
}

func FuzzParseLines(f *testing.F) {
	for _, seed := range []string{
		`{"topic":"a","event":"b","payload":{"x": 1},"key":"k"}`, "\n\n{}\r\n", `{"topic":"x\\u0041","event":"e"}` + "\n" + `{"topic":"x\u0041","event":"e"}`, `{"topic":"a","event":"b"}{`, "\x00", `{"topic":"phoenix","event":"phx_x","payload":null}`,
		`{"topics":["a","b","a"],"event":"e"}` + "\n" + `{"topic":"b","event":"e"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		drafts, err := parseLines(body, draftParser{})
		if err != nil && drafts != nil {
			t.Fatalf("both %d drafts and %v", len(drafts), err)
		}
		if err != nil {
			return
		}
		var apart []store.Draft
		for line := range bytes.SplitSeq(body, []byte("\n")) {
			if line = bytes.TrimSpace(line); len(line) > 0 {
				alone, err := new(draftParser).parse(nil, line)
				if err != nil {
					t.Fatalf("line %q of %q, alone: %v", line, body, err)
				}
				apart = append(apart, alone...)
			}
		}
		if err := store.ValidateAll(drafts, 0); err != nil {
			t.Fatalf("of %q: %v", body, err)
		}
		if len(drafts)+len(apart) > 0 && !reflect.DeepEqual(apart, drafts) {
			t.Fatalf("%q is %+v, line by line %+v", body, drafts, apart)
		}
	})
}

// What 500 events a request cost, each in 170 bytes.
func BenchmarkParseLines(b *testing.B) {
	const events = 500
	var body []byte
	for i := range events {
		body = fmt.Appendf(body, `{"topic":"bench:%d","event":"tick","payload":{"n":%d,"pad":"%s"}}`+"\n", i%10, i, strings.Repeat("x", 100))
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if drafts, err := parseLines(body, draftParser{}); err != nil || len(drafts) != events {
			b.Fatal(len(drafts), err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*events), "ns/event")
}
