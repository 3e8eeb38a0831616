package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// drain reads all batches of an input; the last one is with an error.
func drain(in io.Reader) []publishBatch {
	reader := newLineReader(in, func(to, payload []byte) []byte { return append(to, payload...) })
	for all := []publishBatch{}; ; {
		all = append(all, reader.next())
		if all[len(all)-1].err != nil {
			return all
		}
	}
}

// Whatever the lines and however they come: every event is in one batch, in
// order, and every line of a body can be found again in the input.
func TestBatchesHoldAllLines(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfN(rapid.SampledFrom([]string{"", "  ", `{}`, `{"n": 7}`, `{"text": "` + strings.Repeat("x", 5000) + `"}`}), 0, 3000).Draw(t, "lines")
		input := strings.Join(lines, rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "break")) + rapid.SampledFrom([]string{"", "\n"}).Draw(t, "end")
		source := rapid.SampledFrom([]func(io.Reader) io.Reader{
			func(r io.Reader) io.Reader { return r }, iotest.HalfReader, iotest.DataErrReader,
		}).Draw(t, "source")(strings.NewReader(input))

		lines = strings.Split(input, "\n")
		next := 0 // the line of the input that has to come next
		for _, b := range drain(source) {
			if b.err != nil && b.err != io.EOF {
				t.Fatal(b.err)
			}
			body := bytes.Split(bytes.TrimSuffix(b.body, []byte("\n")), []byte("\n"))
			if len(b.body) == 0 {
				continue
			}
			if len(body) > batchLines || len(b.body) > batchBytes+len(lines) {
				t.Fatalf("a batch of %d lines, %d bytes", len(body), len(b.body))
			}
			count := 0
			for i, line := range body {
				number := b.first + i
				if number != next+1 || string(line) != strings.TrimSpace(lines[number-1]) {
					t.Fatalf("line %d of the input, after %d, is %q", number, next, line)
				}
				next = number
				if len(line) > 0 {
					count++
				}
			}
			if count != b.count {
				t.Fatalf("a batch of %d events says %d", count, b.count)
			}
		}
		for _, rest := range lines[next:] {
			if strings.TrimSpace(rest) != "" {
				t.Fatalf("a line after %d was not read", next)
			}
		}
	})
}

func TestBadLines(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, line, want string }{
		{"no JSON", `{"a"`, "line 3: unexpected end of JSON input (at byte 4)"},
		{"two objects", `{} {}`, "line 3: invalid character '{' after top-level value (at byte 4)"},
		{"no object", `7`, `line 3: it is no JSON object, such as {"id": 7}`},
		{"null", `null`, `line 3: it is no JSON object, such as {"id": 7}`},
		{"no text", "{\"a\": \"\xff\"}", "line 3: it is not valid UTF-8"},
		{"too long", `{"a": "` + strings.Repeat("x", maxLine) + `"}`, "line 3: it is longer than 8MiB"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			all := drain(strings.NewReader("{}\n\n" + test.line + "\n{}\n"))
			count := 0
			for _, b := range all {
				count += b.count
			}
			if err := all[len(all)-1].err; err == nil || err.Error() != test.want || count != 1 {
				t.Errorf("%d events, then %v; want 1, then %s", count, err, test.want)
			}
		})
	}
}

func TestALargeLineGoesAlone(t *testing.T) {
	t.Parallel()
	large := `{"a": "` + strings.Repeat("x", maxLine-100) + `"}`
	all := drain(strings.NewReader("{}\n" + large + "\n{}\n"))
	var counts []int
	for _, b := range all {
		if len(b.body) > maxLine {
			t.Errorf("a body of %d bytes", len(b.body))
		}
		if b.count > 0 {
			counts = append(counts, b.count)
		}
	}
	if fmt.Sprint(counts) != "[1 1 1]" {
		t.Errorf("batches of %v events", counts)
	}
}

// A failing disk or pipe is told, after what was read before it.
func TestInputThatBreaks(t *testing.T) {
	t.Parallel()
	all := drain(io.MultiReader(strings.NewReader("{}\n{}"), iotest.ErrReader(io.ErrClosedPipe)))
	last := all[len(all)-1]
	if all[0].count != 1 || last.err == nil || last.err.Error() != "line 2: io: read/write on closed pipe" {
		t.Errorf("got %+v", all)
	}
}
