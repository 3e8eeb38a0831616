package sluice_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/sluicetest"
)

// lockedBuffer is written by a logger and read by a test.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// What a client must not send to others goes to nobody, whatever a rule makes of
// pushes, and is the client's own error: it is told, and counted, and fills no log.
func TestWhatAClientMayNotSend(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	n := sluicetest.Run(t, sluicetest.With(func(c *sluice.Config) {
		c.Topics = []sluice.TopicRule{{Match: "cast", Publish: "broadcast"}, {Match: "log", Publish: "log"}, {Match: "none"}, {Match: "*"}}
		c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	}))
	const object = `{"x":1}`
	type push struct{ event, payload, reason string }
	var bad []push
	for _, payload := range []string{`null`, `[1]`, `"s"`, `5`, `true`, `[{"offset":7,"data":{}}]`} {
		bad = append(bad, push{`"said"`, payload, "invalid payload"})
	}
	for _, event := range []string{
		`""`, `"phx_close"`, `"phx_x"`, `"chan_reply_3"`, `"presence_state"`, `"presence_diff"`, `"sluice_position"`, `"sluice_"`,
		`"a\u0000b"`, `"a\nb"`, `"\u001f"`, `"\u007f"`, `"` + strings.Repeat("e", 256) + `"`, `"` + strings.Repeat("é", 30_000) + `"`,
	} {
		bad = append(bad, push{event, object, "invalid event"})
	}
	for _, topic := range []string{"cast", "log"} {
		victim, sender := n.Connect("/socket", ""), n.Connect("/socket", "")
		for _, c := range []*sluicetest.Client{victim, sender} {
			c.Send(fmt.Sprintf(`["1","1",%q,"phx_join",{"access_token":"secret"}]`, topic))
			c.Expect(fmt.Sprintf(`["1","1",%q,"phx_reply",{"status":"ok","response":{}}]`, topic))
		}
		for i, p := range bad {
			sender.Send(fmt.Sprintf(`["1","%d",%q,%s,%s]`, i, topic, p.event, p.payload))
			sender.Expect(fmt.Sprintf(`["1","%d",%q,"phx_reply",{"status":"error","response":{"reason":%q}}]`, i, topic, p.reason))
		}
		sender.Send(fmt.Sprintf(`["1","t",%q,"access_token",{"access_token":"secret"}]`, topic))
		sender.Expect(fmt.Sprintf(`["1","t",%q,"phx_reply",{"status":"ok","response":{}}]`, topic))
		sender.Send(fmt.Sprintf(`["1","g",%q,"said",%s]`, topic, object))
		victim.Expect(fmt.Sprintf(`[null,null,%q,"said",%s]`, topic, object)) // the first that it gets
	}

	stranger := n.Connect("/socket", "")
	stranger.Send(`["1","1","none","phx_join",{}]`)
	stranger.Expect(`["1","1","none","phx_reply",{"status":"ok","response":{}}]`)
	stranger.Send(`["1","2","none","said",{}]`)
	stranger.Expect(`["1","2","none","phx_reply",{"status":"error","response":{"reason":"forbidden"}}]`)
	stranger.Send(`["2","3","sluice:cluster","phx_join",{}]`)
	stranger.Expect(`["2","3","sluice:cluster","phx_reply",{"status":"error","response":{"reason":"unauthorized"}}]`)
	for _, topic := range []string{`a\nb`, strings.Repeat("t", 256)} {
		stranger.Send(`["4","4","` + topic + `","phx_join",{}]`)
		stranger.Expect(`[null,"4","` + topic + `","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`)
	}

	_, metrics := n.Ask("GET", "/metrics")
	for reason, count := range map[string]int{"invalid_event": 28, "invalid_payload": 12} {
		want := regexp.MustCompile(fmt.Sprintf(`(?m)^sluice_messages_refused_total{.*reason="%s".*} %d$`, reason, count))
		if !want.MatchString(metrics) {
			t.Errorf("nothing is like %s in\n%s", want, metrics)
		}
	}
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, `msg="not ready"`) || strings.Contains(line, `msg="the lease of this name cannot be renewed`) {
			continue // a node says so of itself where the machine is too busy
		}
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "level=WARN") {
			t.Errorf("a client had this logged: %s", line)
		}
		if strings.Contains(line, "secret") {
			t.Errorf("a token is in the log: %s", line)
		}
	}
}
