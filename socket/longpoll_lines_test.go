package socket

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// FuzzLineReader reads what it reads as bytes.Split does, in whatever pieces it
// comes, unless a line is too long or the end is none.
func FuzzLineReader(f *testing.F) {
	for _, seed := range []string{"", "\n", "a", "a\n", "a\nb", "\n\na\r\n", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nb"} {
		f.Add([]byte(seed), false, uint8(20))
	}
	f.Fuzz(func(t *testing.T, data []byte, broken bool, limit uint8) {
		var in io.Reader = bytes.NewReader(data)
		if broken {
			in = io.MultiReader(in, iotest.ErrReader(io.ErrUnexpectedEOF))
		}
		l := lineReader{in: bufio.NewReaderSize(iotest.OneByteReader(in), 16), limit: int(limit)}
		want := bytes.SplitAfter(data, []byte("\n"))
		for i, line := range want {
			got, err := l.next()
			last := i == len(want)-1
			switch {
			case errors.Is(err, errTooLarge):
				if len(line) <= int(limit) {
					t.Fatalf("line %d of %d bytes is too long", i, len(line))
				}
				return
			case !bytes.Equal(got, line):
				t.Fatalf("line %d is %q, want %q", i, got, line)
			case last && broken && err != io.ErrUnexpectedEOF, last && !broken && err != io.EOF, !last && err != nil:
				t.Fatalf("line %d ends with %v", i, err)
			case len(line) > max(int(limit), 16):
				t.Fatalf("line %d of %d bytes is not too long", i, len(line))
			}
		}
	})
}
