package socket

import (
	"bytes"
	"compress/flate"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/gobwas/ws"
)

// Compression of messages (permessage-deflate, RFC 7692): what goes out is compressed by
// package phoenix, what comes in is inflated here.

const (
	extensionsHeader = "Sec-Websocket-Extensions"
	deflateExtension = "permessage-deflate"
)

// negotiateDeflate answers what a client offers, "" if nothing of that can be: then its
// connection goes on without. Of several offers the first that can be counts (section 5.1).
func negotiateDeflate(h http.Header) (answer string) {
	for _, line := range h[extensionsHeader] {
		for offer := range splitQuoted(line, ',') {
			if answer, ok := answerDeflate(offer); ok {
				return answer
			}
		}
	}
	return ""
}

// answerDeflate answers one offer. It is declined if it asks for what cannot be kept, or says
// something that is not known, twice or malformed (section 7.1). Each message is to stand
// alone, in both directions: then nothing has to be kept for a connection.
func answerDeflate(offer string) (answer string, ok bool) {
	answer = deflateExtension + "; server_no_context_takeover; client_no_context_takeover"
	name := true
	seen := make(map[string]bool)
	for param := range splitQuoted(offer, ';') {
		param, value, valued := strings.Cut(param, "=")
		param = strings.ToLower(strings.TrimSpace(param))
		if name {
			if name = false; param != deflateExtension || valued {
				return "", false
			}
			continue
		}
		if seen[param] {
			return "", false
		}
		seen[param] = true
		switch param {
		case "server_no_context_takeover", "client_no_context_takeover":
			if valued {
				return "", false
			}
		case "client_max_window_bits": // whatever it is: what inflates knows the largest window
			if _, ok := windowBits(value); valued && !ok {
				return "", false
			}
		case "server_max_window_bits": // what compresses knows no smaller one
			if bits, ok := windowBits(value); !valued || !ok || bits < maxWindowBits {
				return "", false
			}
			answer += "; server_max_window_bits=" + strconv.Itoa(maxWindowBits)
		default:
			return "", false
		}
	}
	return answer, !name
}

const (
	minWindowBits = 8
	maxWindowBits = 15
)

// windowBits reads the size of a window: a decimal without a zero before it, which may stand
// in quotes.
func windowBits(value string) (bits int, ok bool) {
	value = strings.TrimSpace(value)
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	bits, err := strconv.Atoi(value)
	return bits, err == nil && strconv.Itoa(bits) == value && minWindowBits <= bits && bits <= maxWindowBits
}

// splitQuoted yields what stands between separators that are in no quotes.
func splitQuoted(text string, separator byte) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		begin, quoted := 0, false
		for i := 0; i <= len(text); i++ {
			switch {
			case i < len(text) && quoted && text[i] == '\\':
				i++
			case i < len(text) && text[i] == '"':
				quoted = !quoted
			case i == len(text), text[i] == separator && !quoted:
				if !yield(text[begin:i]) {
					return
				}
				begin = i + 1
			}
		}
		if begin <= len(text) && quoted {
			yield(text[begin:]) // malformed, which is whoever reads it to find
		}
	}
}

// rsvCompressed is the bit of a header that says that a message is compressed.
const rsvCompressed = 4

// inflater inflates messages, one after the other.
type inflater struct {
	in     bytes.Reader
	end    strings.Reader
	reader io.ReadCloser // of flate
}

var inflaters = sync.Pool{New: func() any {
	f := new(inflater)
	f.reader = flate.NewReader(nil)
	return f
}}

// messageEnd is what a sender leaves out at the end of a message (section 7.2.2), and a
// block that ends the data.
const messageEnd = "\x00\x00\xff\xff\x01\x00\x00\xff\xff"

var errDeflate = &frameError{closeInfo{closedProtocol, ws.StatusInvalidFramePayloadData, "invalid compressed data"}}

// inflate is a message as it was before it was compressed. What it takes grows with what has
// come out, up to the bound.
func inflate(payload []byte, maxBytes int) ([]byte, error) {
	f := inflaters.Get().(*inflater)
	defer inflaters.Put(f)
	f.in.Reset(payload)
	f.end.Reset(messageEnd)
	if err := f.reader.(flate.Resetter).Reset(io.MultiReader(&f.in, &f.end), nil); err != nil {
		return nil, errDeflate
	}
	var out bytes.Buffer
	n, err := out.ReadFrom(io.LimitReader(f.reader, int64(maxBytes)+1))
	f.in.Reset(nil)
	switch {
	case n > int64(maxBytes):
		return nil, errTooLarge
	case err != nil:
		return nil, errDeflate
	}
	return out.Bytes(), nil
}
