package channels

import "testing"

func TestParseOverflow(t *testing.T) {
	t.Parallel()
	if o, err := ParseOverflow(Disconnect.String()); err != nil || o != Disconnect {
		t.Error(o, err)
	}
	if _, err := ParseOverflow("hope"); err == nil {
		t.Error("hope is no rule")
	}
}
