package channels

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"testing"
)

func TestParseResume(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		params string
		want   *Resume
		err    error
	}{
		{`{}`, nil, nil},
		{`[]`, nil, nil},
		{`{"before":1}`, nil, nil},
		{`{"nested":{"after":1}}`, nil, nil},
		{`{"after":null}`, &Resume{After: -1}, nil},
		{`{"after":0}`, &Resume{After: 0}, nil},
		{`{"after":41,"epoch":"e"}`, &Resume{After: 41, Epoch: "e"}, nil},
		{`{"after":41,"epoch":7}`, &Resume{After: 41}, nil},
		{`{"after":-1}`, nil, ErrInvalidAfter},
		{`{"after":1.5}`, nil, ErrInvalidAfter},
		{`{"after":9223372036854775808}`, nil, ErrInvalidAfter},
		{`{"after":{}}`, nil, ErrInvalidAfter},
		{`{"\u0061fter":7}`, &Resume{After: 7}, nil},
		{`{"last":5}`, &Resume{After: -1, Last: 5}, nil},
		{`{"last":5,"after":null}`, &Resume{After: -1, Last: 5}, nil},
		{`{"last":5,"after":41,"epoch":"e"}`, &Resume{After: 41, Epoch: "e", Last: 5}, nil},
		{`{"last":0}`, &Resume{After: -1}, nil},
		{`{"last":5.0}`, &Resume{After: -1, Last: 5}, nil},
		{`{"last":"5"}`, &Resume{After: -1, Last: 5}, nil},
		{`{"last":9223372036854775807}`, &Resume{After: -1, Last: math.MaxInt64}, nil},
		{`{"l\u0061st":5}`, &Resume{After: -1, Last: 5}, nil},
		{`{"last":null}`, nil, nil},
		{`{"last":null,"after":7}`, &Resume{After: 7}, nil},
		{`{"last":-1}`, nil, ErrInvalidLast},
		{`{"last":5.5}`, nil, ErrInvalidLast},
		{`{"last":"five"}`, nil, ErrInvalidLast},
		{`{"last":"null"}`, nil, ErrInvalidLast},
		{`{"last":true}`, nil, ErrInvalidLast},
		{`{"last":[5]}`, nil, ErrInvalidLast},
		{`{"last":9223372036854775808}`, nil, ErrInvalidLast},
		{`{"last":-1,"after":7}`, nil, ErrInvalidLast},
		{`{"last":5,"after":-1}`, nil, ErrInvalidAfter},
		{`{"nested":{"last":5}}`, nil, nil},
	} {
		got, err := ParseResume(Payload{Data: []byte(test.params)})
		if !errors.Is(err, test.err) || (got == nil) != (test.want == nil) || got != nil && *got != *test.want {
			t.Errorf("%s: got %+v, %v; want %+v, %v", test.params, got, err, test.want, test.err)
		}
	}
}

// TestParseResumeReadsAllNotations writes positions as the libraries of other
// languages do, and what is none in as many ways.
func TestParseResumeReadsAllNotations(t *testing.T) {
	t.Parallel()
	positions := map[string]int64{
		"41.0": 41, "4.1e1": 41, "4.1E+1": 41, "410e-1": 41, "0.41e2": 41, "1.2345678E7": 12345678, "12345678.0": 12345678,
		"100": 100, "1e2": 100, "1.00e2": 100, "1000e-1": 100, "9.223372036854775807e18": math.MaxInt64, "9223372036854775807.000": math.MaxInt64,
		"0.0": 0, "-0": 0, "-0.0": 0, "0e99": 0, "0E-7": 0, "0e99999999999": 0, "0.00000000000000000000000041e26": 41,
		`"41"`: 41, `"0"`: 0, `"041"`: 41, `"\u0034\u0031"`: 41, `"9223372036854775807"`: math.MaxInt64,
	}
	for text, want := range positions {
		if r, err := ParseResume(Payload{Data: []byte(`{"after": ` + text + ` }`)}); err != nil || r == nil || r.After != want {
			t.Errorf("%s is %+v, %v; want %d", text, r, err, want)
		}
	}
	for _, text := range []string{
		"41.5", "4.11e1", "41e-1", "-41", "-4.1e1", "1e-1", "9223372036854775808", "9.223372036854775808e18", "1e19", "1e99",
		"1e99999999999", "1e-99999999999", "1e9223372036854775807", `""`, `" 41"`, `"41.0"`, `"-1"`, `"+1"`, `"4e1"`, `"0x29"`, `"٤١"`, `"null"`,
		`"9223372036854775808"`, "true", "false", "[]", "[41]", "{}", `{"after":41}`,
	} {
		if r, err := ParseResume(Payload{Data: []byte(`{"after":` + text + `}`)}); !errors.Is(err, ErrInvalidAfter) {
			t.Errorf("%s is %+v, %v", text, r, err)
		}
	}
}

func FuzzParseResume(f *testing.F) {
	for _, seed := range []string{`{"after":null}`, `{"after":41,"epoch":"e"}`, `{"after":-1}`, `{"x":{"after":1}}`, `[`, `{"after":1e3}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseResume(Payload{Data: data})
		if err != nil && r != nil {
			t.Fatalf("%s: both %+v and %v", data, r, err)
		}
		if r == nil {
			return
		}
		var written struct{ After json.Number }
		if r.After >= 0 && json.Unmarshal(data, &written) == nil && len(written.After) < 40 {
			if exact, ok := new(big.Rat).SetString(written.After.String()); !ok || exact.Cmp(new(big.Rat).SetInt64(r.After)) != 0 {
				t.Fatalf("%s: after %d", data, r.After)
			}
		}
		if r.After < -1 {
			t.Fatalf("%s: after %d", data, r.After)
		}
		answer := r.answer(Payload{Data: []byte(`{"own":1}`)}, 7, r.Epoch, true)
		if !json.Valid(answer.Data) {
			t.Fatalf("%s: the answer is %s", data, answer.Data)
		}
	})
}
