package swarm

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// serverFrame is a frame as a server writes it.
func serverFrame(op ws.OpCode, payload []byte) []byte {
	return ws.MustCompileFrame(ws.NewFrame(op, true, payload))
}

// What another implementation writes is read, whole or not.
func TestFramesAreCut(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 125, 126, 1000, 1<<16 - 1, 1 << 16, 1 << 17} {
		payload := bytes.Repeat([]byte{'x'}, size)
		data := append(serverFrame(ws.OpText, payload), "and more"...)
		f, length, err := cutFrame(data)
		if err != nil || f.op != opText || !bytes.Equal(f.payload, payload) || string(data[length:]) != "and more" {
			t.Errorf("%d bytes: %d of opcode %d, %v", size, length, f.op, err)
		}
		for _, part := range []int{0, 1, 2, 3, length / 2, length - 1} {
			if part < length {
				if _, got, err := cutFrame(data[:part]); got != 0 || err != nil {
					t.Errorf("%d of %d bytes are a frame of %d, %v", part, length, got, err)
				}
			}
		}
	}
}

func TestFramesThatNobodyAskedFor(t *testing.T) {
	t.Parallel()
	for name, data := range map[string][]byte{
		"a fragment":     {0x01, 0},
		"a continuation": {0x80, 0},
		"compressed":     {0xc1, 0},
		"masked":         {0x81, 0x80, 0, 0, 0, 0},
		"huge":           {0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0},
		"huger":          {0x82, 127, 0xff, 0, 0, 1, 0, 0, 0, 0},
	} {
		if _, _, err := cutFrame(data); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// What is written is read by another implementation.
func TestFramesAreMasked(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 125, 126, 1<<16 - 1, 1 << 16} {
		payload := []byte(strings.Repeat("x", size))
		in := bytes.NewReader(appendFrame(nil, opText, payload))
		header, err := ws.ReadHeader(in)
		if err != nil || !header.Masked || !header.Fin || header.OpCode != ws.OpText || header.Length != int64(size) {
			t.Fatalf("%d bytes: %+v, %v", size, header, err)
		}
		got, err := io.ReadAll(in)
		ws.Cipher(got, header.Mask, 0)
		if err != nil || !bytes.Equal(got, payload) {
			t.Errorf("%d bytes come as %d, %v", size, len(got), err)
		}
	}
}

func FuzzReceive(f *testing.F) {
	f.Add(serverFrame(ws.OpText, []byte(`[null,null,"t","tick",{"n":0,"t":0,"at":0}]`)))
	f.Add(serverFrame(ws.OpPing, []byte("x")))
	f.Add(ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(1012, "service restart"))))
	f.Add([]byte{0x81})
	f.Fuzz(func(t *testing.T, data []byte) {
		whole, halves := bare(t, Load{Topics: 2, Sockets: 1}), bare(t, Load{Topics: 2, Sockets: 1})
		rest, err := whole.receive(whole.swarm.clients[0], data, 1)
		if err == nil && len(rest) > len(data) {
			t.Fatalf("%d bytes are left of %d", len(rest), len(data))
		}
		// Split anywhere, it comes to the same.
		c := halves.swarm.clients[0]
		half := len(data) / 2
		rest, splitErr := halves.receive(c, data[:half], 1)
		if splitErr == nil {
			_, splitErr = halves.receive(c, append(append([]byte(nil), rest...), data[half:]...), 1)
		}
		if (err == nil) != (splitErr == nil) || c.arrived != whole.swarm.clients[0].arrived {
			t.Fatalf("whole: %v, %d arrived; in halves: %v, %d", err, whole.swarm.clients[0].arrived, splitErr, c.arrived)
		}
	})
}
