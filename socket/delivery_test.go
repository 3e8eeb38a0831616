package socket

import (
	"testing"
	"testing/synctest"

	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// TestAChannelIsServedAsItSays has an endpoint that withholds repeated
// payloads, and a channel that says otherwise.
func TestAChannelIsServedAsItSays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Options.Dedupe = outbound.DedupePayload })
		as, otherwise := r.connect(phoenix.Version2), r.connect(phoenix.Version2)
		as.join("room:a", `{}`)
		otherwise.join("room:a", `{"do":"all"}`)
		for _, payload := range []string{`{"a":1}`, `{"a":1}`, `{"a":2}`} {
			r.log("room:a", "e", payload)
		}
		one, two := `[null,null,"room:a","e",{"a":1}]`, `[null,null,"room:a","e",{"a":2}]`
		as.want(one, two)
		otherwise.want(one, one, two)
		synctest.Wait()
		tag := metrics.Tag{Key: "kind", Value: "all"}
		for _, c := range []struct {
			what      string
			got, want int64
		}{
			{"pushed", r.counter(metrics.MessagesPushed), 2},
			{"pushed with the tag", r.counter(metrics.MessagesPushed, tag), 3},
			{"pushed at all", r.hub.Pushed(), 5},
			{"withheld", r.counter(metrics.MessagesDuplicate), 1},
			{"withheld with the tag", r.counter(metrics.MessagesDuplicate, tag), 0},
			{"joins with the tag", r.counter(metrics.Joins, tag, metrics.Status("ok")), 1},
		} {
			if c.got != c.want {
				t.Errorf("%d %s, want %d", c.got, c.what, c.want)
			}
		}
		as.Close()
		otherwise.Close()
		_ = r.stop()
	})
}
