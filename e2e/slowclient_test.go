package e2e

import (
	"testing"
	"time"

	"github.com/sluicehq/sluice/benchmarks"
	"github.com/sluicehq/sluice/internal/pgtest"
)

// Beside a client that reads nothing, the others of its topic get everything,
// once and in order; and it has everything too, once it reads. What it costs
// them is for `sluice bench slow` to measure: here the machine is busy.
func TestSlowClientCostsOthersNothing(t *testing.T) {
	t.Parallel()
	slow := benchmarks.DefaultSlow()
	slow.Program, slow.DatabaseURL, slow.Log = sluice, pgtest.Schema(t), t.Output()
	slow.Sockets, slow.Rounds, slow.For = 20, 2, time.Second
	r, err := slow.Run(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Sound() {
		t.Errorf("%+v because %s", r.Check, r.CutBecause)
	}
	// Half of the events had one client more.
	if most := r.Events * int64(slow.Sockets+1); r.Deliveries <= r.Events*int64(slow.Sockets) || r.Deliveries >= most {
		t.Errorf("%d deliveries of %d events to %d clients, and one more for half of the time", r.Deliveries, r.Events, slow.Sockets)
	}
}
