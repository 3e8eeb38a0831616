package socket

import (
	"encoding/binary"
	"math"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// frameReader puts the messages of a client together (RFC 6455) from what comes
// in, in whatever pieces that is. It accepts nothing that the RFC forbids, and
// holds no memory while nothing is incomplete.
type frameReader struct {
	partial  *partial // nil if nothing is
	inflates bool     // messages may be compressed; see websocket_deflate.go
}

// partial is what has come of a frame, and of a message in fragments. Memory
// grows as it arrives: a length alone costs nothing.
type partial struct {
	frame []byte    // as it came
	op    ws.OpCode // of the message, opNone if none has begun
	small bool      // the message is compressed
	data  []byte    // of the message
}

// opNone stands for no message. On the wire it is a continuation, which never
// is a message by itself.
const opNone = ws.OpContinuation

// next takes the first message or control frame off in. It returns what follows
// it, or opNone if nothing is complete yet: then all of in has been taken. A
// close frame is an error, as is what the RFC forbids: a *frameError.
//
// The payload may lie in the memory of in, which next writes to. It is the
// caller's until in is used again.
func (f *frameReader) next(in []byte, maxBytes int) (op ws.OpCode, payload, rest []byte, err error) {
	for {
		small := false
		h, payload, rest, err := f.frame(in, maxBytes)
		if err != nil || payload == nil {
			return opNone, nil, nil, err
		}
		ws.Cipher(payload, h.Mask, 0)
		switch {
		case h.OpCode == ws.OpClose:
			return opNone, nil, nil, closeError(payload)
		case h.OpCode.IsControl():
			return h.OpCode, payload, rest, nil
		case h.Fin && h.OpCode != ws.OpContinuation:
			op, small = h.OpCode, h.Rsv == rsvCompressed
		default:
			if op, payload, small = f.join(h, payload); op == opNone {
				in = rest
				continue
			}
		}
		if small {
			if payload, err = inflate(payload, maxBytes); err != nil {
				return opNone, nil, nil, err
			}
		}
		if op == ws.OpText && !utf8.Valid(payload) {
			return opNone, nil, nil, errInvalidText
		}
		return op, payload, rest, nil
	}
}

// join adds a fragment to its message. It returns the message if that was the
// last one.
func (f *frameReader) join(h ws.Header, payload []byte) (op ws.OpCode, data []byte, small bool) {
	if f.partial == nil {
		f.partial = new(partial)
	}
	p := f.partial
	if h.OpCode != ws.OpContinuation {
		p.op, p.small = h.OpCode, h.Rsv == rsvCompressed
	}
	p.data = append(p.data, payload...)
	if !h.Fin {
		return opNone, nil, false
	}
	f.partial = nil // its frame is this one: nothing else has begun
	return p.op, p.data, p.small
}

// frame takes the first frame off in, together with what has been kept of it.
// The payload is nil if the frame is not complete.
func (f *frameReader) frame(in []byte, maxBytes int) (h ws.Header, payload, rest []byte, err error) {
	if f.partial == nil || len(f.partial.frame) == 0 {
		h, end, err := f.check(in, maxBytes)
		switch {
		case err != nil:
			return h, nil, nil, err
		case len(in) >= end.frame:
			return h, in[end.header:end.frame:end.frame], in[end.frame:], nil
		case len(in) > 0 && f.partial == nil:
			f.partial = &partial{frame: append([]byte(nil), in...)}
		case len(in) > 0:
			f.partial.frame = append([]byte(nil), in...)
		}
		return h, nil, nil, nil
	}
	p := f.partial
	for {
		h, end, err := f.check(p.frame, maxBytes)
		switch {
		case err != nil:
			return h, nil, nil, err
		case len(p.frame) >= end.frame:
			payload = p.frame[end.header:]
			if p.frame = nil; p.op == opNone {
				f.partial = nil
			}
			return h, payload, in, nil
		case len(in) == 0:
			return h, nil, nil, nil
		}
		n := min(end.frame-len(p.frame), len(in))
		p.frame, in = append(p.frame, in[:n]...), in[n:]
	}
}

// frameEnds are where a frame's header and the whole of it end. As long as the
// header is not complete, both are where that ends as far as one can tell.
type frameEnds struct{ header, frame int }

// check reads the header of a frame, and once that is complete refuses what is
// forbidden.
func (f *frameReader) check(frame []byte, maxBytes int) (h ws.Header, end frameEnds, err error) {
	end.header = 2
	if len(frame) >= 2 {
		end.header += maskBytes * int(frame[1]>>7)
		switch frame[1] & 0x7f {
		case 126:
			end.header += 2
		case 127:
			end.header += 8
		}
	}
	end.frame = end.header
	if len(frame) < end.header {
		return h, end, nil
	}
	h.Fin, h.Rsv, h.OpCode = frame[0]&0x80 != 0, frame[0]>>4&7, ws.OpCode(frame[0]&0x0f)
	h.Masked = frame[1]&0x80 != 0
	switch length := frame[1] & 0x7f; length {
	case 126:
		h.Length = int64(binary.BigEndian.Uint16(frame[2:]))
	case 127:
		h.Length = int64(binary.BigEndian.Uint64(frame[2:]))
	default:
		h.Length = int64(length)
	}
	if h.Masked {
		copy(h.Mask[:], frame[end.header-maskBytes:])
	}
	state, sofar := ws.StateServerSide, 0
	if f.partial != nil && f.partial.op != opNone {
		state, sofar = state.Set(ws.StateFragmented), len(f.partial.data)
	}
	switch {
	case h.Length < 0:
		return h, end, protocolError(ws.ErrHeaderLengthMSB.Error())
	case h.Length <= longest(frame[1]&0x7f):
		return h, end, protocolError("length not in its shortest form")
	}
	checked := h
	if f.inflates && h.Rsv == rsvCompressed && h.OpCode.IsData() && h.OpCode != ws.OpContinuation {
		checked.Rsv = 0
	}
	if err := ws.CheckHeader(checked, state); err != nil {
		return h, end, protocolError(err.Error())
	}
	if !h.OpCode.IsControl() && h.Length > int64(maxBytes-sofar) {
		return h, end, errTooLarge
	}
	end.frame += int(h.Length)
	return h, end, nil
}

// longest is the greatest length that has a shorter form than the given one,
// which must not be used for it (RFC 6455, section 5.2); -1 if none has.
func longest(form byte) int64 {
	switch form {
	case 126:
		return 125
	case 127:
		return math.MaxUint16
	}
	return -1
}

const maskBytes = 4

// First bytes of control frames that the server sends (RFC 6455, section 5.2).
const (
	opClose = 0x88
	opPong  = 0x8a
)
