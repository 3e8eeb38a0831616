package storetest

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/store"
)

func draft(topic, name, payload string) store.Draft {
	return store.Draft{Topic: topic, Name: name, Payload: []byte(payload)}
}

func keyed(key string) store.Draft {
	return store.Draft{Topic: "t", Name: "e", Payload: []byte(`{}`), Key: []byte(key)}
}

func testValidEventsAreTaken(t *testing.T, h Harness) {
	log := openAndRun(t, h)
	valid := []store.Draft{
		draft(strings.Repeat("t", 255), strings.Repeat("e", 255), `{}`),
		draft(strings.Repeat("é", 127), strings.Repeat("字", 85), `{"text":"naïve 字 😀"}`),
		draft("sluice", "sluice", `{}`),
		draft("Sluice:x", "presence_states", `{"half a pair":"\ud83d"}`),
		draft("phoenix:x", "phx", ` { "a" : [ 1.5e-3, null, true ] } `),
		draft("Phoenix", "PHX_join", `{"escaped":"\u0000 \ud83d\ude00 \n"}`),
		draft("a b c", "%_'\"\\", `{"a":1,"a":2}`),
		keyed(strings.Repeat("k", 1024)),
		keyed(""),
		keyed("ключ"),
	}
	mustAppend(t, log, valid...)
	fetch(t, log, 0, len(valid)) // before the others come
	for _, d := range valid {
		if err := insert(t.Context(), h.DB, d); err != nil {
			t.Fatalf("insert %+v: %v", d, err)
		}
	}
	for i, e := range fetch(t, log, 0, 2*len(valid)) {
		d := valid[i%len(valid)]
		if e.Topic != d.Topic || e.Name != d.Name || !bytes.Equal(e.Payload, d.Payload) || !bytes.Equal(e.Key, d.Key) || (e.Key == nil) != (d.Key == nil) {
			t.Errorf("got %+v, want %+v", e, d)
		}
	}
}

func testInvalidEventsAreRefused(t *testing.T, h Harness) {
	log := openAndRun(t, h)
	for _, test := range []struct {
		name, field string
		draft       store.Draft
		noUTF8      bool
	}{
		{"topic empty", "topic", draft("", "e", `{}`), false},
		{"topic long", "topic", draft(strings.Repeat("t", 256), "e", `{}`), false},
		{"topic long in bytes", "topic", draft(strings.Repeat("é", 128), "e", `{}`), false},
		{"topic reserved", "topic", draft("phoenix", "e", `{}`), false},
		{"topic of the service", "topic", draft("sluice:", "e", `{}`), false},
		{"topic under the service's", "topic", draft("sluice:x", "e", `{}`), false},
		{"topic with a line break", "topic", draft("a\nb", "e", `{}`), false},
		{"topic with U+001F", "topic", draft("\x1f", "e", `{}`), false},
		{"topic with U+007F", "topic", draft("a\x7f", "e", `{}`), false},
		{"event of replies", "event", draft("t", "chan_reply_1", `{}`), false},
		{"event of the service", "event", draft("t", "sluice_position", `{}`), false},
		{"event of presence", "event", draft("t", "presence_state", `{}`), false},
		{"event of presence, the other", "event", draft("t", "presence_diff", `{}`), false},
		{"event with a token", "event", draft("t", "access_token", `{}`), false},
		{"event with U+0001", "event", draft("t", "\x01e", `{}`), false},
		{"event with a tab", "event", draft("t", "a\tb", `{}`), false},
		{"event with U+007F", "event", draft("t", "\x7f", `{}`), false},
		{"topic with NUL", "topic", draft("a\x00b", "e", `{}`), false},
		{"topic no UTF-8", "topic", draft("a\xffb", "e", `{}`), true},
		{"event empty", "event", draft("t", "", `{}`), false},
		{"event long", "event", draft("t", strings.Repeat("e", 256), `{}`), false},
		{"event long in bytes", "event", draft("t", strings.Repeat("é", 128), `{}`), false},
		{"event reserved", "event", draft("t", "phx_join", `{}`), false},
		{"event just reserved", "event", draft("t", "phx_", `{}`), false},
		{"event with NUL", "event", draft("t", "e\x00", `{}`), false},
		{"event no UTF-8", "event", draft("t", "\xc3", `{}`), true},
		{"key long", "key", keyed(strings.Repeat("k", 1025)), false},
		{"key long in bytes", "key", keyed(strings.Repeat("é", 513)), false},
		{"key with NUL", "key", keyed("\x00"), false},
		{"key no UTF-8", "key", keyed("\xff"), true},
		{"payload no JSON", "payload", draft("t", "e", `{"a":}`), false},
		{"payload cut off", "payload", draft("t", "e", `{"a":1`), false},
		{"payload twice", "payload", draft("t", "e", `{} {}`), false},
		{"payload blank", "payload", draft("t", "e", ` `), false},
		{"payload array", "payload", draft("t", "e", `[]`), false},
		{"payload null", "payload", draft("t", "e", `null`), false},
		{"payload string", "payload", draft("t", "e", `"{}"`), false},
		{"payload number", "payload", draft("t", "e", `1`), false},
		{"payload with NUL", "payload", draft("t", "e", "{}\x00"), false},
		{"payload with NUL in a string", "payload", draft("t", "e", "{\"a\":\"\x00\"}"), false},
		{"payload with line break in a string", "payload", draft("t", "e", "{\"a\":\"\n\"}"), false},
		{"payload JSON5", "payload", draft("t", "e", `{a:1,}`), false},
		{"payload no UTF-8", "payload", draft("t", "e", "{\"a\":\"\xff\"}"), true},
	} {
		err := log.Append(t.Context(), []store.Draft{draft("t", "e", `{}`), test.draft, test.draft})
		var invalid *store.InvalidError
		if !errors.As(err, &invalid) || invalid.Index != 1 || invalid.Field != test.field || invalid.Reason == "" || store.RetrySafe(err) {
			t.Errorf("%s: Append returned %v", test.name, err)
		}
		if test.noUTF8 && h.TakesAnyBytes {
			continue
		}
		if err := insert(t.Context(), h.DB, test.draft); err == nil {
			t.Errorf("%s: the table took it", test.name)
		}
	}
	// Only this one gets through.
	mustAppend(t, log, draft("t", "last", `{}`))
	if got := fetch(t, log, 0, 1); got[0].Name != "last" {
		t.Errorf("the log holds %+v", got[0])
	}
}
