package sluice_test

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/sluicetest"
)

// TestMetricsMove has a service do what a node does in its day, and sees each metric
// that counts it: none is only a name.
func TestMetricsMove(t *testing.T) {
	t.Parallel()
	node := sluicetest.Run(t, sluicetest.With(func(c *sluice.Config) {
		c.Topics = []sluice.TopicRule{{Match: "*", Publish: "log"}}
	}))
	const socketsBefore = `sluice_sockets_opened_total{node=".*",transport="websocket"} 0`
	_, before := node.Ask("GET", "/metrics")
	if !regexp.MustCompile(`(?m)^` + socketsBefore + `$`).MatchString(before) {
		t.Errorf("before anybody comes there is no line %s:\n%s", socketsBefore, before)
	}

	client := node.Connect("/socket", "")
	client.Send(`["1","1","t","phx_join",{}]`)
	client.Expect(`["1","1","t","phx_reply",{"status":"ok","response":{}}]`)
	client.Send(`["1","2","t","said",{"n":1}]`)
	client.Next()
	client.Next()
	node.Request("GET", node.Public, "/socket/longpoll?vsn=2.0.0", nil, "")
	node.Request("GET", node.Public, "/nowhere", nil, "")
	node.Ask("GET", "/api/stats")
	node.Ask("GET", "/api/nothing")

	for _, line := range []string{
		`sluice_up{} 1`, `sluice_ready{} 1`, `sluice_leader{} 1`,
		`sluice_build_info{commit=".+",go="go.+",version=".+"} 1`,
		`sluice_sockets{transport="websocket"} 1`, `sluice_sockets{transport="longpoll"} 1`,
		`sluice_sockets_opened_total{transport="websocket"} 1`, `sluice_sockets_opened_total{transport="longpoll"} 1`,
		`sluice_channels{} 1`, `sluice_topics{} 1`,
		`sluice_messages_received_total{} 2`, `sluice_messages_pushed_total{} 1`, `sluice_bytes_pushed_total{} [1-9]\d+`,
		`sluice_events_appended_total{} 1`, `sluice_events_sequenced_total{} 1`, `sluice_events_fetched_total{} 1`, `sluice_events_routed_total{} 1`,
		`sluice_append_time_seconds_count{} 1`, `sluice_sequence_time_seconds_count{} 1`, `sluice_delivery_time_seconds_count{} 1`, `sluice_join_time_seconds_count{} 1`,
		`sluice_log_head{} 1`, `sluice_log_lag{} 0`, `sluice_outbox_rows{} 0`, `sluice_outbox_age{} 0`,
		`sluice_http_requests_total{route="GET /api/stats",status="200"} 1`,
		`sluice_http_requests_total{route="/",status="404"} 2`, // of both listeners
		`sluice_http_time_seconds_count{route="GET /readyz"} [1-9]\d*`,
		`sluice_http_requests_total{route="/socket/",status="200"} 1`,
	} {
		pattern := regexp.MustCompile(`(?m)^` + withNode(line) + `$`)
		var answer string
		node.Eventually(line, func() bool {
			_, answer = node.Ask("GET", "/metrics")
			return pattern.MatchString(answer)
		})
	}
	depth := regexp.MustCompile(`(?m)^sluice_mailbox_depth.* [1-9]\d*$`)
	node.Eventually("a depth of mailboxes that reading does not change", func() bool {
		client.Send(`["1","3","t","said",{}]`) // what was so long ago counts no more
		client.Next()
		client.Next()
		_, one := node.Ask("GET", "/metrics")
		_, two := node.Ask("GET", "/metrics")
		first, second := depth.FindString(one), depth.FindString(two)
		return first != "" && first == second
	})
}

// TestJoinsAreCountedByReason has joins answered in each way that there is.
func TestJoinsAreCountedByReason(t *testing.T) {
	t.Parallel()
	node := sluicetest.Run(t, sluicetest.WithService(func(c *sluice.Config) {
		c.Node = "n"
		c.MaxChannels = 1
		c.Topics = []sluice.TopicRule{{Match: "secret", Access: sluice.AccessDeny}, {Match: "open"}, {Match: "now", MaxLast: new(0)}}
	}, func(s *sluice.Service) error {
		return s.Handle("app:*", func() sluice.Channel { return ends{} })
	}))
	client := node.Connect("/socket", "")
	for i, join := range []struct{ topic, params, told, labels string }{
		{"secret", `{}`, `"unauthorized"`, `reason="unauthorized",status="rejected"`},
		{"phoenix", `{}`, `"unmatched topic"`, `reason="unmatched_topic",status="rejected"`},
		{"open", `{"after":-3}`, `"invalid after"`, `reason="invalid_after",status="rejected"`},
		{"open", `{"last":-3}`, `"invalid last"`, `reason="invalid_last",status="rejected"`},
		{"now", `{"last":1}`, `"forbidden"`, `reason="forbidden",status="rejected"`},
		{"app:1", `"reject"`, `"name taken"`, `reason="handler",status="rejected"`},
		{"app:1", `"panic"`, `"join crashed"`, `reason="panic",status="crashed"`},
		{"app:1", `"fail"`, `"join crashed"`, `reason="error",status="crashed"`},
		{"app:1", `"unencodable"`, `"join crashed"`, `reason="error",status="crashed"`},
		{"open", `{}`, ``, `status="ok"`},
		{"app:1", `{}`, `"too many channels joined"`, `reason="too_many_channels",status="rejected"`},
	} {
		count := func() (n int) {
			_, answer := node.Ask("GET", "/metrics")
			found := regexp.MustCompile(`(?m)^sluice_joins_total\{node="n",` + join.labels + `\} (\d+)$`).FindStringSubmatch(answer)
			if found == nil {
				t.Fatalf("no joins with %s in\n%s", join.labels, answer)
			}
			n, _ = strconv.Atoi(found[1])
			return n
		}
		before := count()
		client.Send(fmt.Sprintf(`["%d","%d","%s","phx_join",%s]`, i, i, join.topic, join.params))
		reply := `{"status":"ok","response":{}}`
		if join.told != "" {
			reply = `{"status":"error","response":{"reason":` + join.told + `}}`
		}
		ref := fmt.Sprintf(`"%d"`, i)
		if join.topic == "phoenix" {
			ref = "null"
		}
		client.Expect(fmt.Sprintf(`[%s,"%d","%s","phx_reply",%s]`, ref, i, join.topic, reply))
		node.Eventually("a join counted with "+join.labels, func() bool { return count() == before+1 })
	}
}

// ends is a Channel whose Join ends as its params say.
type ends struct{}

func (ends) Join(_ *sluice.Context, params sluice.Payload) (any, error) {
	switch string(params.Data) {
	case `"reject"`:
		return nil, sluice.Reject("name taken")
	case `"panic"`:
		panic("as told")
	case `"fail"`:
		return nil, errors.New("as told")
	case `"unencodable"`:
		return func() {}, nil
	}
	return nil, nil
}

// promised are the metrics that dashboards and alerts are made of: they are there from the start,
// before anything has happened, so that a rate of them is none and not missing.
var promised = []string{
	"events_fetched_total", "events_routed_total", "events_appended_total", "events_sequenced_total", "events_rejected_total{reason=",
	"messages_pushed_total", "messages_received_total", "messages_duplicate_total", "messages_dropped_total{reason=", "messages_replayed_total", "bytes_pushed_total", "catchups_total",
	"sockets_opened_total{transport=", "sockets_closed_total{reason=", `joins_total{status="ok"}`, `joins_total{reason="unauthorized"`,
	`sockets_refused_total{reason="version"}`, `sockets_refused_total{reason="origin"}`, `sockets_refused_total{reason="token_missing"}`, `sockets_refused_total{reason="token_expired"}`,
	`sockets_refused_total{reason="token_invalid"}`, `sockets_refused_total{reason="hook"}`, `sockets_refused_total{reason="capacity"}`, `sockets_refused_total{reason="drain"}`,
	"http_requests_total{route=", "http_requests_total{status=", "stage_errors_total{stage=", "relay_pages_total", "relay_gaps_total",
	"up", "ready", "sockets{transport=", "channels", "topics", "log_head", "log_lag", "outbox_rows", "outbox_age", "leader", "cluster_nodes", "stage_demand{stage=", "stage_buffer{stage=", "mailbox_depth",
	"build_info{version=", "build_info{commit=", "build_info{go=",
	`stage_time_seconds_bucket{stage="fetch"}`, `stage_time_seconds_bucket{stage="encode"}`, `stage_time_seconds_bucket{stage="route"}`, `stage_time_seconds_bucket{stage="write"}`,
	`stage_wait_seconds_bucket{stage="mailbox"}`,
	"delivery_time_seconds_bucket", "join_time_seconds_bucket", "replay_time_seconds_bucket", "http_time_seconds_bucket", "append_time_seconds_bucket", "sequence_time_seconds_bucket",
}

// TestMetricsArePresentAndSound asks a node for its metrics, and has the answer judged by what
// promtool check metrics judges by.
func TestMetricsArePresentAndSound(t *testing.T) {
	t.Parallel()
	node := sluicetest.Run(t, sluicetest.With(func(*sluice.Config) {}))
	node.Ask("GET", "/api/stats") // which counts, and has a name
	var answer string
	node.Eventually("a request that counts", func() bool {
		_, answer = node.Ask("GET", "/metrics")
		return strings.Contains(answer, `route="GET /api/stats"`)
	})
	if names := missing(answer); len(names) > 0 {
		t.Errorf("missing are %s", strings.Join(names, ", "))
	}
	problems, err := promlint.New(strings.NewReader(answer)).Lint()
	if err != nil {
		t.Error(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// missing lists the promised metrics that an answer lacks.
func missing(answer string) (names []string) {
	for _, want := range promised {
		name, label, labelled := strings.Cut(strings.TrimSuffix(want, "}"), "{")
		pattern := `(?m)^sluice_` + name + `[{ ]`
		if labelled {
			pattern = `(?m)^sluice_` + name + `\{[^}]*` + label
		}
		if !regexp.MustCompile(pattern).MatchString(answer) {
			names = append(names, want)
		}
	}
	return names
}

// withNode is a line's pattern, with the tag that all have, wherever it stands.
func withNode(line string) string {
	name, rest, _ := strings.Cut(line, "{")
	labels, value, _ := strings.Cut(rest, "} ")
	var b strings.Builder
	b.WriteString(name + `\{`)
	for label := range strings.SplitSeq(labels, ",") {
		if label != "" {
			fmt.Fprintf(&b, `(?:node="[^"]*",)?%s,?`, label)
		}
	}
	b.WriteString(`(?:node="[^"]*")?\} ` + value)
	return b.String()
}
