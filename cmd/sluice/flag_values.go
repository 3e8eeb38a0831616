package main

import (
	"encoding"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/sluicehq/sluice"
)

// decoder reads one value of a flag. parse returns what was read, or says what
// is allowed, in the words that follow "allowed is"; that is noted, and reading goes on.
func decoder[T any](resolver *configResolver, parse func(string) (value T, allowed string)) kong.MapperFunc {
	return func(ctx *kong.DecodeContext, target reflect.Value) error {
		token := ctx.Scan.Pop()
		given := token.String()
		if token.IsEOL() || token.Type == kong.UntypedToken && strings.HasPrefix(given, "--") {
			return errors.New("a value is missing")
		}
		value, allowed := parse(given)
		if allowed != "" {
			resolver.refuse(&usageError{ctx.Value.ShortSummary(), given, allowed})
			return nil
		}
		target.Set(reflect.ValueOf(value).Convert(target.Type()))
		return nil
	}
}

// boolDecoder takes a value only when one is tied to the flag, as in
// --migrate=false; the flag alone means true.
type boolDecoder struct{ value kong.Mapper }

func (b boolDecoder) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		target.SetBool(true)
		return nil
	}
	return b.value.Decode(ctx, target)
}

func (boolDecoder) IsBool() bool { return true }

func parseString(s string) (string, string) { return s, "" }

func parseInt(s string) (int64, string) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, "a whole number"
	}
	return n, ""
}

func parseBool(s string) (bool, string) {
	b, err := strconv.ParseBool(strings.ToLower(s))
	if err != nil {
		return false, "true or false"
	}
	return b, ""
}

func parseDuration(s string) (time.Duration, string) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, "a duration with its unit, such as 100ms, 30s or 1h"
	}
	return d, ""
}

// parseName reads what has names: the error of its UnmarshalText is a [*sluice.NameError].
func parseName[T any, P interface {
	*T
	encoding.TextUnmarshaler
}](s string) (value T, allowed string) {
	var unknown *sluice.NameError
	if err := P(&value).UnmarshalText([]byte(s)); errors.As(err, &unknown) {
		return value, strings.Join(unknown.Allowed, ", ")
	}
	return value, ""
}

func parseSize(s string) (sluice.ByteSize, string) {
	size, err := sluice.ParseByteSize(s)
	if err != nil {
		return 0, "a size such as 4096, 64KiB or 8MiB"
	}
	return size, ""
}
