package swarm

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// WebSocket opcodes (RFC 6455, 5.2).
const (
	opText  = 0x1
	opBin   = 0x2
	opClose = 0x8
	opPing  = 0x9
	opPong  = 0xa
)

// maxFrame bounds a frame from the server.
const maxFrame = 16 << 20

// frame is a frame of the server's.
type frame struct {
	op      byte
	payload []byte
}

// cutFrame takes the frame that data begins with. size is 0 when it is not
// whole yet.
func cutFrame(data []byte) (f frame, size int, err error) {
	if len(data) < 2 {
		return frame{}, 0, nil
	}
	if data[0]&0x80 == 0 || data[0]&0x0f == 0 {
		return frame{}, 0, errors.New("a message in several frames, which no server here sends")
	}
	if data[1]&0x80 != 0 || data[0]&0x70 != 0 {
		return frame{}, 0, errors.New("a frame that is masked or compressed, which was not asked for")
	}
	length, skip := uint64(data[1]), 2
	switch length {
	case 126:
		skip = 4
	case 127:
		skip = 10
	}
	if len(data) < skip {
		return frame{}, 0, nil
	}
	switch skip {
	case 4:
		length = uint64(binary.BigEndian.Uint16(data[2:]))
	case 10:
		length = binary.BigEndian.Uint64(data[2:])
	}
	if length > maxFrame {
		return frame{}, 0, fmt.Errorf("a frame of %d bytes: more than %d", length, maxFrame)
	}
	size = skip + int(length)
	if len(data) < size {
		return frame{}, 0, nil
	}
	return frame{data[0] & 0x0f, data[skip:size]}, size, nil
}

// appendFrame appends a frame of a client's: masked, as RFC 6455, 5.3 has it,
// with a key of zeros, since who reads our traffic is welcome to.
func appendFrame(dst []byte, op byte, payload []byte) []byte {
	const final, masked = 0x80, 0x80
	dst = append(dst, final|op)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, masked|byte(n))
	case n < 1<<16:
		dst = append(dst, masked|126)
		dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	default:
		dst = append(dst, masked|127)
		dst = binary.BigEndian.AppendUint64(dst, uint64(n))
	}
	dst = append(dst, 0, 0, 0, 0)
	return append(dst, payload...)
}

// closing says why a server closed a connection (RFC 6455, 5.5.1).
func closing(payload []byte) error {
	if len(payload) < 2 {
		return errors.New("closed without a reason")
	}
	return fmt.Errorf("closed with %d %s", binary.BigEndian.Uint16(payload), payload[2:])
}
