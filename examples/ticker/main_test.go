package main

import (
	"fmt"
	"testing"

	"github.com/sluicehq/sluice/internal/sluicetest"
	"github.com/sluicehq/sluice/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Main(m) }

// number is the tick's that a frame is, 0 if it is none.
func number(frame string) (n int) {
	if _, err := fmt.Sscanf(frame, `["1",null,"ticker","tick",{"count":%d}]`, &n); err != nil {
		return 0
	}
	return n
}

func TestTry(t *testing.T) {
	t.Parallel()
	client := sluicetest.Run(t, serve).Connect("/socket", "")
	frames := sluicetest.Frames(try)
	client.Send(frames[0])
	client.Expect(`["1","1","ticker","phx_reply",{"status":"ok","response":{}}]`)
	client.Expect(`["1",null,"ticker","tick",{"count":1}]`)

	client.Send(frames[1])
	ticks := 1
	next := func() string { // passes over ticks, and sees that none is missing
		for {
			frame := client.Next()
			if number(frame) != ticks+1 {
				return frame
			}
			ticks++
		}
	}
	if got := next(); got != `["1","2","ticker","phx_reply",{"status":"ok","response":{}}]` {
		t.Fatal(got)
	}
	for ticks < 5 {
		ticks++
		client.Expect(fmt.Sprintf(`["1",null,"ticker","tick",{"count":%d}]`, ticks))
	}

	client.Send(frames[2])
	if got := next(); got != `["1","3","ticker","phx_reply",{"status":"ok","response":{}}]` {
		t.Fatal(got)
	}
	client.Expect(`["1","1","ticker","phx_close",{}]`)
	client.Beat() // with no tick before the answer
}

func TestRefused(t *testing.T) {
	t.Parallel()
	client := sluicetest.Run(t, serve).Connect("/socket", "")
	for _, params := range []string{`{}`, `{"every":0}`, `{"every":-5}`, `{"every":"often"}`} {
		client.Send(`["1","1","ticker","phx_join",` + params + `]`)
		client.Expect(`["1","1","ticker","phx_reply",{"status":"error","response":{"reason":"how often?"}}]`)
	}
	client.Send(`["2","2","ticker","phx_join",{"every":3600000}]`)
	client.Expect(`["2","2","ticker","phx_reply",{"status":"ok","response":{}}]`)
	for _, push := range []string{`"change",{"every":0}`, `"hurry",{}`} {
		client.Send(`["2","3","ticker",` + push + `]`)
		client.Expect(`["2","3","ticker","phx_reply",{"status":"error","response":{"reason":"not understood"}}]`)
	}
}
