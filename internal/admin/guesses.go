package admin

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/sluicehq/sluice/metrics"
)

// Whoever guesses an admin token is slowed: after some wrong ones from an
// address each further attempt from there waits, right or wrong, and few wait
// at a time. Nobody is locked out, not even who shares the address.
const (
	freeGuesses   = 10          // wrong tokens before attempts have to wait
	guessMemory   = time.Minute // after which an address begins anew
	guessDelay    = time.Second
	guessWaiting  = 4    // attempts that wait, of one address
	guessNetworks = 4096 // addresses that are remembered; all further ones share one account
	guessTelling  = 10 * time.Second
)

// guesses keeps account of wrong admin tokens.
type guesses struct {
	// Immutable after init.
	count  *metrics.Counter
	logger *slog.Logger

	mu sync.Mutex

	// Guarded by mu.
	by     map[netip.Prefix]*guesser
	told   time.Time // when the log was told last
	untold int       // since then
}

// guesser is an address from which wrong tokens came.
type guesser struct {
	wrong   int
	waiting int
	last    time.Time
}

func (g *guesses) init(set *metrics.Set, logger *slog.Logger) {
	g.count, g.logger, g.by = set.Counter(metrics.AdminGuesses), logger, map[netip.Prefix]*guesser{}
}

// wait holds up an attempt from an address that has guessed too often. It
// returns false if the attempt is not to be looked at.
func (g *guesses) wait(ctx context.Context, remoteAddr string) bool {
	g.mu.Lock()
	each := g.by[networkOf(remoteAddr)]
	if each == nil && len(g.by) >= guessNetworks {
		each = g.by[netip.Prefix{}]
	}
	switch {
	case each == nil || each.wrong < freeGuesses || time.Since(each.last) > guessMemory:
		g.mu.Unlock()
		return true
	case each.waiting >= guessWaiting:
		g.mu.Unlock()
		return false
	}
	each.waiting++
	g.mu.Unlock()
	timer := time.NewTimer(guessDelay)
	defer timer.Stop()
	defer func() { g.mu.Lock(); each.waiting--; g.mu.Unlock() }()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// wrong notes a wrong token.
func (g *guesses) wrong(remoteAddr string) {
	g.count.Add(1)
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	each := g.account(networkOf(remoteAddr), now)
	if now.Sub(each.last) > guessMemory {
		each.wrong = 0
	}
	each.wrong++
	each.last = now
	if g.untold++; now.Sub(g.told) >= guessTelling {
		g.logger.Warn("wrong admin token", "remote_addr", remoteAddr, "guesses", g.untold)
		g.told, g.untold = now, 0
	}
}

// account is where the wrong tokens of a network are counted. Called with mu
// held.
func (g *guesses) account(network netip.Prefix, now time.Time) *guesser {
	if each := g.by[network]; each != nil {
		return each
	}
	if len(g.by) >= guessNetworks {
		for key, each := range g.by {
			if each.waiting == 0 && now.Sub(each.last) > guessMemory {
				delete(g.by, key)
			}
		}
	}
	if len(g.by) >= guessNetworks {
		network = netip.Prefix{}
	}
	each := g.by[network]
	if each == nil {
		each = &guesser{}
		g.by[network] = each
	}
	return each
}

// networkOf is what is likely one party: an address of IPv4, or the network
// that a subscriber of IPv6 has.
func networkOf(remoteAddr string) netip.Prefix {
	at, err := netip.ParseAddrPort(remoteAddr)
	if err != nil {
		return netip.Prefix{}
	}
	addr := at.Addr().Unmap().WithZone("")
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	network, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return network
}
