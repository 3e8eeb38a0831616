package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/store"
)

// manyTopics writes an event with topics that are numbered.
func manyTopics(count int) string {
	list := make([]string, count)
	for i := range list {
		list[i] = fmt.Sprintf("t%d", i)
	}
	text, _ := json.Marshal(list)
	return string(text)
}

func TestParseTopics(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", store.MaxTopicBytes)
	for _, test := range []struct{ name, text, want, err string }{
		{"one", `{"topics":["a"],"event":"e"}`, "a", ""},
		{"two", `{"topics":["a","b"],"event":"e"}`, "a b", ""},
		{"in the order of the list", `{"event":"e","topics":["b","c","a"]}`, "b c a", ""},
		{"twice", `{"topics":["a","b","a","a","b"],"event":"e"}`, "a b", ""},
		{"twice, written otherwise", `{"topics":["a","\u0061"],"event":"e"}`, "a", ""},
		{"two lists, as any field that comes twice", `{"topics":["a","b"],"topics":["c"],"event":"e"}`, "c", ""},
		{"long", `{"topics":["a","` + long + `"],"event":"e"}`, "a " + long, ""},
		{"blanks", " { \"topics\" : [ \"a\" ,\t\"b\" ] , \"event\" : \"e\" } ", "a b", ""},
		{"both", `{"topic":"a","topics":["b"],"event":"e"}`, "", "both"},
		{"both, the other way round", `{"topics":["b"],"topic":"a","event":"e"}`, "", "both"},
		{"both, one of them empty", `{"topics":["b"],"topic":"","event":"e"}`, "", "both"},
		{"both, the same", `{"topics":["a"],"topic":"a","event":"e"}`, "", "both"},
		{"none", `{"topics":[],"event":"e"}`, "", "topics is empty"},
		{"null", `{"topics":null,"event":"e"}`, "", "not a list"},
		{"a string", `{"topics":"a","event":"e"}`, "", "not a list"},
		{"an object", `{"topics":{"a":"b"},"event":"e"}`, "", "not a list"},
		{"a number among them", `{"topics":["a",7],"event":"e"}`, "", "topics[1] is not a string"},
		{"a list among them", `{"topics":["a",["b"]],"event":"e"}`, "", "topics[1] is not a string"},
		{"null among them", `{"topics":[null],"event":"e"}`, "", "topics[0] is not a string"},
		{"an empty one", `{"topics":["a",""],"event":"e"}`, "", "topics[1] is empty"},
		{"the first is empty", `{"topics":["","a"],"event":"e"}`, "", "topics[0] is empty"},
		{"a long one", `{"topics":["a","b","x` + long + `"],"event":"e"}`, "", "topics[2] has 256 bytes"},
		{"a reserved one", `{"topics":["a","phoenix"],"event":"e"}`, "", "topics[1] must not"},
		{"one of ours", `{"topics":["sluice:a"],"event":"e"}`, "", "topics[0] must not"},
		{"a control character", `{"topics":["a","b\u0000"],"event":"e"}`, "", "topics[1] "},
		{"half of a surrogate pair", `{"topics":["\ud800"],"event":"e"}`, "", "surrogate"},
		{"no UTF-8", "{\"topics\":[\"a\",\"\xff\"],\"event\":\"e\"}", "", "topics[1] is not valid UTF-8"},
		{"no event", `{"topics":["a"]}`, "", "event is empty"},
		{"a payload that is none", `{"topics":["a"],"event":"e","payload":[]}`, "", "payload"},
		{"as many as there may be", `{"topics":` + manyTopics(maxTopics) + `,"event":"e"}`, "1000", ""},
		{"one more", `{"topics":` + manyTopics(maxTopics+1) + `,"event":"e"}`, "", "more than 1000"},
		{"one more, of which many are the same", `{"topics":["t0",` + manyTopics(maxTopics)[1:] + `,"event":"e"}`, "", "more than 1000"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			drafts, err := parseOne([]byte(test.text), draftParser{})
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) || drafts != nil {
					t.Errorf("%d events and %v, want %q", len(drafts), err, test.err)
				}
				return
			}
			var topics []string
			for _, d := range drafts {
				topics = append(topics, d.Topic)
			}
			if got := strings.Join(topics, " "); err != nil || got != test.want && fmt.Sprint(len(topics)) != test.want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// Events with one topic and with several stand in any order, and nothing of one shows in
// another.
func TestLinesWithTopics(t *testing.T) {
	t.Parallel()
	lines := []string{
		`{"topic":"a","event":"e1","payload":{"n":1},"key":"k"}`,
		`{"topics":["a","b"],"event":"e2","payload":{"n":2}}`,
		`{"topic":"b","event":"e2"}`,
		`{"topics":["c"],"event":"e3","key":"l"}`,
		`{"topics":["b","a"],"event":"e3","key":null}`,
	}
	const want = `a e1 {"n":1} "k"|a e2 {"n":2} ""|b e2 {"n":2} ""|b e2 {} ""|c e3 {} "l"|b e3 {} ""|a e3 {} ""`
	drafts, err := parseLines([]byte(strings.Join(lines, "\n")), draftParser{})
	var got []string
	for _, d := range drafts {
		got = append(got, fmt.Sprintf("%s %s %s %q", d.Topic, d.Name, d.Payload, d.Key))
	}
	if err != nil || strings.Join(got, "|") != want {
		t.Errorf("got %s, %v", strings.Join(got, "|"), err)
	}
	for i, bad := range []string{`{"topics":[],"event":"e"}`, `{"event":"e"}`, `{"topics":["a"],"topic":"a","event":"e"}`} {
		if _, err := parseLines([]byte(strings.Join(append(lines[:i:i], bad), "\n")), draftParser{}); err == nil || !strings.HasPrefix(err.Error(), fmt.Sprintf("line %d: ", i+1)) {
			t.Errorf("%s as line %d: %v", bad, i+1, err)
		}
	}
}

// A short body that stands for more than a body may have is refused, whether by one event
// or by many of them.
func TestTopicsAreBounded(t *testing.T) {
	t.Parallel()
	event := func(topics, payload int) string {
		return fmt.Sprintf(`{"topics":%s,"event":"e","payload":{"s":%q}}`, manyTopics(topics), strings.Repeat("x", payload))
	}
	const most = 1 << 20
	for _, test := range []struct {
		name, body string
		count      int // 0: too many
	}{
		{"small ones", event(maxTopics, 100), maxTopics},
		{"a large one to few", event(10, most/10), 10},
		{"a large one to one", event(1, 2*most), 1},
		{"a large one to more", event(11, most/10), 0},
		{"many small ones", strings.Repeat(event(maxTopics, 0)+"\n", most/(maxTopics*leastEvent)+1), 0},
	} {
		drafts, err := parseLines([]byte(test.body), draftParser{maxCopies: most})
		if len(drafts) != test.count || errors.Is(err, errCopies) != (test.count == 0) {
			t.Errorf("%s: %d events, %v", test.name, len(drafts), err)
		}
	}
}
