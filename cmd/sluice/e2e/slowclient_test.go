package e2e

import (
	"testing"

	"github.com/sluicehq/sluice/benchmarks"
	"github.com/sluicehq/sluice/benchmarks/target"
	"github.com/sluicehq/sluice/internal/pgtest"
)

// Beside a client that reads nothing, the others of its topic get everything,
// once and in order; and it has everything too, once it reads. What it costs
// them is for `sluice bench slow` to measure: here the machine is busy.
func TestSlowClientCostsOthersNothing(t *testing.T) {
	t.Parallel()
	slow := benchmarks.DefaultSlow()
	slow.Server = &target.Sluice{Program: sluice, DatabaseURL: pgtest.Schema(t), Log: t.Output()}
	slow.Sockets, slow.Rounds = 21, 2
	r, err := slow.Run(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Sound() {
		t.Errorf("%+v because %s", r.Check, r.CutBecause)
	}
	if want := r.Events * int64(slow.Sockets); r.Deliveries < want {
		t.Errorf("%d deliveries of %d events to %d clients", r.Deliveries, r.Events, slow.Sockets)
	}
}
