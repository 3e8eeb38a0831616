//go:build !unix

package baseline

import "net"

// bareWrite writes as the runtime does.
func bareWrite(conn net.Conn) (write func(frame []byte) error, err error) {
	return func(frame []byte) error {
		_, err := conn.Write(frame)
		return err
	}, nil
}
