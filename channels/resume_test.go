package channels

import (
	"encoding/json"
	"errors"
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
		{`{"after":"1"}`, nil, ErrInvalidAfter},
		{`{"after":9223372036854775808}`, nil, ErrInvalidAfter},
		{`{"after":{}}`, nil, ErrInvalidAfter},
	} {
		got, err := ParseResume(Payload{Data: []byte(test.params)})
		if !errors.Is(err, test.err) || (got == nil) != (test.want == nil) || got != nil && *got != *test.want {
			t.Errorf("%s: got %+v, %v; want %+v, %v", test.params, got, err, test.want, test.err)
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
		if r.After < -1 {
			t.Fatalf("%s: after %d", data, r.After)
		}
		answer := r.answer(Payload{Data: []byte(`{"own":1}`)}, 7, r.Epoch, true)
		if !json.Valid(answer.Data) {
			t.Fatalf("%s: the answer is %s", data, answer.Data)
		}
	})
}
