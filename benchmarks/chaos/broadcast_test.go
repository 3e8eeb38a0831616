package chaos

import "testing"

// Broadcasts of a sender rise on a connection, from wherever it begins to listen.
func TestBroadcastsAreTakenOnceAndInOrder(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		numbers []int64
		want    castTally
	}{
		"all":          {[]int64{0, 1, 2}, castTally{arrived: 3}},
		"from later":   {[]int64{7, 8}, castTally{arrived: 2}},
		"some missing": {[]int64{0, 1, 5, 7}, castTally{arrived: 4, missed: 4}},
		"twice":        {[]int64{0, 1, 1, 2, 0}, castTally{arrived: 3, twice: 2}},
		"out of order": {[]int64{0, 2, 1, 3}, castTally{arrived: 4, disordered: 1, missed: 1}},
		"absurd":       {[]int64{0, -1, 1 << 60}, castTally{arrived: 1, disordered: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var c casts
			var got castTally
			for _, number := range test.numbers {
				c.take(number, &got)
			}
			if got != test.want {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
}

// A broadcast is read from either form of payload, and an event of the log is none.
func TestBroadcastsAreReadInEitherForm(t *testing.T) {
	t.Parallel()
	for payload, want := range map[string]cast{
		`{"node":1,"life":2,"n":3}`:                        {1, 2, 3},
		`{"data":{"node":1,"life":2,"n":3}}`:               {1, 2, 3},
		`{"offset":null,"data":{"node":1,"life":2,"n":3}}`: {1, 2, 3},
	} {
		if got, err := parseCast([]byte(payload)); err != nil || got != want {
			t.Errorf("%s: %+v, %v", payload, got, err)
		}
	}
	for _, payload := range []string{`[]`, `{"offset":7,"data":{"node":1,"life":2,"n":3}}`, `{"n":"x"}`} {
		if got, err := parseCast([]byte(payload)); err == nil {
			t.Errorf("%s: %+v", payload, got)
		}
	}
}
