package phoenix

import (
	"compress/flate"
	"runtime"

	"github.com/sluicehq/sluice/channels/outbound"
)

// Messages for all on a topic can be compressed (RFC 7692): once, for all of them, since
// each message stands alone, without what came before it on any connection
// (server_no_context_takeover). What a client is answered, and what goes to it alone, is
// never compressed: beside what it has sent itself, the size of that would tell what it may
// not see.

// opCompressed is the bit of a frame's first byte that says that its message is compressed
// (RFC 7692, section 6).
const opCompressed = 0x40

// appendShared is appendFrame for a message that all who have its format share.
func (e Encoder) appendShared(dst []byte, f outbound.Format, op byte, head, payload []byte, tail string) []byte {
	if size := len(head) + len(payload) + len(tail); f&carrier != Compressed || size < e.CompressFrom {
		return appendFrame(dst, f, op, head, payload, tail)
	}
	c := <-compressors
	defer func() { compressors <- c }()
	if c == nil {
		c = newCompressor()
	}
	small := c.compress(head, payload, tail)
	if len(small) >= len(head)+len(payload)+len(tail) {
		return appendFrame(dst, f, op, head, payload, tail)
	}
	return append(AppendFrameHeader(dst, op|opCompressed, len(small)), small...)
}

// compressors are those of the process, nil where one has not been needed yet: a core
// compresses one message at a time, and who comes on top waits. Each has about a megabyte.
var compressors = func() chan *compressor {
	all := make(chan *compressor, runtime.GOMAXPROCS(0))
	for range cap(all) {
		all <- nil
	}
	return all
}()

// compressor compresses messages, one after the other.
type compressor struct {
	deflate *flate.Writer
	in, out []byte
}

// keptBuffer is the capacity up to which a compressor keeps its buffers.
const keptBuffer = 1 << 20

func newCompressor() *compressor {
	c := new(compressor)
	c.deflate, _ = flate.NewWriter(c, flate.BestSpeed) // an error is of another level
	return c
}

// compress is a message of three parts, compressed. It is valid until the next one.
func (c *compressor) compress(head, payload []byte, tail string) []byte {
	if max(cap(c.in), cap(c.out)) > keptBuffer {
		c.in, c.out = nil, nil
	}
	c.in = append(append(append(c.in[:0], head...), payload...), tail...) // the head stays on its stack
	c.out = c.out[:0]
	c.deflate.Reset(c)
	_, _ = c.deflate.Write(c.in) // to memory
	_ = c.deflate.Flush()
	return c.out[:len(c.out)-len(flushed)] // RFC 7692, section 7.2.1
}

// flushed is what ends each flush, and does not go over the wire.
const flushed = "\x00\x00\xff\xff"

// Write implements io.Writer.
func (c *compressor) Write(p []byte) (int, error) {
	c.out = append(c.out, p...)
	return len(p), nil
}
