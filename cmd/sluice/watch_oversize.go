package main

import (
	"bytes"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// messageHead is how much is kept of a message that is too large to be read:
// enough to learn which event it is.
const messageHead = 4 << 10

// readMessage reads a message whole, or the head of one that is larger than
// maxMessage, and says how large it was.
func readMessage(r io.Reader) (data []byte, size int64, err error) {
	data, err = io.ReadAll(io.LimitReader(r, maxMessage+1))
	if err != nil || len(data) <= maxMessage {
		return data, int64(len(data)), err
	}
	rest, err := io.Copy(io.Discard, r)
	return bytes.Clone(data[:messageHead]), int64(len(data)) + rest, err
}

// passOver leaves out a message that cannot be shown. Its position is read as far
// as need be, or it would come again with the next connection, for ever.
func (s *watchSession) passOver(f watchFrame, why string) {
	event, offset, ok := identify(f.data)
	if !ok {
		s.tell("a message of %d bytes is not shown: %s", f.size, why)
		return
	}
	s.tell("event %q at offset %d, of %d bytes, is not shown: %s", event, offset, f.size, why)
	s.after = &offset
}

// identify reads the beginning of an event that comes from the log:
// [null,null,topic,event,{"offset":…
func identify(head []byte) (event string, offset int64, ok bool) {
	in := jsontext.NewDecoder(bytes.NewReader(head))
	for i := range 8 {
		token, err := in.ReadToken()
		switch {
		case err != nil:
			return "", 0, false
		case i == 4 && token.Kind() == '"':
			event = token.String()
		case i == 5 && token.Kind() != '{', i == 6 && (token.Kind() != '"' || token.String() != "offset"):
			return "", 0, false
		case i == 7 && token.Kind() == '0':
			offset, err = token.Int()
			return event, offset, err == nil
		}
	}
	return "", 0, false
}
