package postgres_test

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
)

// pooler listens and connects each client to the server, hiding the server's
// process id from it. It returns its address.
func pooler(t *testing.T, server string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var connections sync.WaitGroup
	connections.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Go(func() { serve(client, server) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		connections.Wait()
	})
	return listener.Addr().String()
}

func serve(client net.Conn, server string) {
	defer client.Close()
	backend, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	var up sync.WaitGroup
	up.Go(func() {
		io.Copy(backend, client)
		backend.Close()
	})
	hideProcessID(client, backend)
	client.Close()
	up.Wait()
}

// hideProcessID copies messages to the client and changes BackendKeyData.
// https://www.postgresql.org/docs/current/protocol-message-formats.html
func hideProcessID(client io.Writer, backend io.Reader) {
	for {
		var header [5]byte
		if _, err := io.ReadFull(backend, header[:]); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(header[1:])-4)
		if _, err := io.ReadFull(backend, body); err != nil {
			return
		}
		if header[0] == 'K' {
			body[3]++
		}
		if _, err := client.Write(append(header[:], body...)); err != nil {
			return
		}
	}
}
