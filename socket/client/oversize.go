package client

import (
	"bytes"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// messageHead is how much is kept of a message that is too large to be read:
// enough to learn which event it is.
const messageHead = 4 << 10

// readMessage reads a message whole, or the head of one that is larger than
// MaxMessageBytes, and says how large it was.
func readMessage(r io.Reader) (data []byte, size int64, err error) {
	data, err = io.ReadAll(io.LimitReader(r, MaxMessageBytes+1))
	if err != nil || len(data) <= MaxMessageBytes {
		return data, int64(len(data)), err
	}
	rest, err := io.Copy(io.Discard, r)
	return bytes.Clone(data[:messageHead]), int64(len(data)) + rest, err
}

// identify reads the beginning of an event that comes from the log:
// [null,null,topic,event,{"offset":…
func identify(head []byte) (topic, event string, offset int64, ok bool) {
	in := jsontext.NewDecoder(bytes.NewReader(head))
	for i := range 8 {
		token, err := in.ReadToken()
		switch {
		case err != nil:
			return "", "", 0, false
		case i == 3 && token.Kind() == '"':
			topic = token.String()
		case i == 4 && token.Kind() == '"':
			event = token.String()
		case i == 5 && token.Kind() != '{', i == 6 && (token.Kind() != '"' || token.String() != "offset"):
			return "", "", 0, false
		case i == 7 && token.Kind() == '0':
			offset, err = token.Int()
			return topic, event, offset, err == nil
		}
	}
	return "", "", 0, false
}
