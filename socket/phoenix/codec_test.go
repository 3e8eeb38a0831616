package phoenix

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/sluicehq/sluice/channels/outbound"
)

func TestDecode(t *testing.T) {
	t.Parallel()
	const v1, v2 = outbound.Format(0), Version2
	json := func(s string) outbound.Payload { return outbound.Payload{Data: []byte(s)} }
	for _, c := range []struct {
		format outbound.Format
		in     string
		want   ClientMessage
	}{
		{v2, `["1","2","t","e",{"a":[1,{"b":"}]"}]}]`, ClientMessage{`"1"`, `"2"`, "t", "e", json(`{"a":[1,{"b":"}]"}]}`)}},
		{v2, " [ null , 2.5e1 ,\t\"t\\u00fc\\\"\\n\" , \"e\" , \"x\\\"]\" , 1 ]\n", ClientMessage{"", "2.5e1", "tü\"\n", "e", json(`"x\"]"`)}},
		{v2, `[-1,"\"","","",null]`, ClientMessage{"-1", `"\""`, "", "", json("null")}},
		{v1, `{"topic":"t","event":"e","payload":{},"ref":"1"}`, ClientMessage{"", `"1"`, "t", "e", json("{}")}},
		{v1, `{ "ref" : 1 , "x":[{"topic":"no"}], "join_ref":"2", "payload":[ ], "event":"e", "t\u006fpic":"t" }`,
			ClientMessage{`"2"`, "1", "t", "e", json("[ ]")}},
	} {
		got, err := DecodeText(c.format, []byte(c.in))
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, %v", c.in, got, err)
		}
	}
	long := `"` + strings.Repeat("9", maxRefBytes) + `"`
	for _, c := range []struct {
		format outbound.Format
		in     string
	}{
		{v2, ``}, {v2, `[`}, {v2, `{}`}, {v2, `"x"`}, {v2, `[]`}, {v2, `[1,2,"t","e"]`}, {v2, `[1,2,"t","e",{}] x`},
		{v2, `[true,2,"t","e",{}]`}, {v2, `[1,[],"t","e",{}]`}, {v2, `[1,2,3,"e",{}]`}, {v2, `[1,2,"t",null,{}]`},
		{v2, `[` + long + `,2,"t","e",{}]`},
		{v1, `[]`}, {v1, `{}`}, {v1, `{"topic":"t","event":"e"}`}, {v1, `{"topic":1,"event":"e","payload":{}}`},
		{v1, `{"topic":"t","payload":{}}`}, {v1, `{"topic":"t","event":"e","payload":{},"ref":{}}`},
	} {
		if got, err := DecodeText(c.format, []byte(c.in)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %+v, %v", c.in, got, err)
		}
	}
}

func TestDecodeBinary(t *testing.T) {
	t.Parallel()
	got, err := DecodeBinary(Version2, []byte("\x00\x01\x02\x03\x04JRRtopEVNT\x00\xff"))
	want := ClientMessage{`"J"`, `"RR"`, "top", "EVNT", outbound.Payload{Data: []byte("\x00\xff"), Binary: true}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err = DecodeBinary(Version2, []byte("\x00\x00\x00\x00\x00"))
	if err != nil || got.JoinRef != "" || got.Ref != "" || len(got.Payload.Data) != 0 {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, in := range []string{"", "\x00", "\x00\x00\x00\x00", "\x01\x00\x00\x00\x00", "\x00\x01\x00\x00\x00", "\x00\x00\x00\x01\x00\xff"} {
		if got, err := DecodeBinary(Version2, []byte(in)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: got %+v, %v", in, got, err)
		}
	}
	if _, err := DecodeBinary(0, []byte("\x00\x00\x00\x00\x00")); !errors.Is(err, ErrMalformed) {
		t.Error("version 1 has no binary frames")
	}
}

func FuzzDecodeText(f *testing.F) {
	for _, seed := range []string{
		`["1","2","t","e",{}]`, `[null,1,"t\n","e",[1,{"a":"\""}],3]`, `[1,2,3,4,5]`, `[`, `[[],{},"",0,null]`,
		`{"topic":"t","event":"e","payload":{"x":[]},"ref":"1","join_ref":null}`, `{"topic":{}}`, `"`, "[\"\xff\",1,\"\",\"\",0]",
		`["1","2","room:a","phx_join",{"after":null}]`, `[null,"1","phoenix","heartbeat",{}]`, " [ 1 , 2 , \"\\ud800\" , \"\" , \"]\" ] ",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, format := range []outbound.Format{0, Version2} {
			m, err := DecodeText(format, bytes.Clone(data))
			if err != nil {
				if !errors.Is(err, ErrMalformed) {
					t.Fatalf("error of another kind: %v", err)
				}
				continue
			}
			if !json.Valid(m.Payload.Data) {
				t.Fatalf("payload %q", m.Payload.Data)
			}
			if format == 0 {
				continue
			}
			var all []json.RawMessage
			if err := json.Unmarshal(data, &all); err != nil || len(all) < 5 {
				t.Fatalf("accepted %q: %v", data, err)
			}
			var topic, event string
			if json.Unmarshal(all[2], &topic) != nil || json.Unmarshal(all[3], &event) != nil ||
				(utf8.Valid(data) && (topic != m.Topic || event != m.Event)) || !bytes.Equal(all[4], m.Payload.Data) {
				t.Fatalf("%q became %+v", data, m)
			}
		}
	})
}

func FuzzDecodeBinary(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03\x04JRRtopEVNTdata"))
	f.Add([]byte("\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x00\xff\xff\xff\xffx"))
	f.Add([]byte("\x03\x01\x02\x03\x04\x02\x01JRRtopEVNT{}[1]"))
	f.Add([]byte("\x09\x01\x02\x03\x04JRRtopEVNTdata"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := DecodeBinary(Version2, data)
		refused := new(AnswerableError)
		switch {
		case errors.As(err, &refused):
			if _, err := (Encoder{}).AppendReply(nil, Version2, refused.To, outbound.StatusError, outbound.Payload{Data: []byte("{}")}); err != nil {
				t.Fatalf("%q is answered to %+v: %v", data, refused.To, err)
			}
			return
		case err != nil:
			return
		case data[0] == kindUserBroadcast:
			var body struct{ Type, Event string }
			if m.Payload.Binary || json.Unmarshal(m.Payload.Data, &body) != nil || m.Event != "broadcast" || body.Type != "broadcast" {
				t.Fatalf("%q became %+v", data, m)
			}
			return
		}
		// What was decoded encodes to the same again.
		joinRef, ref := bareRef(m.JoinRef), bareRef(m.Ref)
		again := []byte{0, byte(len(joinRef)), byte(len(ref)), byte(len(m.Topic)), byte(len(m.Event))}
		again = append(again, joinRef+ref+m.Topic+m.Event...)
		if again = append(again, m.Payload.Data...); !bytes.Equal(again, data) {
			t.Fatalf("%q became %q", data, again)
		}
	})
}

// decoded reads back a frame in any format.
func decoded(t *testing.T, f outbound.Format, frame []byte) string {
	t.Helper()
	if f&Polled != 0 {
		var list []string
		if err := json.Unmarshal([]byte("["+strings.TrimSuffix(string(frame), ",")+"]"), &list); err != nil || len(list) != 1 {
			t.Fatalf("%q: %v", frame, err)
		}
		return list[0]
	}
	r := bytes.NewReader(frame)
	header, err := ws.ReadHeader(r)
	if err != nil || int64(r.Len()) != header.Length || !header.Fin || header.Masked {
		t.Fatalf("%q: %v", frame, err)
	}
	return string(frame[len(frame)-r.Len():])
}

func TestEncode(t *testing.T) {
	t.Parallel()
	event := outbound.Message{Offset: 41, Topic: `a"b`, Event: "e\n\x01", Payload: []byte(`{"ü":"\"\n"}`)}
	cast := event
	cast.Offset = 0
	blob := outbound.Message{Topic: "t", Event: "e", Payload: []byte{0, 1, 255}, Binary: true}
	to := outbound.Address{Topic: "t", JoinRef: `"1"`, Ref: "2"}
	message := func(m outbound.Message) func([]byte, outbound.Format) ([]byte, error) {
		return func(dst []byte, f outbound.Format) ([]byte, error) { return Encoder{}.AppendMessage(dst, f, &m) }
	}
	push := func(p outbound.Payload) func([]byte, outbound.Format) ([]byte, error) {
		return func(dst []byte, f outbound.Format) ([]byte, error) {
			return Encoder{}.AppendPush(dst, f, outbound.Address{Topic: "t", JoinRef: `"1"`}, "e", p)
		}
	}
	reply := func(p outbound.Payload) func([]byte, outbound.Format) ([]byte, error) {
		return func(dst []byte, f outbound.Format) ([]byte, error) {
			return Encoder{}.AppendReply(dst, f, to, outbound.StatusError, p)
		}
	}
	forged := outbound.Message{Topic: "t", Event: "e", Payload: []byte(`{"offset":99,"data":{}}`)}
	presence := outbound.Message{Topic: "t", Event: "presence_diff", Payload: []byte(`{}`)}
	binaryEvent := outbound.Message{Offset: 41, Topic: "t", Event: "e", Payload: []byte{0}, Binary: true}
	text, data := outbound.Payload{Data: []byte(`{}`)}, outbound.Payload{Data: []byte{0, 255}, Binary: true}
	position := func(dst []byte, f outbound.Format) ([]byte, error) {
		return Encoder{}.AppendPush(dst, f, outbound.Address{Topic: "t", JoinRef: `"1"`}, outbound.EventPosition, outbound.Payload{Data: []byte(`{"offset":7}`)})
	}
	const v1, v2 = outbound.Format(0), Version2
	for _, c := range []struct {
		name   string
		append func([]byte, outbound.Format) ([]byte, error)
		format outbound.Format
		want   string
		err    error
	}{
		{"event", message(event), v2, `[null,null,"a\"b","e\n\u0001",{"ü":"\"\n"}]`, nil},
		{"event", message(event), v2 | Enveloped, `[null,null,"a\"b","e\n\u0001",{"offset":41,"data":{"ü":"\"\n"}}]`, nil},
		{"event", message(event), v1, `{"topic":"a\"b","event":"e\n\u0001","ref":null,"payload":{"ü":"\"\n"}}`, nil},
		{"event", message(event), v1 | Enveloped, `{"topic":"a\"b","event":"e\n\u0001","ref":null,"payload":{"offset":41,"data":{"ü":"\"\n"}}}`, nil},
		{"broadcast", message(cast), v2, `[null,null,"a\"b","e\n\u0001",{"ü":"\"\n"}]`, nil},
		{"broadcast", message(cast), v2 | Enveloped, `[null,null,"a\"b","e\n\u0001",{"data":{"ü":"\"\n"}}]`, nil},
		{"broadcast", message(cast), v1 | Enveloped, `{"topic":"a\"b","event":"e\n\u0001","ref":null,"payload":{"data":{"ü":"\"\n"}}}`, nil},
		{"forged envelope", message(forged), v2 | Enveloped, `[null,null,"t","e",{"data":{"offset":99,"data":{}}}]`, nil},
		{"presence", message(presence), v2 | Enveloped, `[null,null,"t","presence_diff",{}]`, nil},
		{"binary event", message(binaryEvent), v2, "", ErrBinaryEvent},
		{"binary event", message(binaryEvent), v2 | Enveloped, "", ErrBinaryEvent},
		{"binary broadcast", message(blob), v2 | Enveloped, "\x02\x01\x01te\x00\x01\xff", nil},
		{"binary broadcast", message(blob), v2, "\x02\x01\x01te\x00\x01\xff", nil},
		{"binary broadcast", message(blob), v1, "", nil},
		{"push", push(text), v2 | Enveloped, `["1",null,"t","e",{"data":{}}]`, nil},
		{"position", position, v2 | Enveloped, `["1",null,"t","sluice_position",{"offset":7}]`, nil},
		{"position", position, v1 | Enveloped, `{"topic":"t","event":"sluice_position","ref":null,"payload":{"offset":7}}`, nil},
		{"forged position", message(outbound.Message{Offset: 41, Topic: "t", Event: "sluice_position", Payload: []byte(`{"offset":99}`)}), v2 | Enveloped,
			`[null,null,"t","sluice_position",{"offset":41,"data":{"offset":99}}]`, nil},
		{"binary push", push(data), v2 | Enveloped, "\x00\x01\x01\x011te\x00\xff", nil},
		{"push", push(text), v2, `["1",null,"t","e",{}]`, nil},
		{"push", push(text), v1, `{"topic":"t","event":"e","ref":null,"payload":{}}`, nil},
		{"binary push", push(data), v2, "\x00\x01\x01\x011te\x00\xff", nil},
		{"binary push", push(data), v1, "", ErrNoBinary},
		{"reply", reply(text), v2, `["1",2,"t","phx_reply",{"status":"error","response":{}}]`, nil},
		{"reply", reply(text), v1, `{"topic":"t","event":"phx_reply","ref":2,"payload":{"status":"error","response":{}}}`, nil},
		{"binary reply", reply(data), v2, "\x01\x01\x01\x01\x0512terror\x00\xff", nil},
		{"binary reply", reply(data), v1, "", ErrNoBinary},
		{"binary by long-poll", message(blob), v2 | Polled, "", nil},
		{"binary by long-poll", push(data), v2 | Polled, "", ErrNoBinary},
		{"binary by long-poll", reply(data), v2 | Polled, "", ErrNoBinary},
		{"invalid payload", message(outbound.Message{Topic: "t", Payload: []byte("\xff")}), v2, "", ErrInvalidUTF8},
		{"invalid topic", message(outbound.Message{Topic: "\xff"}), v1, "", ErrInvalidUTF8},
		{"invalid event", message(outbound.Message{Event: "\xff"}), v2, "", ErrInvalidUTF8},
		{"invalid push", push(outbound.Payload{Data: []byte("\xff")}), v2, "", ErrInvalidUTF8},
		{"invalid reply", reply(outbound.Payload{Data: []byte("\xff")}), v2, "", ErrInvalidUTF8},
		{"binary, too long", message(outbound.Message{Topic: strings.Repeat("x", 256), Binary: true}), v2, "", ErrTooLong},
	} {
		for _, framing := range []outbound.Format{0, Polled} {
			if framing == Polled && strings.HasPrefix(c.name, "binary") {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", c.name, c.format|framing), func(t *testing.T) {
				t.Parallel()
				out, err := c.append([]byte("before"), c.format|framing)
				rest, ok := bytes.CutPrefix(out, []byte("before"))
				if !errors.Is(err, c.err) || !ok {
					t.Fatalf("%q, %v", out, err)
				}
				if c.want == "" {
					if len(rest) > 0 {
						t.Fatalf("appended %q", rest)
					}
					return
				}
				want := c.want
				if got := decoded(t, c.format|framing, rest); got != want {
					t.Fatalf("got  %s\nwant %s", got, want)
				}
			})
		}
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	for vsn, want := range map[string]int{"": 1, "1.0": 1, "1.0.0": 1, "1.0.9": 1, "2.0": 2, "2.0.0": 2, "2": 0, "1": 0, "2.1.0": 0, "1.1": 0, "20.0": 0, "x": 0} {
		f, ok := ParseVersion(vsn)
		if ok != (want > 0) || ok && want != 1+int(f) {
			t.Errorf("%q: %d, %v", vsn, f, ok)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	m := outbound.Message{Offset: 123456, Topic: "orders:eu", Event: "created", Payload: bytes.Repeat([]byte(`{"id":12345}`), 10)}
	for name, f := range map[string]outbound.Format{"v2": Version2, "v2 enveloped": Version2 | Enveloped, "v1": 0, "v2 polled": Version2 | Polled} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				dst, _ = Encoder{}.AppendMessage(dst[:0], f, &m)
			}
			b.SetBytes(int64(len(dst)))
		})
	}
}

func BenchmarkSegment(b *testing.B) {
	const events = 500
	builder := outbound.NewBuilder(Encoder{})
	m := outbound.Message{Topic: "orders:eu", Event: "created", Payload: bytes.Repeat([]byte("x"), 120)}
	b.ReportAllocs()
	for b.Loop() {
		builder.Start(outbound.Audience{Topic: m.Topic, Formats: outbound.Formats(Version2, Version2|Enveloped)})
		for i := range events {
			m.Offset = int64(i + 1)
			_ = builder.Add(&m)
		}
		builder.Segment()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*events), "ns/event")
}

func BenchmarkDecode(b *testing.B) {
	for name, c := range map[string]struct {
		format outbound.Format
		data   string
	}{
		"v2": {Version2, `["1","42","room:lobby","message",{"body":"hello, world","at":1234567890}]`},
		"v1": {0, `{"topic":"room:lobby","event":"message","payload":{"body":"hello, world","at":1234567890},"ref":"42"}`},
	} {
		data := []byte(c.data)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				_, _ = DecodeText(c.format, data)
			}
		})
	}
}

// BenchmarkCompress compresses a message of the kind that applications send, of several sizes.
func BenchmarkCompress(b *testing.B) {
	for _, rows := range []int{2, 8, 64} {
		payload := []byte(`{"rows":[`)
		for i := range rows {
			payload = fmt.Appendf(payload, `{"id":%d,"state":"shipped","total":"%d.90","region":"eu-%d","at":"2026-11-%02dT10:%02d:00Z"},`, 7919*i+12, i*37, i%5, i%28+1, i%60)
		}
		payload = append(payload[:len(payload)-1], "]}"...)
		m := &outbound.Message{Topic: "orders:eu", Event: "changed", Payload: payload, Offset: 12345}
		for name, f := range map[string]outbound.Format{"plain": Version2, "compressed": Version2 | Compressed} {
			b.Run(fmt.Sprint(len(payload), "-bytes/", name), func(b *testing.B) {
				b.ReportAllocs()
				var out []byte
				for b.Loop() {
					out, _ = Encoder{CompressFrom: 1}.AppendMessage(out[:0], f, m)
				}
				b.ReportMetric(float64(len(out)), "wire-B/msg")
			})
		}
	}
}
