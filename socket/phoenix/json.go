package phoenix

import (
	"encoding/json"
	"strings"
)

const hexDigits = "0123456789abcdef"

// AppendQuoted appends s as a JSON string. s must be valid UTF-8.
func AppendQuoted[T string | []byte](dst []byte, s T) []byte {
	return append(appendEscaped(append(dst, '"'), s), '"')
}

// appendEscaped appends s as it stands between the quotes of a JSON string.
func appendEscaped[T string | []byte](dst []byte, s T) []byte {
	plain := 0 // s[plain:i] needs no escape
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(append(dst, s[plain:i]...), '\\')
		plain = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, c)
		case '\n':
			dst = append(dst, 'n')
		case '\r':
			dst = append(dst, 'r')
		case '\t':
			dst = append(dst, 't')
		default:
			dst = append(dst, 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(dst, s[plain:]...)
}

// unquote reads a valid JSON string.
func unquote(raw []byte) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	inner := string(raw[1 : len(raw)-1])
	if strings.IndexByte(inner, '\\') < 0 {
		return inner, true
	}
	err := json.Unmarshal(raw, &inner)
	return inner, err == nil
}

// cutValue cuts the first value off valid JSON text that is within an array or
// an object, with the separators around it.
func cutValue(data []byte) (value, rest []byte) {
	start := skip(data, 0)
	end := start
	switch depth := 0; {
	case start == len(data):
	case data[start] == '"':
		end = skipString(data, start)
	case data[start] == '{', data[start] == '[':
		for {
			switch data[end] {
			case '"':
				end = skipString(data, end) - 1
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			end++
			if depth == 0 {
				break
			}
		}
	default:
		for end < len(data) && !isSeparator(data[end]) {
			end++
		}
	}
	return data[start:end], data[skip(data, end):]
}

// WithoutMember returns a JSON object, valid and without space around it, as it is
// without the members of a name.
func WithoutMember(object []byte, name string) []byte {
	kept := []byte("{")
	for rest := object[skip(object, 1) : len(object)-1]; len(rest) > 0; {
		var key, value []byte
		key, rest = cutValue(rest)
		value, rest = cutValue(rest)
		if text, _ := unquote(key); text == name {
			continue
		}
		if len(kept) > 1 {
			kept = append(kept, ',')
		}
		kept = append(append(append(kept, key...), ':'), value...)
	}
	return append(kept, '}')
}

// skipString returns where the string that begins at i ends.
func skipString(data []byte, i int) int {
	for i++; data[i] != '"'; i++ {
		if data[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// skip returns where the separators that begin at i end.
func skip(data []byte, i int) int {
	for i < len(data) && isSeparator(data[i]) {
		i++
	}
	return i
}

func isSeparator(c byte) bool {
	return c == ',' || c == ':' || c == ' ' || c == '\n' || c == '\r' || c == '\t'
}
