package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// beat is a message that the service answers whatever its payload is, and
// answered what it answers.
func beat(payload string) string {
	return fmt.Sprintf(`[null,"1","phoenix","heartbeat",{"filling":"%s"}]`, payload)
}

const answered = `[null,"1","phoenix","phx_reply",{"status":"ok","response":{}}]`

// filled is a beat of a certain length.
func filled(length int) string {
	return beat(strings.Repeat("x", length-len(beat(""))))
}

// pushed is a binary message to a topic that is not joined, of a certain
// length, and refused what it is answered.
func pushed(length int) string {
	const header = "\x00" + "\x00\x01\x05\x04" + "1" + "never" + "said"
	return header + strings.Repeat("\xff", length-len(header))
}

const refused = `[null,"1","never","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`

// TestRFC6455 sends what no stock client does: the kinds of cases that the
// Autobahn suite has, under the names of its groups.
func TestRFC6455(t *testing.T) {
	t.Parallel()
	s := serve(t, "--data-dir", t.TempDir()).ready(t)
	for _, group := range []struct {
		name  string
		cases []rfcCase
	}{
		{"1 framing", framing()},
		{"2 pings and pongs", pings()},
		{"3 reserved bits", reservedBits()},
		{"4 opcodes", opcodes()},
		{"5 fragmentation", fragmentation()},
		{"6 UTF-8", encodings()},
		{"7 closing", closings()},
		{"9 limits", limits()},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, test := range group.cases {
				t.Run(test.name, func(t *testing.T) {
					c := openRaw(t, s.public, "2.0.0")
					for _, part := range test.sends {
						c.write(t, []byte(part))
					}
					for _, frame := range test.answers {
						c.expect(t, frame.op, frame.payload)
					}
					for _, part := range test.then {
						c.write(t, []byte(part))
					}
					switch test.code {
					case staysOpen:
						c.alive(t)
					case noCode:
						c.expect(t, opClose, "")
						c.expectEnd(t)
					default:
						c.expectClose(t, test.code)
					}
				})
			}
		})
	}
}

// A rfcCase is what a client sends, as bytes written one part at a time, what
// it is answered, what it sends then, and the code that it is closed with.
type rfcCase struct {
	name    string
	sends   []string
	answers []answer
	then    []string
	code    uint16
}

type answer struct {
	op      byte
	payload string
}

// Instead of codes. Neither is one that can be sent (RFC 6455, section 7.4).
const (
	staysOpen = 0
	noCode    = 1005
)

// sent is the frames' bytes, in one part.
func sent(frames ...[]byte) []string {
	var all strings.Builder
	for _, frame := range frames {
		all.Write(frame)
	}
	return []string{all.String()}
}

// bytewise is the frames' bytes, a part each.
func bytewise(frames ...[]byte) (parts []string) {
	all := sent(frames...)[0]
	for i := range len(all) {
		parts = append(parts, all[i:i+1])
	}
	return parts
}

func framing() (cases []rfcCase) {
	for _, length := range []int{125, 126, 127, 128, 65535, 65536} {
		cases = append(cases,
			rfcCase{
				name:    fmt.Sprintf("text of %d bytes", length),
				sends:   sent(frame(fin|opText, filled(length))),
				answers: []answer{{opText, answered}},
			},
			rfcCase{
				name:    fmt.Sprintf("binary of %d bytes", length),
				sends:   sent(frame(fin|opBinary, pushed(length))),
				answers: []answer{{opText, refused}},
			})
	}
	return append(cases,
		rfcCase{
			name:    "text a byte at a time",
			sends:   bytewise(frame(fin|opText, beat("slow"))),
			answers: []answer{{opText, answered}},
		},
		rfcCase{
			name:    "many messages at once",
			sends:   sent(frame(fin|opText, beat("a")), frame(fin|opBinary, pushed(20)), frame(fin|opText, beat("b"))),
			answers: []answer{{opText, answered}, {opText, refused}, {opText, answered}},
		},
		rfcCase{name: "empty text is no message", sends: sent(frame(fin|opText, "")), code: 1011},
		rfcCase{name: "empty binary is no message", sends: sent(frame(fin|opBinary, "")), code: 1011},
		rfcCase{name: "unmasked text", sends: []string{"\x81\x04null"}, code: 1002},
		rfcCase{name: "unmasked binary", sends: []string{"\x82\x04null"}, code: 1002},
		rfcCase{name: "unmasked ping", sends: []string{"\x89\x00"}, code: 1002},
		rfcCase{name: "unmasked close", sends: []string{"\x88\x02\x03\xe8"}, code: 1002},
		rfcCase{name: "length with its highest bit set", sends: sent(announced(fin|opBinary, 1<<63)), code: 1002},
	)
}

func pings() []rfcCase {
	long := strings.Repeat("\x00\xff", 62) + "!"
	var many [][]byte
	var pongs []answer
	for i := range 10 {
		many = append(many, frame(fin|opPing, fmt.Sprint(i)))
		pongs = append(pongs, answer{opPong, fmt.Sprint(i)})
	}
	return []rfcCase{
		{name: "without payload", sends: sent(frame(fin|opPing, "")), answers: []answer{{opPong, ""}}},
		{name: "with text", sends: sent(frame(fin|opPing, "hello")), answers: []answer{{opPong, "hello"}}},
		{name: "with bytes that are no text", sends: sent(frame(fin|opPing, "\x00\xff\xfe\xfd")), answers: []answer{{opPong, "\x00\xff\xfe\xfd"}}},
		{name: "of 125 bytes", sends: sent(frame(fin|opPing, long)), answers: []answer{{opPong, long}}},
		{name: "of 126 bytes", sends: sent(frame(fin|opPing, long+"!")), code: 1002},
		{name: "of 125 bytes, a byte at a time", sends: bytewise(frame(fin|opPing, long)), answers: []answer{{opPong, long}}},
		{name: "unasked pong", sends: sent(frame(fin|opPong, ""))},
		{name: "unasked pong with payload, then a ping", sends: sent(frame(fin|opPong, "old"), frame(fin|opPing, "new")), answers: []answer{{opPong, "new"}}},
		{name: "ten at once", sends: sent(many...), answers: pongs},
		{name: "ten, a byte at a time", sends: bytewise(many...), answers: pongs},
	}
}

func reservedBits() (cases []rfcCase) {
	for bits := byte(0x10); bits <= 0x70; bits += 0x10 {
		for name, first := range map[string]byte{"text": opText, "binary": opBinary, "ping": opPing, "close": opClose} {
			cases = append(cases, rfcCase{
				name:  fmt.Sprintf("bits %03b on %s", bits>>4, name),
				sends: sent(frame(fin|bits|first, "")),
				code:  1002,
			})
		}
	}
	return append(cases, rfcCase{
		name:    "after a good message",
		sends:   sent(frame(fin|opText, beat("good"))),
		answers: []answer{{opText, answered}},
		then:    sent(frame(fin|0x40|opText, beat("bad")), frame(fin|opPing, "ignored")),
		code:    1002,
	})
}

func opcodes() (cases []rfcCase) {
	for _, op := range []byte{3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf} {
		cases = append(cases,
			rfcCase{name: fmt.Sprintf("%#x without payload", op), sends: sent(frame(fin|op, "")), code: 1002},
			rfcCase{
				name:    fmt.Sprintf("%#x after a good message", op),
				sends:   sent(frame(fin|opText, beat("good"))),
				answers: []answer{{opText, answered}},
				then:    sent(frame(fin|op, "bad"), frame(fin|opPing, "ignored")),
				code:    1002,
			})
	}
	return cases
}

func fragmentation() []rfcCase {
	text, bytes := beat("grüße"), pushed(64)
	ping := frame(fin|opPing, "between")
	pong := answer{opPong, "between"}
	var shreds [][]byte
	for i := range len(text) {
		op := byte(opContinuation)
		if i == 0 {
			op = opText
		}
		shreds = append(shreds, frame(op, text[i:i+1]), ping)
	}
	shreds = append(shreds, frame(fin|opContinuation, ""))
	var pongs []answer
	for range len(text) {
		pongs = append(pongs, pong)
	}
	return []rfcCase{
		{name: "fragmented ping", sends: sent(frame(opPing, "half")), code: 1002},
		{name: "fragmented pong", sends: sent(frame(opPong, "half")), code: 1002},
		{name: "fragmented close", sends: sent(frame(opClose, closing(1000, ""))), code: 1002},
		{name: "text in two", sends: sent(frame(opText, text[:9]), frame(fin|opContinuation, text[9:])), answers: []answer{{opText, answered}}},
		{name: "binary in two", sends: sent(frame(opBinary, bytes[:9]), frame(fin|opContinuation, bytes[9:])), answers: []answer{{opText, refused}}},
		{name: "text in three with an empty one, a byte at a time",
			sends:   bytewise(frame(opText, text[:9]), frame(opContinuation, ""), frame(fin|opContinuation, text[9:])),
			answers: []answer{{opText, answered}}},
		{name: "text with a ping between", sends: sent(frame(opText, text[:9]), ping, frame(fin|opContinuation, text[9:])), answers: []answer{pong, {opText, answered}}},
		{name: "binary with a ping between", sends: sent(frame(opBinary, bytes[:9]), ping, frame(fin|opContinuation, bytes[9:])), answers: []answer{pong, {opText, refused}}},
		{name: "text with a pong between", sends: sent(frame(opText, text[:9]), frame(fin|opPong, ""), frame(fin|opContinuation, text[9:])), answers: []answer{{opText, answered}}},
		{name: "every byte a frame, with a ping after each", sends: sent(shreds...), answers: append(pongs, answer{opText, answered})},
		{name: "continuation of nothing, final", sends: sent(frame(fin|opContinuation, text)), code: 1002},
		{name: "continuation of nothing, not final", sends: sent(frame(opContinuation, text)), code: 1002},
		{name: "continuation after a whole message",
			sends:   sent(frame(fin|opText, text)),
			answers: []answer{{opText, answered}},
			then:    sent(frame(fin|opContinuation, text)),
			code:    1002},
		{name: "text within a text", sends: sent(frame(opText, text[:9]), frame(fin|opText, text)), code: 1002},
		{name: "binary within a text", sends: sent(frame(opText, text[:9]), frame(fin|opBinary, bytes)), code: 1002},
		{name: "text within a binary", sends: sent(frame(opBinary, bytes[:9]), frame(opText, text)), code: 1002},
	}
}

// encodings are of the forms that the Unicode standard's table 3-7 allows, and
// of those that it does not.
func encodings() (cases []rfcCase) {
	for _, valid := range []string{"κόσμε", "\u0080", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\ufffd", "\uffff", "\U00010000", "\U0010ffff"} {
		cases = append(cases, rfcCase{
			name:    fmt.Sprintf("valid %+q", valid),
			sends:   sent(frame(fin|opText, beat(valid))),
			answers: []answer{{opText, answered}},
		})
	}
	const astral = "\U0001F30D"
	for cut := 1; cut < len(astral); cut++ {
		text := beat(astral)
		at := strings.Index(text, astral) + cut
		cases = append(cases, rfcCase{
			name:    fmt.Sprintf("valid, split after byte %d of four", cut),
			sends:   sent(frame(opText, text[:at]), frame(fin|opContinuation, text[at:])),
			answers: []answer{{opText, answered}},
		})
	}
	for name, invalid := range map[string]string{
		"a continuation byte alone":       "\x80",
		"a lead byte alone":               "\xc3",
		"a lead byte of three, cut":       "\xe2\x82",
		"a lead byte of four, cut":        "\xf0\x9f\x8c",
		"overlong slash":                  "\xc0\xaf",
		"overlong in three bytes":         "\xe0\x80\xaf",
		"overlong NUL in four bytes":      "\xf0\x80\x80\x80",
		"first surrogate":                 "\xed\xa0\x80",
		"last surrogate":                  "\xed\xbf\xbf",
		"a pair of surrogates":            "\xed\xa0\x80\xed\xb0\x80",
		"beyond U+10FFFF":                 "\xf4\x90\x80\x80",
		"five bytes":                      "\xf8\x88\x80\x80\x80",
		"six bytes":                       "\xfc\x84\x80\x80\x80\x80",
		"bytes that never occur":          "\xfe\xff",
		"Latin-1":                         "gr\xfc\xdfe",
		"valid, then invalid, then valid": "κόσμε\xed\xa0\x80edited",
	} {
		text := beat(invalid)
		at := strings.Index(text, invalid) + 1
		cases = append(cases,
			rfcCase{name: name, sends: sent(frame(fin|opText, text)), code: 1007},
			rfcCase{name: name + ", split", sends: sent(frame(opText, text[:at]), frame(opContinuation, ""), frame(fin|opContinuation, text[at:])), code: 1007})
	}
	return append(cases,
		rfcCase{name: "invalid where it is no JSON either", sends: sent(frame(fin|opText, "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80")), code: 1007},
		rfcCase{name: "invalid in a binary payload, which may", sends: sent(frame(fin|opBinary, pushed(40))), answers: []answer{{opText, refused}}},
		rfcCase{name: "invalid in a binary topic", sends: sent(frame(fin|opBinary, "\x00\x00\x01\x02\x011\xc0\xafe")), code: 1011},
	)
}

func closings() []rfcCase {
	cases := []rfcCase{
		{name: "after a message",
			sends:   sent(frame(fin|opText, beat("last")), frame(fin|opClose, closing(1000, ""))),
			answers: []answer{{opText, answered}},
			code:    1000},
		{name: "twice", sends: sent(frame(fin|opClose, closing(1000, "")), frame(fin|opClose, closing(1000, ""))), code: 1000},
		{name: "then a ping", sends: sent(frame(fin|opClose, closing(1000, "")), frame(fin|opPing, "late")), code: 1000},
		{name: "then text", sends: sent(frame(fin|opClose, closing(1000, "")), frame(fin|opText, beat("late"))), code: 1000},
		{name: "within a message", sends: sent(frame(opText, "[null"), frame(fin|opClose, closing(1000, "")), frame(fin|opContinuation, "]")), code: 1000},
		{name: "without payload", sends: sent(frame(fin|opClose, "")), code: noCode},
		{name: "with half a code", sends: sent(frame(fin|opClose, "\x03")), code: 1002},
		{name: "with a reason", sends: sent(frame(fin|opClose, closing(1000, "bye"))), code: 1000},
		{name: "with the longest reason", sends: sent(frame(fin|opClose, closing(1000, strings.Repeat("é", 61)+"!"))), code: 1000},
		{name: "with too long a reason", sends: sent(frame(fin|opClose, closing(1000, strings.Repeat("é", 62)))), code: 1002},
		{name: "with a reason that is no UTF-8", sends: sent(frame(fin|opClose, closing(1000, "bye \xed\xa0\x80"))), code: 1002}, // it is no message that 1007 could be about
	}
	for _, code := range []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999} {
		cases = append(cases, rfcCase{
			name:  fmt.Sprintf("code %d is echoed", code),
			sends: sent(frame(fin|opClose, closing(code, ""))),
			code:  code,
		})
	}
	for _, code := range []uint16{0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999} {
		cases = append(cases, rfcCase{
			name:  fmt.Sprintf("code %d may not be sent", code),
			sends: sent(frame(fin|opClose, closing(code, ""))),
			code:  1002,
		})
	}
	return cases
}

func limits() []rfcCase {
	const limit = 64 << 10 // of --max-message-bytes
	half := strings.Repeat("x", limit/2)
	return []rfcCase{
		{name: "announced one byte too long", sends: sent(announced(fin|opText, limit+1)), code: 1009},
		{name: "announced far too long", sends: sent(announced(fin|opBinary, 1<<62)), code: 1009},
		{name: "sent too long", sends: sent(frame(fin|opText, filled(limit+1))), code: 1009},
		{name: "fragments that are too long together",
			sends: sent(frame(opText, half), frame(opContinuation, half), frame(fin|opContinuation, "x")), code: 1009},
		{name: "fragments that are announced too long together",
			sends: sent(frame(opText, half), announced(opContinuation, limit/2+1)), code: 1009},
	}
}

var (
	noSockets = regexp.MustCompile(`(?m)^sluice_sockets\{[^}]*\} 0$`)
	lost      = regexp.MustCompile(`(?m)^sluice_sockets_closed_total\{.*reason="lost".*\} (\d+)$`)
)

// A connection that breaks within a frame leaves nothing behind.
func TestConnectionBreaksWithinAFrame(t *testing.T) {
	t.Parallel()
	s := serve(t, "--data-dir", t.TempDir()).ready(t)
	whole := frame(fin|opText, filled(1000))
	parts := map[string][]byte{
		"in the header":       whole[:1],
		"in the length":       whole[:3],
		"in the mask":         whole[:6],
		"in the payload":      whole[:500],
		"between fragments":   frame(opText, "[null"),
		"before the last one": append(frame(opText, "[null"), frame(opContinuation, "")...),
	}
	for name, part := range parts {
		c := openRaw(t, s.public, "2.0.0")
		c.alive(t)
		c.write(t, part)
		if err := c.conn.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What is read at once is not of one moment.
	s.await(t, "/metrics", func(_ int, body string) bool {
		found := lost.FindStringSubmatch(body)
		return noSockets.MatchString(body) && found != nil && found[1] == fmt.Sprint(len(parts))
	})
	openRaw(t, s.public, "2.0.0").alive(t)
}
