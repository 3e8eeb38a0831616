package sluice_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/sluicetest"
)

// goChannel does with its client's pushes what a rule would.
type goChannel struct{}

func (goChannel) Join(*sluice.Context, sluice.Payload) (any, error) { return nil, nil }

func (goChannel) HandleIn(ctx *sluice.Context, event string, payload sluice.Payload) sluice.Result {
	var err error
	switch event {
	case "publish":
		err = ctx.Publish(event, payload, nil)
	case "broadcast":
		err = ctx.Broadcast(event, payload)
	case "from":
		err = ctx.BroadcastFrom(event, payload)
	case "bytes":
		err = ctx.Broadcast(event, sluice.Payload{Data: payload.Data, Binary: true})
	}
	if err != nil {
		return sluice.Error(sluice.Reason("refused"))
	}
	return sluice.OK(nil)
}

// One bound holds for all ways in: what has a byte more is refused, by name, or set
// aside, and reaches nobody.
func TestPayloadsAreBoundedOnAllWays(t *testing.T) {
	t.Parallel()
	const bound = 2000
	dir := t.TempDir()
	var log lockedBuffer
	n := sluicetest.Run(t, func(ctx context.Context, c sluice.Config) error {
		c.DataDir, c.MaxPayloadBytes = dir, bound
		c.Topics = []sluice.TopicRule{{Match: "cast", Publish: "broadcast"}, {Match: "log", Publish: "log"}, {Match: "*"}}
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		service, err := sluice.New(c)
		if err != nil {
			return err
		}
		if err := service.Handle("go", func() sluice.Channel { return goChannel{} }); err != nil {
			return err
		}
		return service.Run(ctx)
	})
	object := func(size int) string { return `{"a":"` + strings.Repeat("x", size-len(`{"a":""}`)) + `"}` }
	fits, exceeds := object(bound), object(bound+1)

	for topic, events := range map[string][]string{"cast": {"e"}, "log": {"e"}, "go": {"publish", "broadcast", "from", "bytes"}} {
		reason := "invalid payload"
		if topic == "go" {
			reason = "refused"
		}
		c := n.Connect("/socket", "")
		c.Send(fmt.Sprintf(`["1","1",%q,"phx_join",{}]`, topic))
		c.Expect(fmt.Sprintf(`["1","1",%q,"phx_reply",{"status":"ok","response":{}}]`, topic))
		for _, event := range events {
			c.Send(fmt.Sprintf(`["1","2",%q,%q,%s]`, topic, event, exceeds))
			c.Expect(fmt.Sprintf(`["1","2",%q,"phx_reply",{"status":"error","response":{"reason":%q}}]`, topic, reason))
		}
		if topic == "cast" {
			c.Send(fmt.Sprintf(`["1",null,%q,"e",%s]`, topic, fits))
			c.Expect(fmt.Sprintf(`[null,null,%q,"e",%s]`, topic, fits))
		}
	}

	c := n.Connect("/socket", "")
	c.Send(`["1","1","t","phx_join",{}]`)
	c.Expect(`["1","1","t","phx_reply",{"status":"ok","response":{}}]`)
	line := func(event, payload string) string {
		return fmt.Sprintf(`{"topic":"t","event":%q,"payload":%s}`+"\n", event, payload)
	}
	header := map[string]string{"Content-Type": "application/x-ndjson"}
	for _, path := range []string{"/api/events", "/api/broadcast"} {
		want := fmt.Sprintf("line 3: payload has %d bytes; at most %d are allowed", bound+1, bound)
		if status, answer := n.Request("POST", n.Admin, path, header, line("no", "{}")+"\n"+line("no", exceeds)); status != 400 || !strings.Contains(answer, want) {
			t.Errorf("%s: %d %s", path, status, answer)
		}
		if status, answer := n.Request("POST", n.Admin, path, nil, line("no", exceeds)); status != 400 || !strings.Contains(answer, want[len("line 3: "):]) {
			t.Errorf("%s: %d %s", path, status, answer)
		}
		if status, answer := n.Request("POST", n.Admin, path, header, line("yes", fits)); status != 202 {
			t.Errorf("%s: %d %s", path, status, answer)
		}
		c.Expect(`[null,null,"t","yes",` + fits + `]`)
	}

	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "sluice.db")+"?_pragma=busy_timeout(60000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, payload := range []string{exceeds, object(3 << 20), fits} {
		if _, err := db.ExecContext(t.Context(), `INSERT INTO sluice_outbox (topic, event, payload) VALUES ('t', 'sql', ?)`, payload); err != nil {
			t.Fatal(err)
		}
	}
	c.Expect(`[null,null,"t","sql",` + fits + `]`)
	counted := regexp.MustCompile(`(?m)^sluice_events_rejected_total{.*reason="payload_too_large".*} 2$`)
	n.Eventually("counted", func() bool { _, metrics := n.Ask("GET", "/metrics"); return counted.MatchString(metrics) })
	n.Eventually("told", func() bool { return strings.Contains(log.String(), "moved to sluice_rejected") }) // after it is counted
}

// A node follows what the store says, which another may have been started with since,
// and says that it was told otherwise, if it was.
func TestNodeFollowsTheBound(t *testing.T) {
	t.Parallel()
	for name, given := range map[string]sluice.ByteSize{"told otherwise": 2000, "told nothing": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var log lockedBuffer
			n := sluicetest.Run(t, sluicetest.With(func(c *sluice.Config) {
				c.DataDir, c.MaxPayloadBytes = dir, given
				c.Logger = slog.New(slog.NewTextHandler(&log, nil))
			}))
			db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "sluice.db")+"?_pragma=busy_timeout(60000)")
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			event := `{"topic":"t","event":"e","payload":{"a":"` + strings.Repeat("x", 3000) + `"}}`
			for bound, status := range map[int]int{4000: 202, 2500: 400} {
				if _, err := db.ExecContext(t.Context(), `UPDATE sluice_meta SET max_payload = ?`, bound); err != nil {
					t.Fatal(err)
				}
				n.Eventually("followed", func() bool {
					got, _ := n.Request("POST", n.Admin, "/api/broadcast", nil, event)
					return got == status
				})
			}
			warns := func() bool {
				return strings.Contains(log.String(), "another node was started with another --max-payload-bytes")
			}
			if given > 0 {
				n.Eventually("warned of", warns) // after the bound counts
			} else if warns() {
				t.Errorf("warns of what it was told nothing of:\n%s", log.String())
			}
		})
	}
}
