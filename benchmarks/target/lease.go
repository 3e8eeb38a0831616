package target

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
)

// Ports that are leased: below those that systems give to outgoing connections,
// and above those that package pgserver tries.
const firstPort, lastPort = 26_000, 31_999

// leaseTries is how many ports are tried at most.
const leaseTries = 100

// Lease is an address of loopback for a server of a run, which it finds free
// whenever it is started. No other lease of this machine has it meanwhile: to ask
// whether a port is free and to listen on it later are two steps, and whoever
// asks in between would have it too. What holds it is the UDP port of the same
// number, so that it ends with this process at the latest.
type Lease struct {
	Address string // host:port

	held net.PacketConn
}

// LeaseAddress finds an address that nobody listens on or has leased.
func LeaseAddress() (lease *Lease, err error) {
	for range leaseTries {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+rand.IntN(lastPort-firstPort+1)))
		if lease, err = leaseOf(address); err == nil {
			return lease, nil
		}
	}
	return nil, fmt.Errorf("benchmarks: no free port in %d tries: %w", leaseTries, err)
}

// leaseOf leases an address, unless somebody listens there or has leased it.
func leaseOf(address string) (*Lease, error) {
	held, err := net.ListenPacket("udp", address)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", address)
	if err == nil {
		err = closeForAll(listener)
	}
	if err != nil {
		return nil, errors.Join(err, closeForAll(held))
	}
	return &Lease{address, held}, nil
}

// Release gives the address back. Call it once the server has ended.
func (l *Lease) Release() error { return closeForAll(l.held) }

// closeForAll closes what a port is taken by, while no process is being started: one that
// is has a copy of it until it runs its own program, for as long as a busy machine takes.
// The kernel closes that copy a moment after it has the program begin: who needs the port
// at once tries again.
func closeForAll(port io.Closer) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return port.Close()
}
