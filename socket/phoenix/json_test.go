package phoenix

import (
	"testing"

	"github.com/sluicehq/sluice/channels/outbound"
)

func TestWithoutMember(t *testing.T) {
	t.Parallel()
	for object, want := range map[string]string{
		`{}`:                              `{}`,
		`{"x":1}`:                         `{}`,
		`{ "x" : [1,{"x":2}] , "y" : 1 }`: `{"y":1}`,
		`{"y":{"x":1},"\u0078":2,"z":[]}`: `{"y":{"x":1},"z":[]}`,
		`{"x":1,"y":"x","x":2}`:           `{"y":"x"}`,
	} {
		if got := string(WithoutMember([]byte(object), "x")); got != want {
			t.Errorf("%s: got %s, want %s", object, got, want)
		}
	}
}

func TestSameRef(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b outbound.Ref
		same bool
	}{
		{`"1"`, `1`, true}, {`"\u0031"`, `"1"`, true}, {`1`, `2`, false}, {`""`, ``, true}, {`"a"`, `"A"`, false},
	} {
		if SameRef(c.a, c.b) != c.same {
			t.Errorf("%s and %s: want %t", c.a, c.b, c.same)
		}
	}
}
