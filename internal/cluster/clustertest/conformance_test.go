package clustertest_test

import (
	"testing"
	"time"

	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/internal/cluster/clustertest"
)

// TestConformance has networks in memory pass the suite, also with what the faults do
// that a bus may suffer.
func TestConformance(t *testing.T) {
	t.Parallel()
	for name, faults := range map[string]clustertest.Faults{
		"None":  {},
		"Lossy": {Drop: 0.1, Repeat: 0.1, Delay: 20 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clustertest.Run(t, func(t *testing.T) clustertest.Harness {
				net := clustertest.NewNet(t, 1)
				net.SetFaults(faults)
				if faults.Delay > 0 {
					pump(t, net)
				}
				var names []string
				stranger := func(t *testing.T) cluster.Bus { return clustertest.NewNet(t, 2).Join("c") }
				return clustertest.Harness{
					Join: func(_ *testing.T, name string) cluster.Bus {
						names = append(names, name)
						return net.Join(name)
					},
					Strangers: []func(*testing.T) cluster.Bus{stranger, stranger},
					Cut: func(*testing.T) {
						for _, name := range names {
							net.Away(name)
						}
						net.Advance(cluster.NodeTimeout)
					},
					Heal:  func(*testing.T) { net.Heal() },
					Lossy: faults != clustertest.Faults{},
				}
			})
		})
	}
}

// pump lets time pass until the test ends.
func pump(t *testing.T, net *clustertest.Net) {
	t.Helper()
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				net.Advance(time.Millisecond)
			case <-over:
				return
			}
		}
	}()
	t.Cleanup(func() { close(over); <-ended })
}
