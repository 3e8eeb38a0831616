package socket

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// readBuffer is what an idle connection keeps for reading: most of what clients
// send fits. Larger payloads are read into their own memory.
const readBuffer = 512

// growBytes is how much is allocated for a message before any of it has come.
const growBytes = 4 << 10

// frameReader reads the messages of a client (RFC 6455): it puts fragments
// together, answers control frames, and accepts nothing that the RFC forbids.
type frameReader struct {
	r        *bufio.Reader
	maxBytes int
	header   [ws.MaxHeaderSize]byte
}

func (f *frameReader) init(r io.Reader, maxBytes int) {
	f.r, f.maxBytes = bufio.NewReaderSize(r, readBuffer), maxBytes
}

// frameError is an end of the connection that what the client sent calls for.
type frameError struct{ farewell }

func (e *frameError) Error() string { return "socket: " + e.text }

var (
	errTooLarge    = &frameError{farewell{closedTooLarge, ws.StatusMessageTooBig, "message too large"}}
	errInvalidText = &frameError{farewell{closedUTF8, ws.StatusInvalidFramePayloadData, "invalid UTF-8"}}
)

func protocolError(text string) error {
	return &frameError{farewell{closedProtocol, ws.StatusProtocolError, text}}
}

// next returns the next message, in memory of its own. Pings and pongs that come
// before it or between its fragments are handed to control. A close frame is an
// error, as is what the RFC forbids: a *frameError.
func (f *frameReader) next(control func(op ws.OpCode, payload []byte)) (op ws.OpCode, data []byte, err error) {
	state := ws.StateServerSide
	for {
		h, err := ws.ReadHeaderBuffer(f.r, f.header[:])
		switch {
		case errors.Is(err, ws.ErrHeaderLengthMSB), errors.Is(err, ws.ErrHeaderLengthUnexpected):
			return 0, nil, protocolError(err.Error())
		case err != nil:
			return 0, nil, err
		}
		if err := ws.CheckHeader(h, state); err != nil {
			return 0, nil, protocolError(err.Error())
		}
		if h.OpCode.IsControl() {
			if err := f.control(h, control); err != nil {
				return 0, nil, err
			}
			continue
		}
		if h.Length > int64(f.maxBytes-len(data)) {
			return 0, nil, errTooLarge
		}
		if data, err = f.payload(data, h); err != nil {
			return 0, nil, err
		}
		if h.OpCode != ws.OpContinuation {
			op = h.OpCode
		}
		if !h.Fin {
			state = state.Set(ws.StateFragmented)
			continue
		}
		if op == ws.OpText && !utf8.Valid(data) {
			return 0, nil, errInvalidText
		}
		return op, data, nil
	}
}

// payload appends a frame's payload to data. Memory grows as it arrives: a
// length alone costs nothing.
func (f *frameReader) payload(data []byte, h ws.Header) ([]byte, error) {
	begin := len(data)
	for rest := int(h.Length); rest > 0; {
		n := min(rest, max(growBytes, len(data)))
		data = slices.Grow(data, n)
		at := len(data)
		data = data[:at+n]
		if _, err := io.ReadFull(f.r, data[at:]); err != nil {
			return nil, err
		}
		rest -= n
	}
	ws.Cipher(data[begin:], h.Mask, 0)
	return data, nil
}

// control handles a control frame.
func (f *frameReader) control(h ws.Header, handle func(ws.OpCode, []byte)) error {
	payload, err := f.payload(nil, h)
	switch {
	case err != nil:
		return err
	case h.OpCode == ws.OpClose:
		return closeError(payload)
	}
	handle(h.OpCode, payload)
	return nil
}

// closeError is how to answer a close frame: with the same code, if it may be
// one.
func closeError(payload []byte) error {
	if len(payload) == 0 {
		return &frameError{farewell{closedByClient, ws.StatusNoStatusRcvd, ""}}
	}
	code, reason := ws.ParseCloseFrameData(payload)
	if err := ws.CheckCloseFrameData(code, reason); err != nil {
		return protocolError(err.Error())
	}
	return &frameError{farewell{closedByClient, code, ""}}
}
