//go:build unix

package baseline

import (
	"errors"
	"net"
	"syscall"
)

// bareWrite writes to a connection with one system call, and blocks the thread
// while there is no room. The connection is no longer the runtime's to poll.
func bareWrite(conn net.Conn) (write func(frame []byte) error, err error) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, errors.New("benchmarks: the floor writes to TCP only")
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := 0
	err = raw.Control(func(number uintptr) { fd = int(number) })
	if err == nil {
		err = syscall.SetNonblock(fd, false)
	}
	return func(frame []byte) error {
		for len(frame) > 0 {
			n, err := syscall.Write(fd, frame)
			if err != nil && err != syscall.EINTR {
				return err
			}
			frame = frame[max(n, 0):]
		}
		return nil
	}, err
}
