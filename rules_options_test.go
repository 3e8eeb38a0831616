package sluice_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/sluicetest"
)

// TestRulesSayHowMessagesAreDelivered publishes what repeats itself to topics
// with different rules. A line is "topic key payload".
func TestRulesSayHowMessagesAreDelivered(t *testing.T) {
	t.Parallel()
	n := sluicetest.Run(t, sluicetest.With(func(c *sluice.Config) {
		c.Node = "n"
		c.Topics = []sluice.TopicRule{
			{Match: "orders", Dedupe: sluice.DedupeKey, Tags: map[string]string{"tenant": "acme"}},
			{Match: "lamps", Dedupe: sluice.DedupePayload, DedupeWindow: time.Minute},
			{Match: "board", Overflow: sluice.Latest, MailboxSize: 5, FlushInterval: 500 * time.Millisecond, Tags: map[string]string{"tenant": "globex"}},
			{Match: "*"},
		}
	}))
	client := n.Connect("/socket", "")
	for i, topic := range []string{"orders", "lamps", "board", "rest"} {
		client.Send(fmt.Sprintf(`["%d","%d","%s","phx_join",{}]`, i, i, topic))
		client.Expect(fmt.Sprintf(`["%d","%d","%s","phx_reply",{"status":"ok","response":{}}]`, i, i, topic))
	}
	for _, test := range []struct {
		topic string
		lines string // key payload
		want  string // payloads
	}{
		{"orders", "a 1,b 2,a 3,- 4,- 4,b 5,c 6", "1 2 4 4 6"},
		{"lamps", "a 1,b 1,a 2,- 3,- 3,b 3,c 4", "1 2 3 4"},
		{"board", "a 1,b 1,a 2,- 3,- 3,b 4,a 5,b 6", "3 3 5 6"},
		{"rest", "a 1,a 1,a 1", "1 1 1"},
	} {
		var body strings.Builder
		for line := range strings.SplitSeq(test.lines, ",") {
			key, payload, _ := strings.Cut(line, " ")
			fmt.Fprintf(&body, `{"topic":%q,"event":"e","payload":{"n":%s}`, test.topic, payload)
			if key != "-" {
				fmt.Fprintf(&body, `,"key":%q`, key)
			}
			body.WriteString("}\n")
		}
		if status, answer := n.Request("POST", n.Admin, "/api/events", map[string]string{"Content-Type": "application/x-ndjson"}, body.String()); status != 202 {
			t.Fatal(status, answer)
		}
		for payload := range strings.SplitSeq(test.want, " ") {
			client.Expect(fmt.Sprintf(`[null,null,"%s","e",{"n":%s}]`, test.topic, payload))
		}
	}
	n.Eventually("counted once, with the rules' tags", func() bool {
		_, text := n.Ask("GET", "/metrics")
		for _, want := range []string{
			`sluice_messages_pushed_total{node="n",tenant="acme"} 5`,
			`sluice_messages_duplicate_total{node="n",tenant="acme"} 2`,
			`sluice_joins_total{node="n",status="ok",tenant="acme"} 1`,
			`sluice_messages_pushed_total{node="n",tenant="globex"} 4`,
			`sluice_messages_dropped_total{node="n",reason="superseded",tenant="globex"} 4`,
			`sluice_messages_pushed_total{node="n"} 7`,
			`sluice_messages_duplicate_total{node="n"} 3`,
			`sluice_joins_total{node="n",status="ok"} 2`,
		} {
			if !strings.Contains(text, "\n"+want+"\n") {
				return false
			}
		}
		return true
	})
}

// TestRulesBoundTheLastEvents has clients begin with as many of a topic's events as its
// rule allows.
func TestRulesBoundTheLastEvents(t *testing.T) {
	t.Parallel()
	n := sluicetest.Run(t, sluicetest.With(func(c *sluice.Config) {
		c.Topics = []sluice.TopicRule{{Match: "now", MaxLast: new(0)}, {Match: "few", MaxLast: new(2)}, {Match: "*"}}
	}))
	const count = 120
	var body strings.Builder
	for i := range count {
		for _, topic := range []string{"now", "few", "usual"} {
			fmt.Fprintf(&body, `{"topic":%q,"event":"e","payload":{"n":%d}}`+"\n", topic, i)
		}
	}
	if status, answer := n.Request("POST", n.Admin, "/api/events", map[string]string{"Content-Type": "application/x-ndjson"}, body.String()); status != 202 {
		t.Fatal(status, answer)
	}
	client := n.Connect("/socket", "")
	for topic, most := range map[string]int{"now": 0, "few": 2, "usual": 100} {
		for _, last := range []int{0, 1, 2, 3, 99, 100, 101, 5000} {
			client.Send(fmt.Sprintf(`["1","1",%q,"phx_join",{"last":%d}]`, topic, last))
			if reply := client.Next(); last > 0 && most == 0 {
				if want := fmt.Sprintf(`["1","1",%q,"phx_reply",{"status":"error","response":{"reason":"forbidden"}}]`, topic); reply != want {
					t.Errorf("the last %d of %s: %s, want %s", last, topic, reply, want)
				}
				continue
			} else if !strings.Contains(reply, `"resumed":true`) {
				t.Fatalf("the last %d of %s: %s", last, topic, reply)
			}
			for i := count - min(last, most); i < count; i++ {
				if got, want := client.Next(), fmt.Sprintf(`"data":{"n":%d}}]`, i); !strings.HasSuffix(got, want) {
					t.Fatalf("the last %d of %s: got %s, want %s", last, topic, got, want)
				}
			}
			client.Send(fmt.Sprintf(`["1","2",%q,"phx_leave",{}]`, topic))
			client.Expect(fmt.Sprintf(`["1","2",%q,"phx_reply",{"status":"ok","response":{}}]`, topic))
			client.Expect(fmt.Sprintf(`["1","1",%q,"phx_close",{}]`, topic))
		}
	}
}
