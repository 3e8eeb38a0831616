package outbound

import (
	"fmt"
	"strings"
)

// A NameError says that a text is none of the names that there are.
type NameError struct {
	Given   string
	Allowed []string
}

func (e *NameError) Error() string {
	return fmt.Sprintf("%q is unknown: allowed is %s", e.Given, strings.Join(e.Allowed, ", "))
}

// nameOf is the name of a value, whose number is its place in a table; 0 has none.
func nameOf[T ~uint8](names []string, value T) string {
	if int(value) < len(names) {
		return names[value]
	}
	return fmt.Sprintf("no rule (%d)", value)
}

// named is the value of a name, or a [*NameError].
func named[T ~uint8](names []string, name string) (T, error) {
	for i, known := range names[1:] {
		if name == known {
			return T(i + 1), nil
		}
	}
	return 0, &NameError{name, names[1:]}
}

// orNone is a value read from a text, of which an empty one is none.
func orNone[T any](value *T, text []byte, parse func(string) (T, error)) (err error) {
	var read T
	if len(text) > 0 {
		if read, err = parse(string(text)); err != nil {
			return err
		}
	}
	*value = read
	return nil
}
