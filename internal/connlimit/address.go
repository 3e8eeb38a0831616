package connlimit

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
)

// Addresses bounds what each client address holds open.
type Addresses struct {
	// Immutable after NewAddresses.
	max     int
	trusted []netip.Prefix

	mu sync.Mutex

	// Guarded by mu; addresses that hold nothing are not in them.
	sockets     map[netip.Addr]int
	connections map[netip.Addr]int
}

// NewAddresses allows each address so many sockets, 0 for any number. What these proxies say
// of whom they forward is believed.
func NewAddresses(max int, trusted []netip.Prefix) *Addresses {
	return &Addresses{max: max, trusted: trusted, sockets: map[netip.Addr]int{}, connections: map[netip.Addr]int{}}
}

// ParseProxies reads addresses and networks.
func ParseProxies(list []string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, text := range list {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			addr, addrErr := netip.ParseAddr(text)
			if addrErr != nil || addr.Zone() != "" {
				return nil, fmt.Errorf("%q is no address and no network", text)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		if prefix.Addr().Is4In6() && prefix.Bits() >= 96 {
			prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
		}
		prefixes = append(prefixes, prefix.Masked())
	}
	return prefixes, nil
}

// Client is the address that a request comes from: that of the connection, or, where this is
// a trusted proxy's, the right-most one in X-Forwarded-For that is not. It is invalid where
// the connection has none.
func (a *Addresses) Client(r *http.Request) netip.Addr {
	at := addrOf(r.RemoteAddr)
	lines := r.Header["X-Forwarded-For"]
	for i := len(lines) - 1; i >= 0; i-- {
		rest := lines[i]
		for more := true; more; {
			if !a.trusts(at) {
				return at
			}
			hop := rest
			comma := strings.LastIndexByte(rest, ',')
			if more = comma >= 0; more {
				rest, hop = rest[:comma], rest[comma+1:]
			}
			before := addrOf(strings.TrimSpace(hop))
			if !before.IsValid() {
				return at // whoever wrote that, it names nobody
			}
			at = before
		}
	}
	return at
}

func (a *Addresses) trusts(addr netip.Addr) bool {
	for _, p := range a.trusted {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// addrOf reads an address, with a port or without.
func addrOf(text string) netip.Addr {
	host, _, err := net.SplitHostPort(text)
	if err != nil {
		host = strings.Trim(text, "[]")
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap().WithZone("")
}

// share is the address, or the network, that is bounded as one.
func share(addr netip.Addr) netip.Addr {
	if addr.Is6() {
		prefix, _ := addr.Prefix(64) // an IPv6 address has as many bits
		return prefix.Addr()
	}
	return addr
}

// Reserve makes room for a socket of an address. Release gives it back; it is nil where
// nothing is counted.
func (a *Addresses) Reserve(addr netip.Addr) (release func(), ok bool) {
	if a.max <= 0 || !addr.IsValid() {
		return nil, true
	}
	key := share(addr)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sockets[key] >= a.max {
		return nil, false
	}
	a.sockets[key]++
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		less(a.sockets, key)
	}, true
}

// peer is what a connection from there counts for: nothing if it is not bounded.
func (a *Addresses) peer(from net.Addr) netip.Addr {
	tcp, ok := from.(*net.TCPAddr)
	if !ok || a.max <= 0 {
		return netip.Addr{}
	}
	addr := tcp.AddrPort().Addr().Unmap().WithZone("")
	if a.trusts(addr) { // it stands for many
		return netip.Addr{}
	}
	return share(addr)
}

// perAddress is how many connections an address may have: a long-poll needs two, and browsers
// keep a few for their requests.
func (a *Addresses) perAddress() int { return 2*a.max + 8 }

// connect counts a connection, and tells whether it is within the address's share.
func (a *Addresses) connect(key netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.connections[key]++
	return a.connections[key] <= a.perAddress()
}

func (a *Addresses) disconnect(key netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	less(a.connections, key)
}

func less(counts map[netip.Addr]int, key netip.Addr) {
	if counts[key]--; counts[key] <= 0 {
		delete(counts, key)
	}
}
