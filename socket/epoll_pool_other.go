//go:build !linux

package socket

import "net"

// loopPool adopts no connection: each has a goroutine.
type loopPool struct{}

func (*loopPool) adopt(*Endpoint, net.Conn, []byte) *conn { return nil }

func (*loopPool) stop() {}
