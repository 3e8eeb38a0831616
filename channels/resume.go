package channels

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
)

// ErrInvalidAfter is returned for join params whose "after" is neither null nor
// a non-negative integer.
var ErrInvalidAfter = errors.New("invalid after")

// Resume is what a client that joins with "after" wants: every event of its
// topic after that offset, with its offset.
type Resume struct {
	After int64  // the last offset that the client has; -1 to begin now
	Epoch string // the log that After belongs to; empty if the client does not say
}

// ParseResume reads a client's join params. It returns nil for a plain join.
func ParseResume(params Payload) (*Resume, error) {
	if params.Binary || !bytes.Contains(params.Data, []byte(`"after"`)) {
		return nil, nil
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(params.Data, &fields) != nil {
		return nil, nil // params of another shape: the handler's business
	}
	after, ok := fields["after"]
	if !ok {
		return nil, nil
	}
	r := &Resume{After: -1}
	if string(after) != "null" {
		n, err := strconv.ParseUint(string(after), 10, 63)
		if err != nil {
			return nil, ErrInvalidAfter
		}
		r.After = int64(n)
	}
	_ = json.Unmarshal(fields["epoch"], &r.Epoch) // anything else than a string says nothing
	return r, nil
}

// answer adds to the handler's reply what the client needs for resuming: where
// the log is, and whether it gets all that it asked for. To a reply that is no
// object nothing can be added: it goes under "reply".
func (r *Resume) answer(reply Payload, head int64, epoch string, resumed bool) Payload {
	out := []byte{'{'}
	data := bytes.TrimSpace(reply.Data)
	switch {
	case reply.Binary:
	case bytes.HasPrefix(data, []byte("{")):
		if fields := bytes.TrimSpace(data[1 : len(data)-1]); len(fields) > 0 {
			out = append(append(out, fields...), ',')
		}
	default:
		out = append(append(append(out, `"reply":`...), data...), ',')
	}
	quoted, _ := json.Marshal(epoch) // a string always marshals
	out = strconv.AppendInt(append(out, `"offset":`...), head, 10)
	out = append(append(out, `,"epoch":`...), quoted...)
	out = strconv.AppendBool(append(out, `,"resumed":`...), resumed)
	return Payload{Data: append(out, '}')}
}
