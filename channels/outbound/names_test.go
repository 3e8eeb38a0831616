package outbound

import (
	text "encoding"
	"errors"
	"fmt"
	"testing"
)

// A rule is written as it is read, by whichever way; what is no rule's name says which
// there are.
func TestNamesOfRules(t *testing.T) {
	t.Parallel()
	for rule := CatchUp; rule <= Disconnect; rule++ {
		testName(t, rule, ParseOverflow, new(Overflow))
	}
	for rule := DedupeOffset; rule <= DedupePayload; rule++ {
		testName(t, rule, ParseDedupe, new(Dedupe))
	}
	if o := Overflow(9); o.Valid() || o.String() == "" || Overflow(0).Valid() || Overflow(0).String() != "" || !Latest.Valid() {
		t.Errorf("%v is a rule, or zero is", o)
	}
	if d := Dedupe(9); d.Valid() || d.String() == "" || Dedupe(0).Valid() || !DedupeKey.Valid() {
		t.Errorf("%v is a rule, or zero is", d)
	}
}

func testName[T interface {
	comparable
	fmt.Stringer
	text.TextMarshaler
}, P interface {
	*T
	text.TextUnmarshaler
}](t *testing.T, rule T, parse func(string) (T, error), into P) {
	t.Helper()
	written, err := rule.MarshalText()
	if err != nil || string(written) != rule.String() || into.UnmarshalText(written) != nil || *into != rule {
		t.Errorf("%v: written %q (%v), read %v", rule, written, err, *into)
	}
	if read, err := parse(rule.String()); err != nil || read != rule {
		t.Errorf("%v: got %v, %v", rule, read, err)
	}
	var unknown *NameError
	if err := into.UnmarshalText([]byte("hope")); !errors.As(err, &unknown) || unknown.Given != "hope" || len(unknown.Allowed) < 3 || *into != rule {
		t.Errorf("hope: %v, and %v is left", err, *into)
	}
	var zero T
	if err := into.UnmarshalText(nil); err != nil || *into != zero {
		t.Errorf("nothing is %v, %v", *into, err)
	}
}
