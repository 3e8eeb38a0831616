package admin_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/internal/sluicetest"
)

// One event to a thousand topics is appended to each of them, in the order of the list and
// together, or to none; a broadcast reaches who is joined to any of them.
func TestOneEventToManyTopics(t *testing.T) {
	t.Parallel()
	n := sluicetest.Run(t, sluicetest.With(func(c *sluicetest.Config) { c.MaxBodyBytes = 256 << 10 }))
	const topics = 1000
	list := make([]string, topics)
	for i := range list {
		list[i] = fmt.Sprintf("t%d", i)
	}
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	event := func(topics string) string {
		return `{"topics":` + topics + `,"event":"e","payload":{"n": 1},"key":"k"}`
	}
	send := func(path, body string, want int, contains string) {
		t.Helper()
		if status, answer := n.Request("POST", n.Admin, path, nil, body); status != want || !strings.Contains(answer, contains) {
			t.Errorf("%s: answered %d %s, want %d %s", path, status, answer, want, contains)
		}
	}
	for _, path := range []string{"/api/events", "/api/broadcast"} {
		bad := append(list[:topics-1:topics-1], "phoenix")
		badText, err := json.Marshal(bad)
		if err != nil {
			t.Fatal(err)
		}
		send(path, event(string(badText)), 400, "topics[999] must not be")
		send(path, event(`[]`), 400, "topics is empty")
		send(path, strings.Replace(event(`["a"]`), `"topics"`, `"topic":"a","topics"`, 1), 400, "both topic and topics")
		send(path, strings.Replace(event(string(text)), `{"n": 1}`, fmt.Sprintf(`{"s":%q}`, strings.Repeat("x", 256)), 1), 413, "written out for each of its topics, the body is larger than 256KiB")
	}
	join := func(topic string) *sluicetest.Client {
		c := n.Connect("/socket", "")
		c.Send(fmt.Sprintf(`["1","1",%q,"phx_join",{"after":0}]`, topic))
		if answer := c.Next(); !strings.Contains(answer, `"resumed":true`) {
			t.Fatalf("join of %s: %s", topic, answer)
		}
		return c
	}
	first := join("t0")
	send("/api/events", event(string(text)), 202, `{"count":1000}`)
	send("/api/events", event(`["t0","t999","t0"]`), 202, `{"count":2}`)
	last := join("t999")
	for i, c := range []*sluicetest.Client{first, last} {
		topic := []string{"t0", "t999"}[i]
		c.Expect(fmt.Sprintf(`[null,null,%q,"e",{"offset":%d,"data":{"n": 1}}]`, topic, 1+i*999))
		c.Expect(fmt.Sprintf(`[null,null,%q,"e",{"offset":%d,"data":{"n": 1}}]`, topic, 1001+i))
	}
	send("/api/broadcast", event(string(text)), 202, `{"count":1000}`)
	for i, c := range []*sluicetest.Client{first, last} {
		c.Expect(fmt.Sprintf(`[null,null,%q,"e",{"data":{"n": 1}}]`, []string{"t0", "t999"}[i]))
	}
}
