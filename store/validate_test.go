package store_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sluicehq/sluice/store"
)

// The table of what is valid and what is not stands in store/storetest, where
// it is held against real tables too.

func TestInvalidErrorNamesTheDraft(t *testing.T) {
	t.Parallel()
	good := store.Draft{Topic: "t", Name: "e"}
	for _, test := range []struct {
		bad  store.Draft
		text string
	}{
		{store.Draft{Name: "e"}, "store: invalid event 2: topic is empty; 1 to 255 bytes are allowed"},
		{store.Draft{Topic: "t", Name: "phx_x"}, `store: invalid event 2: event must not begin with "phx_": messages of the protocol or the service do`},
		{store.Draft{Topic: "t", Name: "e", Payload: []byte(`{"a":}`)}, "store: invalid event 2: payload is not valid JSON: invalid character '}' looking for beginning of value at byte 6"},
		{store.Draft{Topic: "t", Name: "e", Payload: []byte(`{"a":"` + strings.Repeat("x", 1017) + `"}`)}, "store: invalid event 2: payload has 1025 bytes; at most 1024 are allowed (--max-payload-bytes)"},
		{store.Draft{Topic: "t", Name: "e", Payload: []byte(`[1]`)}, "store: invalid event 2: payload is not a JSON object"},
		{store.Draft{Topic: "t", Name: "e", Key: []byte(strings.Repeat("k", 2000))}, "store: invalid event 2: key has 2000 bytes; at most 1024 are allowed"},
	} {
		if err := store.ValidateAll([]store.Draft{good, good, test.bad, test.bad}, 1<<10); err == nil || err.Error() != test.text {
			t.Errorf("got  %v\nwant %s", err, test.text)
		}
	}
	if err := store.ValidateAll([]store.Draft{good, good}, 2); err != nil {
		t.Error(err)
	}
	if err := good.Validate(1); err != nil {
		t.Error(err)
	}
}

func TestRetrySafe(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{errors.New("other"), false},
		{&store.InvalidError{}, false},
		{&store.UnavailableError{Op: "append", Addr: "here", Err: errors.New("gone")}, true},
		{&store.UnavailableError{MaybeDone: true, Err: errors.New("gone")}, false},
	} {
		if got := store.RetrySafe(test.err); got != test.want {
			t.Errorf("%v: %v, want %v", test.err, got, test.want)
		}
	}
}

// FuzzValidate expects of what is valid all that the encoder, and a Postgres
// text column, rely on.
func FuzzValidate(f *testing.F) {
	f.Add("t", "e", []byte("k"), []byte(`{"a":[1,null,"\u0000"]}`))
	f.Add("phoenix", "phx_x", []byte(nil), []byte(`[]`))
	f.Add("\xff", "\x00", []byte("\x00"), []byte("\t{}\n"))
	f.Fuzz(func(t *testing.T, topic, name string, key, payload []byte) {
		alone := store.Draft{Topic: "t", Name: "e", Payload: payload}
		isObject := utf8.Valid(payload) && json.Valid(payload) && bytes.HasPrefix(bytes.TrimSpace(payload), []byte("{"))
		if err := alone.Validate(0); (err == nil) != (isObject || len(payload) == 0) {
			t.Errorf("payload %q: %v", payload, err)
		}
		d := store.Draft{Topic: topic, Name: name, Key: key, Payload: payload}
		if d.Validate(0) != nil {
			return
		}
		for _, text := range []string{topic, name, string(key), string(payload)} {
			if !utf8.ValidString(text) || strings.Contains(text, "\x00") {
				t.Errorf("%q is valid", text)
			}
		}
		if topic == "" || len(topic) > 255 || topic == "phoenix" || name == "" || len(name) > 255 || strings.HasPrefix(name, "phx_") || len(key) > 1024 {
			t.Errorf("%+v is valid", d)
		}
		if object := map[string]any(nil); len(payload) > 0 && (json.Unmarshal(payload, &object) != nil && !isRangeError(payload) || object == nil && !isRangeError(payload)) {
			t.Errorf("payload %q is valid", payload)
		}
	})
}

// isRangeError reports numbers that are valid JSON and no float64.
func isRangeError(payload []byte) bool {
	var wrong *json.UnmarshalTypeError
	return errors.As(json.Unmarshal(payload, new(any)), &wrong)
}
