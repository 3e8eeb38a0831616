package presence

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sluicehq/sluice/store"
)

func TestKeysThatClientsCanBeTold(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"7", "ü ☺", "metas", "Constructor", `"`, strings.Repeat("k", MaxKey)} {
		if err := CheckKey(key); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
	for _, key := range append([]string{"", strings.Repeat("k", MaxKey+1), "\xff", "a\nb", "\x7f"}, refused...) {
		if invalid := new(store.InvalidError); !errors.As(CheckKey(key), &invalid) || invalid.Field != "key" {
			t.Errorf("%q is taken for a key", key)
		}
	}
}

func TestMetas(t *testing.T) {
	t.Parallel()
	nested := func(n int) string { return `{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}` }
	for given, want := range map[string]string{
		`{}`: `{}`,
		` { "a" : [1, {"b":"é\u0041 ☺"}] , "phx_ref":"mine","phx_ref_prev":{}} `: `{"a":[1,{"b":"é\u0041 ☺"}]}`,
		`{"ph\u0078_ref":"mine","x":"]"}`:                                        `{"x":"]"}`,
		`{"__proto__":{"x":1}}`:                                                  `{"__proto__":{"x":1}}`,
		nested(maxDepth):                                                         nested(maxDepth),
	} {
		if got, err := Meta([]byte(given), 1000); err != nil || got != want {
			t.Errorf("%s becomes %s (%v)", given, got, err)
		}
	}
	for _, given := range []string{
		``, `[]`, `null`, `"x"`, `{`, `{}{}`, `{} x`, `{"a":1,"a":2}`, "{\"a\":\"\xff\"}", `{"a":01}`, `{"a":"` + strings.Repeat("x", 1000) + `"}`,
		nested(maxDepth + 1), nested(100_000), strings.Repeat(" ", 3*MaxMeta) + "{}",
	} {
		if got, err := Meta([]byte(given), 1000); err == nil {
			t.Errorf("%.50s is taken for a meta: %.50s", given, got)
		}
	}
}

func FuzzMeta(f *testing.F) {
	f.Add(`{"a":[1,{"b":"é\u0041 \" ☺"}],"phx_ref":"x"}`)
	f.Fuzz(func(t *testing.T, given string) {
		meta, err := Meta([]byte(given), MaxMeta)
		if err != nil {
			return
		}
		if again, err := Meta([]byte(meta), MaxMeta); err != nil || again != meta {
			t.Errorf("%q becomes %q (%v)", meta, again, err)
		}
		var before, after map[string]any
		if err := json.Unmarshal([]byte(given), &before); err != nil {
			t.Fatal(err)
		}
		payload := appendMeta(nil, joined{view: &view{meta: meta}})
		if err := json.Unmarshal(payload, &after); err != nil {
			t.Fatalf("%s: %v", payload, err)
		}
		for _, own := range []string{"phx_ref", "phx_ref_prev"} {
			delete(before, own)
			delete(after, own)
		}
		if !reflect.DeepEqual(before, after) {
			t.Errorf("%s became %s", given, payload)
		}
	})
}

func FuzzPacket(f *testing.F) {
	v := &view{key: "k", meta: `{"a":1}`, id: ref{n: 7}, ref: ref{n: 9}}
	ops := appendOp(appendOp(appendOp(nil, "t", nil, v), "t", v, v), "t", v, nil)
	f.Add(append(appendPacket(nil, kindOps, "node", 5, 3), ops...))
	f.Add(appendPacket(nil, kindBeat, "node", 5, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, _, err := readPacket(data)
		if err != nil {
			return
		}
		for _, o := range p.ops {
			if o.kind != opLeave && !jsontext.Value(o.meta).IsValid() || o.kind == opJoin && CheckKey(o.key) != nil {
				t.Errorf("%+v is let in", o)
			}
		}
	})
}

// What one presence takes stays within what --max-presences is said to cost each.
func TestMemoryOfAPresence(t *testing.T) {
	tracker, err := New(Config{Interval: 1, Permdown: 1, Max: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	const presences = 50_000
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	all := make([]*Presence, presences)
	for i := range all {
		if all[i], err = tracker.Track(fmt.Sprint("room:", i/100), fmt.Sprint("user", i), `{"online_at":"1764209000"}`); err != nil {
			t.Fatal(err)
		}
	}
	tracker.ops()
	tracker.gather()
	each := (heap() - before) / presences
	t.Logf("a presence takes %d bytes", each)
	if most := uint64(400); each > most {
		t.Errorf("a presence takes %d bytes, of %d", each, most)
	}
	runtime.KeepAlive(all)
}
