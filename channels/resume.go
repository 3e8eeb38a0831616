package channels

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
)

// ErrInvalidAfter is returned for join params whose "after" is neither null nor
// an offset, in any notation that JSON has for it or as a string of digits.
var ErrInvalidAfter = errors.New("invalid after")

// Resume is what a client that joins with "after" wants: every event of its
// topic after that offset, with its offset.
type Resume struct {
	After int64  // the last offset that the client has; -1 to begin now
	Epoch string // the log that After belongs to; empty if the client does not say
}

// ParseResume reads a client's join params. It returns nil for a plain join.
func ParseResume(params Payload) (*Resume, error) {
	named := func() bool {
		return bytes.Contains(params.Data, []byte(`"after"`)) || bytes.IndexByte(params.Data, '\\') >= 0
	}
	if params.Binary || !named() {
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
		if r.After, ok = parseOffset(after); !ok {
			return nil, ErrInvalidAfter
		}
	}
	_ = json.Unmarshal(fields["epoch"], &r.Epoch) // anything else than a string says nothing
	return r, nil
}

// parseOffset reads an offset, valid JSON. Libraries of some languages know
// numbers only as doubles, and write 41.0 or 1.2345678E7, or only as text.
func parseOffset(value []byte) (offset int64, ok bool) {
	text := string(value)
	if value[0] == '"' {
		if json.Unmarshal(value, &text) != nil || strings.Trim(text, "0123456789") != "" {
			return 0, false
		}
	} else if text, ok = wholeNumber(text); !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 63)
	return int64(n), err == nil
}

// wholeNumber writes a JSON number that is whole, and not negative, as digits. It
// returns false for any other, and for what is above all offsets.
func wholeNumber(text string) (digits string, ok bool) {
	text, negative := strings.CutPrefix(text, "-")
	mantissa, power := text, "0"
	if e := strings.IndexAny(text, "eE"); e >= 0 {
		mantissa, power = text[:e], text[e+1:]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits = strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return "0", true
	}
	exponent, err := strconv.ParseInt(power, 10, 32)
	significant := strings.TrimRight(digits, "0")
	zeros := len(digits) - len(significant) - len(fraction) + int(exponent) // that follow
	if err != nil || negative || zeros < 0 || len(significant)+zeros > maxDigits {
		return "", false
	}
	return significant + strings.Repeat("0", zeros), true
}

// maxDigits is how many digits an offset has at most.
const maxDigits = 19

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
