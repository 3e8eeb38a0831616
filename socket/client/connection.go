package client

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

const (
	writeTimeout = 10 * time.Second
	// MaxMessageBytes is as much as is read of a message from the server. Larger ones
	// are passed over.
	MaxMessageBytes = 16 << 20
)

// connection is one WebSocket connection, on the client's side. Its reader is a
// goroutine, started by newConnection and joined by close; all writing is done by
// the owner.
type connection struct {
	conn net.Conn
	// The reader sends and closes, the owner receives. It has no room: while the owner is
	// busy the server has to wait.
	frames chan frame
	// err is why reading ended; to be read once frames is closed.
	err error
}

// frame is a whole message, the head of one that is too large, or a ping.
type frame struct {
	op   ws.OpCode
	data []byte
	size int64 // of the message: more than data has if it is too large
}

func newConnection(conn net.Conn, rest *bufio.Reader) *connection {
	c := &connection{conn: conn, frames: make(chan frame)}
	source := bufio.NewReader(conn)
	if rest != nil {
		source = rest // it goes on reading from conn
	}
	go c.read(source)
	return c
}

// close ends the connection and waits for its reader. The server is told that
// it is meant; whether it listens is of no importance.
func (c *connection) close() {
	_ = c.write(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, "")))
	c.conn.Close()
	for range c.frames { // until the reader has ended
	}
}

func (c *connection) read(source *bufio.Reader) {
	defer close(c.frames)
	reader := wsutil.Reader{
		Source:         source,
		State:          ws.StateClientSide,
		CheckUTF8:      true,
		OnIntermediate: c.control,
	}
	for {
		header, err := reader.NextFrame()
		if err == nil && header.OpCode.IsControl() {
			if err = c.control(header, &reader); err == nil {
				continue
			}
		}
		var data []byte
		var size int64
		if err == nil {
			data, size, err = readMessage(&reader)
		}
		if err != nil {
			c.err = err
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				c.err = errWentAway
			}
			return
		}
		c.frames <- frame{header.OpCode, data, size}
	}
}

// control takes in a control frame. Pings are passed on to the owner, who
// does all writing.
func (c *connection) control(header ws.Header, body io.Reader) error {
	data, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	switch header.OpCode {
	case ws.OpPing:
		c.frames <- frame{ws.OpPing, data, int64(len(data))}
	case ws.OpClose:
		code, reason := ws.ParseCloseFrameData(data)
		return &CloseError{int(code), reason}
	}
	return nil
}

func (c *connection) write(f ws.Frame) error {
	bytes, err := ws.CompileFrame(ws.MaskFrameInPlace(f))
	if err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	c.conn.SetWriteDeadline(time.Now().Add(writeTimeout)) // it fails on a closed connection only, and so does the write
	if _, err := c.conn.Write(bytes); err != nil {
		return fmt.Errorf("write to the server: %w", err)
	}
	return nil
}
