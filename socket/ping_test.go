package socket

import (
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// TestPingsArePaced floods with control frames of both kinds: reading waits, and
// what comes behind them waits too.
func TestPingsArePaced(t *testing.T) {
	for name, test := range map[string]struct {
		op   ws.OpCode
		rate int // of messages
		want time.Duration
	}{
		"pings":                       {ws.OpPing, 0, 20 * time.Second},
		"pongs":                       {ws.OpPong, 0, 20 * time.Second},
		"pings at a rate of messages": {ws.OpPing, 4, 50 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(c *Config) { c.InboundRate, c.HeartbeatTimeout = test.rate, time.Hour }, func(t *testing.T, r *rig) {
				c := r.connect(phoenix.Version2)
				begun := time.Now()
				go func() {
					for range 200 {
						c.frame(test.op, true, "x")
					}
					c.text(beat)
				}()
				for {
					if got := c.next(); got == beaten {
						break
					} else if got != "pong x" {
						t.Error(got)
						break
					}
				}
				if took := time.Since(begun); took < test.want-2*time.Second || took > test.want+2*time.Second {
					t.Errorf("200 took %v, want about %v", took, test.want)
				}
				c.Close()
			})
		})
	}
}

// TestFewPingsAreNotPaced sends pings as clients do.
func TestFewPingsAreNotPaced(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		c := r.connect(phoenix.Version2)
		begun := time.Now()
		for range maxPings {
			c.frame(ws.OpPing, true, "")
			c.want("pong ")
		}
		if took := time.Since(begun); took != 0 {
			t.Fatal(took)
		}
		c.Close()
	})
}
