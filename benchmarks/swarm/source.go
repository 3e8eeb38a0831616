package swarm

import "net"

// perSource is how many clients share a source address: a fraction of the
// ports that one has (about 28,000), so that a free one is found at once.
const perSource = 4000

// sourceOf is the address that a client connects from: all of 127.0.0.0/8 is
// this machine's (RFC 1122, 3.2.1.3). nil leaves it to the system.
func sourceOf(to net.IP, client int) net.IP {
	if v4 := to.To4(); v4 == nil || v4[0] != 127 {
		return nil
	}
	n := 1 + client/perSource
	return net.IPv4(127, byte(n>>16), byte(n>>8), byte(n)).To4()
}
