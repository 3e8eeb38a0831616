package main

import (
	"bytes"
	"fmt"
	"io"
	"unicode/utf8"
)

// terminalWriter writes text so that nothing in it commands a terminal, or
// makes one show what is not there. Each call has whole characters.
type terminalWriter struct{ to io.Writer }

// Write implements [io.Writer].
func (w terminalWriter) Write(text []byte) (int, error) {
	if _, err := w.to.Write(harmless(text)); err != nil {
		return 0, err
	}
	return len(text), nil
}

// harmless escapes what a terminal would act on, as JSON does: in JSON it means
// the same.
func harmless(text []byte) []byte {
	if bytes.IndexFunc(text, acts) < 0 && utf8.Valid(text) {
		return text
	}
	var out bytes.Buffer
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && size == 1: // C1 controls stand as single bytes in other encodings
			fmt.Fprintf(&out, `\x%02x`, text[0])
		case acts(r):
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			out.Write(text[:size])
		}
		text = text[size:]
	}
	return out.Bytes()
}

// acts tells whether a terminal does something with a character but showing it:
// controls (C0, DEL and C1), line and paragraph separators, and those that turn
// the direction of writing (Unicode Standard Annex 9, section 2).
func acts(r rune) bool {
	switch {
	case r == '\n':
		return false
	case r < 0x20, r >= 0x7f && r <= 0x9f:
		return true
	case r == 0x061c, r == 0x200e, r == 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0xfeff:
		return true
	}
	return false
}
