package outbound

import "testing"

func TestParseOverflow(t *testing.T) {
	t.Parallel()
	for rule := CatchUp; rule <= Disconnect; rule++ {
		if o, err := ParseOverflow(rule.String()); err != nil || o != rule {
			t.Errorf("%v: got %v, %v", rule, o, err)
		}
	}
	if _, err := ParseOverflow("hope"); err == nil {
		t.Error("hope is no rule")
	}
}
