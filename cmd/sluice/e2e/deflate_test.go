package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// TestCompression has stock clients that offer it be sent compressed messages, and send some:
// they read what was published, in fewer bytes.
func TestCompression(t *testing.T) {
	t.Parallel()
	s := serve(t, "--data-dir", t.TempDir(), "--compress").ready(t)
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	clients := alone(start(t, "node", "node/deflate.mjs", chromium, s.public, "orders:eu"))
	for _, client := range []string{"ws", "chromium"} {
		joined := clients.next(t, client, "broken")
		if !strings.Contains(string(joined.Payload), `"status":"ok"`) || !strings.HasPrefix(joined.Reason, "permessage-deflate") {
			t.Fatalf("%s: %+v", client, joined)
		}
	}
	const size = 50_000
	for i, payload := range []string{`{"n":1}`, `{"text":"` + strings.Repeat("søren ", size/7) + `"}`, `{"n":3}`} {
		if status, body := s.post(t, "/api/events", "application/json", `{"topic":"orders:eu","event":"created","payload":`+payload+`}`); status != 202 {
			t.Fatalf("publish: %d %s", status, body)
		}
		want := fmt.Sprintf(`[null,null,"orders:eu","created",{"offset":%d,"data":%s}]`, i+1, payload)
		for _, client := range []string{"ws", "chromium"} {
			got := clients.next(t, client, "broken")
			if string(got.Payload) != want {
				t.Fatalf("%s: %.200s %s, want %.200s", client, got.Payload, got.Reason, want)
			}
			if client == "ws" && got.Code > size/10 {
				t.Errorf("%d bytes for less than ten times as much", got.Code)
			}
		}
	}
	clients.stdin.Close()
	clients.wait(t)
}
