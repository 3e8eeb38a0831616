package socket

import (
	"bytes"
	"net"
	"runtime"
	"testing"
	"unsafe"

	"github.com/sluicehq/sluice/channels/outbound"
)

// TestIdleConnectionsHaveNoGoroutine is alone: nothing else in the process
// starts any.
func TestIdleConnectionsHaveNoGoroutine(t *testing.T) {
	const sockets, writers = 300, 2
	r := newPatientRig(t, func(c *Config) { c.Writers = writers })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dial := dialer{l, func(c *net.TCPConn) net.Conn { return c }}
	before := runtime.NumGoroutine()
	clients := make([]*client, sockets)
	for i := range clients {
		clients[i] = dial.connect(r)
		clients[i].join("room:a", `{}`)
	}
	until(t, "the goroutines of the joins have ended", func() bool { return runtime.NumGoroutine() <= before+writers })
	for range 3 {
		for _, c := range clients {
			c.text(beat)
		}
		if n := runtime.NumGoroutine(); n > before+2*writers {
			t.Fatalf("%d goroutines more for %d heartbeats at once", n-before, sockets)
		}
		for _, c := range clients {
			c.want(beaten)
		}
	}
}

// TestPartialWrites cuts what is written at every byte.
func TestPartialWrites(t *testing.T) {
	t.Parallel()
	var v vector
	small, large := bytes.Repeat([]byte("s"), 3), bytes.Repeat([]byte("l"), smallPiece+1)
	for _, frames := range [][][]byte{
		{small},
		{large},
		{small, small, small},
		{small, large, small, large, large, small},
		{nil, small, nil, nil, large, nil},
	} {
		whole := bytes.Join(frames, nil)
		for cut := range len(whole) + 1 {
			u := &unsent{batch: outbound.WriteBatch{Frames: frames}}
			v.fill(u)
			if got := v.content(); !bytes.Equal(got, whole) {
				t.Fatalf("%q instead of %q", got, whole)
			}
			for _, n := range []int{cut / 2, cut - cut/2} {
				if n > 0 && u.advance(n) != (u.offset > 0 || u.frame < len(frames)) {
					t.Fatal("does not know whether something is left")
				}
			}
			v.fill(u)
			if got := v.content(); !bytes.Equal(got, whole[cut:]) || v.bytes != len(got) {
				t.Fatalf("%q instead of %q behind the cut at %d", got, whole[cut:], cut)
			}
		}
	}
}

func TestTurnsAreBounded(t *testing.T) {
	t.Parallel()
	for _, frames := range [][][]byte{
		{make([]byte, 3*turnBytes+1)},
		{make([]byte, turnBytes-1), make([]byte, 2), make([]byte, turnBytes)},
		slicesOf(1000, 300),
		append(slicesOf(1000, smallPiece+1), slicesOf(1000, 1)...),
	} {
		u := &unsent{batch: outbound.WriteBatch{Frames: frames}}
		left := len(bytes.Join(frames, nil))
		var v vector
		for more := true; more; {
			v.fill(u)
			if v.bytes == 0 || v.bytes > turnBytes || len(v.content()) != v.bytes {
				t.Fatalf("%d bytes in a turn", v.bytes)
			}
			left -= v.bytes
			more = u.advance(v.bytes)
		}
		if left != 0 {
			t.Fatalf("%d bytes not written", left)
		}
	}
}

func slicesOf(n, size int) [][]byte {
	list := make([][]byte, n)
	for i := range list {
		list[i] = bytes.Repeat([]byte{byte(i)}, size)
	}
	return list
}

// content is what the vector writes.
func (v *vector) content() []byte {
	var all []byte
	for _, piece := range v.pieces[:v.n] {
		all = append(all, unsafe.Slice(piece.Base, piece.Len)...)
	}
	return all
}

// TestReadingOnKeepsNothing has connections end that have sent much: they do not
// stay in the list of those that have.
func TestReadingOnKeepsNothing(t *testing.T) {
	t.Parallel()
	p := &eventLoop{}
	for range 3 {
		p.more = append(p.more, &epollConn{loop: p, inMore: true, input: inputEnded})
	}
	p.readOn()
	for i, w := range p.more[:cap(p.more)] {
		if w != nil {
			t.Errorf("%d of %d places keep what has ended", i, cap(p.more))
		}
	}
}
