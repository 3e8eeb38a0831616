//go:build !linux

package socket

import "net"

// polling adopts no connection: each has a goroutine.
type polling struct{}

func (*polling) adopt(*Endpoint, net.Conn, []byte) *conn { return nil }

func (*polling) stop() {}
