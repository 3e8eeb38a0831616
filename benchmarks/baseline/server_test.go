package baseline

import (
	"testing"

	"github.com/sluicehq/sluice/benchmarks/target"
)

func TestFloorNeedsItsAddresses(t *testing.T) {
	t.Parallel()
	lease, err := target.LeaseAddress()
	if err != nil {
		t.Fatal(err)
	}
	address := lease.Address
	for _, addresses := range [][2]string{{"ws://127.0.0.1:-1", "http://" + address}, {"ws://" + address, "http://127.0.0.1:-1"}} {
		if err := Serve(t.Context(), addresses[0], addresses[1], ""); err == nil {
			t.Errorf("%v are served", addresses)
		}
	}
	if err := lease.Release(); err != nil {
		t.Error(err)
	}
}
