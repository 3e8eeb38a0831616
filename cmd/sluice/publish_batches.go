package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"

	"github.com/sluicehq/sluice"
)

const (
	// batchLines and batchBytes bound a request: large enough to be cheap,
	// small enough to show progress and to pass a server with a lower limit.
	batchLines = 1000
	batchBytes = 1 << 20
)

// maxLine bounds one line: no request with a longer one is accepted by a
// service that is not told otherwise.
var maxLine = int(sluice.DefaultConfig().MaxBodyBytes)

// publishBatch is the body of one request of publish or broadcast, with as many lines as were read for it:
// empty ones too, so that line numbers of both differ by first only.
type publishBatch struct {
	body  []byte
	count int   // of events in body
	first int   // number in the input of body's first line
	err   error // why the input ends with this batch: io.EOF, or what is wrong with the next line
}

// bodyLine is how the API names a line of the body.
var bodyLine = regexp.MustCompile(`^line (\d+): `)

// locate translates the line that the API complains of to the input's.
func (b *publishBatch) locate(err error) error {
	var refused *apiError
	if errors.As(err, &refused) {
		if match := bodyLine.FindStringSubmatch(refused.Message); match != nil {
			if n, atoi := strconv.Atoi(match[1]); atoi == nil {
				refused.Message = fmt.Sprintf("line %d: %s", b.first+n-1, refused.Message[len(match[0]):])
			}
		}
	}
	return err
}

// before returns the lines, and how many events they are, that stand before the one
// that the API refuses, and with it the whole batch.
func (b *publishBatch) before(err error) (body []byte, events int) {
	var refused *apiError
	if !errors.As(err, &refused) {
		return nil, 0
	}
	match := bodyLine.FindStringSubmatch(refused.Message)
	if match == nil {
		return nil, 0
	}
	bad, err := strconv.Atoi(match[1])
	if err != nil {
		return nil, 0
	}
	end := 0
	for line := range bytes.Lines(b.body) {
		if bad--; bad <= 0 {
			break
		}
		end += len(line)
		if len(line) > 1 {
			events++
		}
	}
	return b.body[:end], events
}

// readBatches sends what in holds, up to a batch with an error; it ends early
// with ctx.
func readBatches(ctx context.Context, in *lineReader, batches chan<- publishBatch) {
	for {
		b := in.next()
		select {
		case batches <- b:
		case <-ctx.Done():
			return
		}
		if b.err != nil {
			return
		}
	}
}

// lineReader gathers JSON lines into batches. A batch is what is there now: it
// doesn't wait for a slow writer to fill it.
type lineReader struct {
	in     *bufio.Reader
	encode func(to, payload []byte) []byte // appends the event of a payload

	line []byte // the last one read, without its line break
	held bool   // whether line is still to be put into a batch
	read int    // number of line
}

func newLineReader(in io.Reader, encode func(to, payload []byte) []byte) *lineReader {
	return &lineReader{in: bufio.NewReaderSize(in, batchBytes), encode: encode}
}

// next returns the lines that are there; it waits for the first event. All lines before one that is bad are in the batch that reports it.
func (r *lineReader) next() publishBatch {
	b := publishBatch{first: r.read + 1}
	if r.held {
		b.first = r.read
	}
	for lines := 0; lines < batchLines && (b.count == 0 || r.lineWaits()); lines++ {
		if err := r.readLine(); err == io.EOF {
			b.err = err
			break
		} else if err != nil {
			b.err = fmt.Errorf("line %d: %w", r.read, err)
			break
		}
		if len(r.line) == 0 {
			b.body = append(b.body, '\n')
			r.held = false
			continue
		}
		if b.count > 0 && len(b.body)+len(r.line) > batchBytes {
			break
		}
		r.held = false
		if err := checkPayload(r.line); err != nil {
			b.err = fmt.Errorf("line %d: %w", r.read, err)
			break
		}
		b.body = append(r.encode(b.body, r.line), '\n')
		b.count++
	}
	return b
}

// lineWaits tells whether a line can be had without waiting for the writer.
func (r *lineReader) lineWaits() bool {
	if r.held {
		return true
	}
	buffered, _ := r.in.Peek(r.in.Buffered()) // never short: it asks for what is there
	return bytes.IndexByte(buffered, '\n') >= 0
}

// readLine reads the next line into line, unless one is held.
func (r *lineReader) readLine() error {
	if r.held {
		return nil
	}
	r.line = r.line[:0]
	r.read++
	for {
		part, err := r.in.ReadSlice('\n')
		r.line = append(r.line, part...)
		switch {
		case len(r.line) > maxLine:
			return fmt.Errorf("it is longer than %v", sluice.ByteSize(maxLine))
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF && len(r.line) == 0:
			return io.EOF
		case err != nil && err != io.EOF:
			return err
		}
		r.line, r.held = bytes.TrimSpace(r.line), true
		return nil
	}
}
