package chaos

import (
	"errors"
	"fmt"
	"net"
	"sync"
)

// relay stands between the database and those who use it, and breaks what goes
// through it.
type relay struct {
	// Immutable after newRelay.
	listener net.Listener
	serving  sync.WaitGroup // its goroutines; joined by close

	// gate is held for writing while nothing passes.
	gate sync.RWMutex

	mu sync.Mutex
	// Guarded by mu.
	target   string
	refusing bool
	conns    map[*net.TCPConn]bool
}

// newRelay relays to a target until it is closed.
func newRelay(target string) (*relay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen to relay: %w", err)
	}
	r := &relay{target: target, listener: listener, conns: map[*net.TCPConn]bool{}}
	r.serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			r.serving.Go(func() { r.carry(conn.(*net.TCPConn)) })
		}
	})
	return r, nil
}

func (r *relay) address() string { return r.listener.Addr().String() }

// stall lets nothing pass until it is resumed; connections stay.
func (r *relay) stall()  { r.gate.Lock() }
func (r *relay) resume() { r.gate.Unlock() }

// refuse breaks all connections, and new ones at once.
func (r *relay) refuse() {
	r.mu.Lock()
	r.refusing = true
	r.mu.Unlock()
	r.cut()
}

// admit lets connections in again.
func (r *relay) admit() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusing = false
}

// redirect has new connections lead elsewhere, and breaks those there are.
func (r *relay) redirect(target string) {
	r.mu.Lock()
	r.target = target
	r.mu.Unlock()
	r.cut()
}

// cut breaks all connections; what was on its way is lost.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.conns {
		_ = conn.SetLinger(0) // it fails on a closed connection only
		_ = conn.Close()
	}
}

// close ends the relay, with all that goes through it.
func (r *relay) close() error {
	err := r.listener.Close()
	r.refuse()
	r.serving.Wait()
	return err
}

// carry takes one connection's bytes both ways until either side ends.
func (r *relay) carry(near *net.TCPConn) {
	defer r.leave(near)
	target, ok := r.enter(near)
	if !ok {
		return
	}
	conn, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	far := conn.(*net.TCPConn)
	defer r.leave(far)
	if now, ok := r.enter(far); !ok || now != target {
		return
	}
	var back sync.WaitGroup
	back.Go(func() { r.pump(near, far) })
	r.pump(far, near)
	back.Wait()
}

// enter has a connection be cut with the others, unless it comes too late, and
// tells where connections lead.
func (r *relay) enter(conn *net.TCPConn) (target string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	refusing := r.refusing || r.target == "" // to nowhere
	if !refusing {
		r.conns[conn] = true
	}
	return r.target, !refusing
}

func (r *relay) leave(conn *net.TCPConn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, conn)
	_ = conn.Close() // once more, perhaps
}

// pass waits while the relay is stalled. It holds nothing afterwards, since a
// write may take long.
func (r *relay) pass() {
	r.gate.RLock()
	defer r.gate.RUnlock()
}

// pump moves bytes, and ends both connections when one has ended.
func (r *relay) pump(to, from *net.TCPConn) {
	buffer := make([]byte, 16<<10)
	var err error
	for err == nil {
		var n int
		n, err = from.Read(buffer)
		r.pass()
		_, writing := to.Write(buffer[:n])
		err = errors.Join(err, writing)
	}
	_ = from.Close()
	_ = to.Close()
}
