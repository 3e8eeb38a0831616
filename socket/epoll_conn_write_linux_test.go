package socket

import (
	"os"
	"syscall"
	"testing"

	"github.com/sluicehq/sluice/channels/outbound"
)

// TestOutputStates goes through the table of outputState.
func TestOutputStates(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ends := func(o outcome, last bool) func(*epollConn) bool {
		return func(c *epollConn) bool {
			return c.endWriting(o, &unsent{batch: outbound.WriteBatch{Last: last}})
		}
	}
	begins := func(c *epollConn) bool { return c.beginWriting() }
	becomesWritable := func(c *epollConn) bool {
		c.unblock()
		return c.loop.writers.length > 0
	}
	isEnded := func(c *epollConn) bool { return c.closeOutput() != nil }
	for _, step := range []struct {
		name     string
		from, to outputState
		happens  func(*epollConn) bool
		want     bool // there is (to be) another turn; or, when it is ended, something is lost
	}{
		{"a turn begins", outputIdle, outputWriting, begins, true},
		{"a turn begins too late", outputClosed, outputClosed, begins, false},
		{"all is written", outputWriting, outputIdle, ends(written, false), true},
		{"all is written, and it became writable", outputWritable, outputIdle, ends(written, false), true},
		{"the turn is over", outputWriting, outputIdle, ends(begun, false), true},
		{"the client has to read", outputWriting, outputBlocked, ends(full, false), false},
		{"the client has read meanwhile", outputWritable, outputIdle, ends(full, false), true},
		{"the close frame is written", outputWriting, outputCloseSent, ends(written, true), false},
		{"the close frame is written, and it became writable", outputWritable, outputCloseSent, ends(written, true), false},
		{"the turn ends when the connection has", outputClosing, outputClosed, ends(written, false), false},
		{"the close frame is written when the connection has ended", outputClosing, outputClosed, ends(written, true), false},
		{"writable, and nobody waits for it", outputIdle, outputIdle, becomesWritable, false},
		{"writable during a turn", outputWriting, outputWritable, becomesWritable, false},
		{"writable again", outputBlocked, outputIdle, becomesWritable, true},
		{"writable after the close frame", outputCloseSent, outputCloseSent, becomesWritable, false},
		{"ended between turns", outputIdle, outputClosed, isEnded, false},
		{"ended during a turn", outputWriting, outputClosing, isEnded, false},
		{"ended during a turn, after it became writable", outputWritable, outputClosing, isEnded, false},
		{"ended while it waits for the client", outputBlocked, outputClosed, isEnded, true},
		{"ended after the close frame", outputCloseSent, outputClosed, isEnded, false},
	} {
		fd, err := syscall.Open(os.DevNull, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		c := &epollConn{fd: fd, loop: &eventLoop{closed: true, writers: new(writerPool)}, output: step.from, unsent: new(unsent)}
		c.endpoint = r.endpoint
		if got := step.happens(c); got != step.want || c.output != step.to {
			t.Errorf("%s: %t, and state %d, want %t and %d", step.name, got, c.output, step.want, step.to)
		}
		if c.output != outputClosed || step.from == outputClosed {
			_ = syscall.Close(fd)
		}
	}
}
