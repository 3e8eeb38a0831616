package admin

import (
	"context"
	"log/slog"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/metrics"
)

func newGuesses(t *testing.T) *guesses {
	t.Helper()
	set, err := metrics.New(metrics.Config{})
	if err != nil {
		t.Fatal(err)
	}
	g := &guesses{}
	g.init(set, slog.New(slog.DiscardHandler))
	return g
}

func TestGuessesAreSlowed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGuesses(t)
		const here, there = "192.0.2.1:1", "192.0.2.2:1"
		attempt := func(from string) (bool, time.Duration) {
			begun := time.Now()
			ok := g.wait(t.Context(), from)
			return ok, time.Since(begun)
		}
		for range freeGuesses {
			if ok, took := attempt(here); !ok || took != 0 {
				t.Fatal(ok, took)
			}
			g.wrong(here)
		}
		if ok, took := attempt("192.0.2.1:2"); !ok || took != guessDelay { // whatever the port
			t.Fatal(ok, took)
		}
		if ok, took := attempt(there); !ok || took != 0 {
			t.Fatal(ok, took)
		}
		var let, refused atomic.Int32
		var all sync.WaitGroup
		for range 10 * guessWaiting {
			all.Go(func() {
				if g.wait(t.Context(), here) {
					let.Add(1)
				} else {
					refused.Add(1)
				}
			})
		}
		all.Wait()
		if let.Load() != guessWaiting || refused.Load() != 9*guessWaiting {
			t.Fatal(let.Load(), refused.Load())
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if g.wait(gone, here) {
			t.Fatal("who has gone is let through")
		}
		time.Sleep(guessMemory + 1) // of the test's own clock
		if ok, took := attempt(here); !ok || took != 0 {
			t.Fatal("not forgotten", ok, took)
		}
		g.wrong(here)
		if ok, took := attempt(here); !ok || took != 0 {
			t.Fatal("does not begin anew", ok, took)
		}
	})
}

// TestGuessesAreBounded guesses from more addresses than are remembered.
func TestGuessesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGuesses(t)
		from := func(i int) string {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1).String()
		}
		for i := range guessNetworks + 100 {
			g.wrong(from(i))
		}
		if n := len(g.by); n > guessNetworks+1 {
			t.Fatal(n)
		}
		begun := time.Now()
		if !g.wait(t.Context(), from(1<<20)) || time.Since(begun) != guessDelay {
			t.Fatal("those that are not remembered are not slowed together")
		}
		time.Sleep(guessMemory + 1) // of the test's own clock
		g.wrong(from(1 << 21))
		if n := len(g.by); n > 2 {
			t.Fatal(strconv.Itoa(n) + " remembered for ever")
		}
	})
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"192.0.2.1:80":          "192.0.2.1/32",
		"[::ffff:192.0.2.1]:80": "192.0.2.1/32",
		"[2001:db8::1]:80":      "2001:db8::/64",
		"[fe80::1%eth0]:80":     "fe80::/64",
		"@":                     "invalid Prefix",
	} {
		if got := networkOf(addr).String(); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}
