package admin_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/internal/sluicetest"
)

// What is broadcast in bulk over several topics reaches the sockets of each,
// all of it and in the order of its lines.
func TestBroadcastInBulk(t *testing.T) {
	t.Parallel()
	n := sluicetest.Run(t, sluicetest.With(func(*sluicetest.Config) {}))
	const topics, each = 3, 700 // more than a segment takes
	clients := make([]*sluicetest.Client, topics)
	for i := range clients {
		clients[i] = n.Connect("/socket", "")
		clients[i].Send(fmt.Sprintf(`["1","1","t%d","phx_join",{}]`, i))
		clients[i].Expect(fmt.Sprintf(`["1","1","t%d","phx_reply",{"status":"ok","response":{}}]`, i))
	}
	var lines strings.Builder
	for i := range topics * each {
		fmt.Fprintf(&lines, `{"topic":"t%d","event":"e","payload":{"n":%d}}`+"\n", i%topics, i/topics)
	}
	header := map[string]string{"Content-Type": "application/x-ndjson"}
	if status, answer := n.Request("POST", n.Admin, "/api/broadcast", header, lines.String()); status != 202 {
		t.Fatalf("answered %d %s", status, answer)
	}
	for i, c := range clients {
		for number := range each {
			c.Expect(fmt.Sprintf(`[null,null,"t%d","e",{"n":%d}]`, i, number))
		}
	}
}
