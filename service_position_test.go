package sluice_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/sluicetest"
)

// TestQuietTopicsAreToldPositions has one topic be busy: who resumes on another is told
// positions beyond its last event, and can resume from one.
func TestQuietTopicsAreToldPositions(t *testing.T) {
	t.Parallel()
	n := sluicetest.Run(t, sluicetest.With(func(c *sluice.Config) { c.Retention = 40 * time.Second }))
	client := n.Connect("/socket", "")
	client.Send(`["1","1","quiet","phx_join",{"after":null}]`)
	client.Next()

	ctx, cancel := context.WithCancel(t.Context())
	var busy sync.WaitGroup
	busy.Go(func() {
		for ctx.Err() == nil {
			n.Request("POST", n.Admin, "/api/events", nil, `{"topic":"busy","event":"e","payload":{}}`)
			select {
			case <-time.After(100 * time.Millisecond): // so that there are some, and not many
			case <-ctx.Done():
			}
		}
	})
	defer busy.Wait()
	defer cancel()
	at := int64(0)
	for range 2 {
		frame := client.Next()
		var told struct{ Offset int64 }
		payload, ok := strings.CutPrefix(frame, `["1",null,"quiet","sluice_position",`)
		if err := json.Unmarshal([]byte(strings.TrimSuffix(payload, "]")), &told); !ok || err != nil || told.Offset <= at {
			t.Fatalf("%s after %d, %v", frame, at, err)
		}
		at = told.Offset
	}
	again := n.Connect("/socket", "")
	again.Send(fmt.Sprintf(`["1","1","quiet","phx_join",{"after":%d}]`, at))
	if reply := again.Next(); !strings.Contains(reply, `"resumed":true`) {
		t.Errorf("resuming from a position: %s", reply)
	}
}
