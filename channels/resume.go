package channels

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
)

// What ParseResume returns for join params that say what cannot be meant: an "after"
// that is neither null nor an offset, a "last" that is neither null nor a number from 0,
// in any notation that JSON has for it or as a string of digits.
var (
	ErrInvalidAfter = errors.New("invalid after")
	ErrInvalidLast  = errors.New("invalid last")
)

// Resume is what a client that joins with "after" wants, every event of its
// topic after that offset, with its offset; or one that joins with "last": to begin
// with as many of its topic's events that are kept. The offset goes before, where the
// client can have all that came after it.
type Resume struct {
	After int64  // the last offset that the client has; -1 to begin now
	Epoch string // the log that After belongs to; empty if the client does not say
	Last  int64  // how many of the topic's last events to begin with; 0: none
}

// ParseResume reads a client's join params. It returns nil for a plain join.
func ParseResume(params Payload) (*Resume, error) {
	named := func() bool {
		return bytes.Contains(params.Data, []byte(`"after"`)) || bytes.Contains(params.Data, []byte(`"last"`)) || bytes.IndexByte(params.Data, '\\') >= 0
	}
	if params.Binary || !named() {
		return nil, nil
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(params.Data, &fields) != nil {
		return nil, nil // params of another shape: the handler's business
	}
	after, resumes := fields["after"]
	last, counts := fields["last"]
	counts = counts && string(last) != "null" // as if it had not been said
	if !resumes && !counts {
		return nil, nil
	}
	r, ok := &Resume{After: -1}, false
	if resumes && string(after) != "null" {
		if r.After, ok = parseOffset(after); !ok {
			return nil, ErrInvalidAfter
		}
	}
	if counts {
		if r.Last, ok = parseOffset(last); !ok {
			return nil, ErrInvalidLast
		}
	}
	_ = json.Unmarshal(fields["epoch"], &r.Epoch) // anything else than a string says nothing
	return r, nil
}

// parseOffset reads an offset, or another number with its bounds, valid JSON. Libraries of some languages know
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
// it is in the log, and whether it gets all that it asked for. To a reply that is no
// object nothing can be added: it goes under "reply".
func (r *Resume) answer(reply Payload, offset int64, epoch string, resumed bool) Payload {
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
	out = strconv.AppendInt(append(out, `"offset":`...), offset, 10)
	out = append(append(out, `,"epoch":`...), quoted...)
	out = strconv.AppendBool(append(out, `,"resumed":`...), resumed)
	return Payload{Data: append(out, '}')}
}
