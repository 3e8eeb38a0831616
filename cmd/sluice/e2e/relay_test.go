package e2e

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
)

// A relay is an address that stays while what stands behind it comes and goes:
// a service that is restarted, a database that is not there yet. Until it
// opens, the address is taken but refuses connections.
type relay struct {
	address string
	fd      int // the bound socket, until open hands it over

	listener net.Listener
	serving  sync.WaitGroup

	mu sync.Mutex
	// Guarded by mu.
	target string
	conns  map[net.Conn]bool
}

func newRelay(t testing.TB) *relay {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatalf("make the relay's socket: %v", err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatalf("bind the relay: %v", err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatalf("ask for the relay's port: %v", err)
	}
	address := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*syscall.SockaddrInet4).Port}
	r := &relay{address: address.String(), fd: fd, conns: map[net.Conn]bool{}}
	t.Cleanup(func() {
		if r.listener == nil {
			syscall.Close(fd)
			return
		}
		r.listener.Close()
		r.cut()
		r.serving.Wait()
	})
	return r
}

// open begins to relay to a target.
func (r *relay) open(t testing.TB, target string) *relay {
	t.Helper()
	r.point(target)
	if err := syscall.Listen(r.fd, 128); err != nil {
		t.Fatalf("listen: %v", err)
	}
	file := os.NewFile(uintptr(r.fd), "relay")
	defer file.Close()
	listener, err := net.FileListener(file)
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	r.listener = listener
	r.serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			r.serving.Go(func() { r.carry(conn) })
		}
	})
	return r
}

// point has new connections go elsewhere, or nowhere: then they break.
func (r *relay) point(target string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = target
}

// cut breaks all connections.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.conns {
		conn.Close()
	}
}

// carry takes one connection's bytes both ways until either side ends.
func (r *relay) carry(near net.Conn) {
	defer near.Close()
	r.mu.Lock()
	target := r.target
	r.mu.Unlock()
	far, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer far.Close()
	r.mu.Lock()
	if r.target != target {
		r.mu.Unlock()
		return // too late: a cut has not seen it
	}
	r.conns[near], r.conns[far] = true, true
	r.mu.Unlock()
	var back sync.WaitGroup
	back.Go(func() {
		io.Copy(near, far)
		near.Close()
	})
	io.Copy(far, near)
	far.Close()
	back.Wait()
	r.mu.Lock()
	delete(r.conns, near)
	delete(r.conns, far)
	r.mu.Unlock()
}
