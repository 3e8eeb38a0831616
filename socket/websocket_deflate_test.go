package socket

import (
	"bytes"
	"compress/flate"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// TestDeflateOffers has clients offer compression in all ways (RFC 7692, section 7.1).
func TestDeflateOffers(t *testing.T) {
	t.Parallel()
	const yes = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	for offers, want := range map[string]string{
		"":                    "",
		"permessage-deflate":  yes,
		" permessage-deflate": yes,
		"Permessage-Deflate ; Client_Max_Window_Bits":                             yes,
		"permessage-deflate; client_max_window_bits":                              yes, // browsers
		"permessage-deflate; client_max_window_bits=8":                            yes,
		`permessage-deflate; client_max_window_bits="15"`:                         yes,
		"permessage-deflate; client_no_context_takeover":                          yes,
		"permessage-deflate; server_no_context_takeover":                          yes,
		"permessage-deflate; server_max_window_bits=15":                           yes + "; server_max_window_bits=15",
		`permessage-deflate; server_max_window_bits="15"`:                         yes + "; server_max_window_bits=15",
		"permessage-deflate; server_max_window_bits=14":                           "",
		"permessage-deflate; server_max_window_bits=8, permessage-deflate":        yes,
		"permessage-deflate; server_max_window_bits":                              "",
		"permessage-deflate; server_max_window_bits=015":                          "",
		"permessage-deflate; server_max_window_bits=16":                           "",
		"permessage-deflate; server_max_window_bits=+15":                          "",
		"permessage-deflate; client_max_window_bits=7":                            "",
		"permessage-deflate; client_max_window_bits=":                             "",
		"permessage-deflate; client_max_window_bits; client_max_window_bits":      "",
		"permessage-deflate; client_max_window_bits; client_max_window_bits=15":   "",
		"permessage-deflate; server_no_context_takeover=1":                        "",
		"permessage-deflate; client_no_context_takeover=":                         "",
		"permessage-deflate; what_else":                                           "",
		"permessage-deflate; what_else, permessage-deflate":                       yes,
		`permessage-deflate; x="a,b;c\",permessage-deflate"`:                      "",
		`permessage-deflate; x="a, permessage-deflate`:                            "",
		"permessage-deflate;":                                                     "",
		"permessage-deflate=1":                                                    "",
		"permessage-bzip2, permessage-deflate":                                    yes,
		"x-webkit-deflate-frame":                                                  "",
		"permessage-bzip2;a=1;b":                                                  "",
		"foo\npermessage-deflate":                                                 yes,
		"permessage-deflate; server_max_window_bits=9\npermessage-deflate":        yes,
		strings.Repeat("permessage-deflate; a, ", 500) + "permessage-deflate":     yes,
		"permessage-deflate; " + strings.Repeat("server_no_context_takeover;", 9): "",
	} {
		if got := negotiateDeflate(http.Header{extensionsHeader: strings.Split(offers, "\n")}); got != want {
			t.Errorf("%s\nis answered %q, want %q", offers, got, want)
		}
	}
	if got := negotiateDeflate(nil); got != "" {
		t.Errorf("no offer is answered %q", got)
	}
}

// deflated is a message as a client sends it.
func deflated(text string) string {
	var out bytes.Buffer
	w, _ := flate.NewWriter(&out, flate.BestCompression)
	_, _ = w.Write([]byte(text))
	_ = w.Flush()
	return strings.TrimSuffix(out.String(), "\x00\x00\xff\xff")
}

// TestInflate has clients send what is compressed well, badly, and too well.
func TestInflate(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "x", strings.Repeat("x", 1000), rand.Text()} {
		if got, err := inflate([]byte(deflated(text)), 1000); err != nil || string(got) != text {
			t.Errorf("%q becomes %q, %v", text, got, err)
		}
	}
	for _, last := range []string{"one ", strings.Repeat("x", 1000)} { // a block that says that it is the last (section 7.2.3.4)
		var out bytes.Buffer
		w, _ := flate.NewWriter(&out, flate.BestSpeed)
		_, _ = w.Write([]byte(last))
		_ = w.Close()
		if got, err := inflate(append(out.Bytes(), 0), 1000); err != nil || string(got) != last {
			t.Errorf("%q becomes %q, %v", last, got, err)
		}
	}
	bomb := []byte(deflated(strings.Repeat("\x00", 32<<20)))
	if got, err := inflate(bomb, 1000); err != errTooLarge || got != nil {
		t.Errorf("a bomb of %d bytes: %d, %v", len(bomb), len(got), err)
	}
	for _, garbage := range []string{"\xff", "\x07", "not compressed", deflated("truncated, in the midst of it")[:9], "\x00\x05\x00\x00\x00"} {
		if got, err := inflate([]byte(garbage), 1000); err != errDeflate {
			t.Errorf("%q becomes %q, %v", garbage, got, err)
		}
	}
}

// TestCompressedIsWhatWasSent has messages of all kinds be compressed: what comes out is what
// went in.
func TestCompressedIsWhatWasSent(t *testing.T) {
	t.Parallel()
	const f = phoenix.Version2 | phoenix.Compressed
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.IntRange(0, 300).Draw(t, "from")
		m := &outbound.Message{Topic: rapid.StringN(1, 20, 60).Draw(t, "topic"), Event: rapid.StringN(1, 20, 60).Draw(t, "event"),
			Binary: rapid.Bool().Draw(t, "binary")}
		word := rapid.StringN(1, 30, 90).Draw(t, "word")
		if m.Payload = []byte(strings.Repeat(word, rapid.IntRange(0, 5000).Draw(t, "times"))); !m.Binary {
			m.Payload = phoenix.AppendQuoted(nil, m.Payload)
			m.Offset = rapid.Int64Range(0, 1<<62).Draw(t, "offset")
		}
		plain, err := phoenix.Encoder{}.AppendMessage(nil, f&^phoenix.Compressed, m)
		if err != nil {
			t.Skip(err) // no message of the protocol
		}
		small, err := phoenix.Encoder{CompressFrom: from}.AppendMessage([]byte("before"), f, m)
		if err != nil {
			t.Fatal(err)
		}
		want, got := frameOf(t, plain), frameOf(t, small[len("before"):])
		if compressed := got.Header.Rsv == rsvCompressed; compressed {
			if len(want.Payload) < from || len(got.Payload) >= len(want.Payload) {
				t.Fatalf("%d bytes become %d, of %d at least", len(want.Payload), len(got.Payload), from)
			}
			if got.Payload, err = inflate(got.Payload, len(want.Payload)); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(got.Payload, want.Payload) || got.Header.OpCode != want.Header.OpCode || !got.Header.Fin {
			t.Fatalf("%q is sent as %q", want.Payload, got.Payload)
		}
	})
}

// frameOf reads the only frame of data.
func frameOf(t interface{ Fatal(...any) }, data []byte) ws.Frame {
	in := bytes.NewReader(data)
	h, err := ws.ReadHeader(in)
	if err != nil || h.Length != int64(in.Len()) {
		t.Fatal(err, h, in.Len())
	}
	return ws.Frame{Header: h, Payload: data[len(data)-in.Len():]}
}

// deflating connects a client that takes compressed messages, if it offers that.
func (r *rig) deflating(t *testing.T, addr, offer string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return r.deflatingOn(t, conn, addr, offer)
}

// deflatingOn is deflating on a connection that there is.
func (r *rig) deflatingOn(t *testing.T, conn net.Conn, addr, offer string) *client {
	t.Helper()
	req := upgrade("?vsn=2.0.0")
	if offer != "" {
		req.Header.Set("Sec-WebSocket-Extensions", offer)
	}
	req.Host = addr
	resp, c := shakeOn(t, conn, req)
	if resp.StatusCode != 101 || (resp.Header.Get("Sec-WebSocket-Extensions") != "") != (offer != "") {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	return c
}

// TestCompression has a client take compressed messages beside one that does not, over
// connections that event loops serve, and over TLS, where each has a goroutine.
func TestCompression(t *testing.T) {
	const offer = "permessage-deflate; client_max_window_bits"
	for name, connect := range map[string]func(t *testing.T, r *rig) (takes, plain *client){
		"TCP": func(t *testing.T, r *rig) (takes, plain *client) {
			addr := r.serve()
			return r.deflating(t, addr, offer), r.deflating(t, addr, "")
		},
		"TLS": func(t *testing.T, r *rig) (takes, plain *client) {
			server := httptest.NewTLSServer(r.endpoint)
			t.Cleanup(func() {
				_ = r.stop()
				server.Close()
			})
			dial := func(offer string) *client {
				addr := server.Listener.Addr().String()
				conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
				if err != nil {
					t.Fatal(err)
				}
				return r.deflatingOn(t, conn, addr, offer)
			}
			return dial(offer), dial("")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newPatientRig(t, func(c *Config) { c.Compress = true })
			r.builder = outbound.NewBuilder(phoenix.Encoder{CompressFrom: 256})
			takes, plain := connect(t, r)
			r.compression(t, takes, plain)
		})
	}
}

// compression has messages go to both clients, and the first send some.
func (r *rig) compression(t *testing.T, takes, plain *client) {
	t.Helper()
	for _, c := range []*client{takes, plain} {
		c.join("room:a", `{"after":null}`)
	}
	read := func(c *client) (text string, compressed bool) {
		t.Helper()
		f, err := c.read()
		if err != nil {
			t.Fatal(err)
		}
		if f.Header.Rsv == 0 {
			return string(f.Payload), false
		}
		data, err := inflate(f.Payload, 1<<20)
		if err != nil || f.Header.Rsv != rsvCompressed {
			t.Fatal(f.Header, err)
		}
		return string(data), true
	}
	for i, payload := range []string{`{}`, `{"x":"` + strings.Repeat("x", 300) + `"}`, `{"x":"` + strings.Repeat("x", 100<<10) + `"}`} {
		r.log("room:a", "created", payload)
		want := fmt.Sprintf(`[null,null,"room:a","created",{"offset":%d,"data":%s}]`, i+1, payload)
		if got, compressed := read(takes); got != want || compressed != (i > 0) {
			t.Errorf("got %.80s, compressed %t", got, compressed)
		}
		if got, compressed := read(plain); got != want || compressed {
			t.Errorf("without: got %.80s, compressed %t", got, compressed)
		}
	}
	// Nor on a topic whose channel does not want it.
	takes.join("room:b", `{"do":"uncompressed"}`)
	r.log("room:b", "created", `{"x":"`+strings.Repeat("x", 300)+`"}`)
	if got, compressed := read(takes); !strings.Contains(got, "xxx") || compressed {
		t.Errorf("got %.80s, compressed %t", got, compressed)
	}
	// What a client is answered, or told alone, is not compressed, whatever it sends.
	long := `{"x":"` + strings.Repeat("y", 1000) + `"}`
	send := func(op ws.OpCode, fin bool, rsv byte, payload string) {
		t.Helper()
		f := ws.NewFrame(op, fin, []byte(payload))
		f.Header.Rsv = rsv
		takes.raw(string(ws.MustCompileFrame(ws.MaskFrameInPlaceWith(f, [4]byte{1, 2, 3, 4}))))
	}
	echo := func(ref int) string { return fmt.Sprintf(`["1","%d","room:a","echo",%s]`, ref, long) }
	answer := func(ref int) string {
		return fmt.Sprintf(`["1","%d","room:a","phx_reply",{"status":"ok","response":%s}]`, ref, long)
	}
	send(ws.OpText, true, rsvCompressed, deflated(echo(2)))
	send(ws.OpText, true, 0, echo(3))
	whole := deflated(echo(4))
	send(ws.OpText, false, rsvCompressed, whole[:5])
	send(ws.OpPing, true, 0, "between")
	send(ws.OpContinuation, false, 0, whole[5:6])
	send(ws.OpContinuation, true, 0, whole[6:])
	send(ws.OpText, true, 0, `["1","5","room:a","push",`+long+`]`)
	pongs := 0
	for _, want := range []string{answer(2), answer(3), answer(4), `["1",null,"room:a","pushed",{"data":` + long + `}]`} {
		got, compressed := read(takes)
		if got == "between" { // which waits for no handler
			pongs++
			got, compressed = read(takes)
		}
		if got != want || compressed {
			t.Errorf("got %.90s\nwant %.90s, compressed %t", got, want, compressed)
		}
	}
	if pongs != 1 {
		t.Errorf("%d pongs", pongs)
	}
}

// TestCompressedInput has clients send what they must not: it ends their connection.
func TestCompressedInput(t *testing.T) {
	t.Parallel()
	r := newPatientRig(t, func(c *Config) { c.Compress, c.MaxMessageBytes = true, 1<<10 })
	off := newPatientRig(t)
	addr, offAddr := r.serve(), off.serve()
	frames := func(parts ...any) (all string) {
		for ; len(parts) > 0; parts = parts[4:] {
			f := ws.NewFrame(parts[0].(ws.OpCode), parts[1].(bool), []byte(parts[3].(string)))
			f.Header.Rsv = byte(parts[2].(int))
			all += string(ws.MustCompileFrame(ws.MaskFrameInPlaceWith(f, [4]byte{1, 2, 3, 4})))
		}
		return all
	}
	for name, test := range map[string]struct {
		sent  string
		plain bool // nothing was negotiated
		code  string
	}{
		"compressed, and not negotiated":  {frames(ws.OpText, true, 4, deflated(beat)), true, "close 1002"},
		"another bit":                     {frames(ws.OpText, true, 2, deflated(beat)), false, "close 1002"},
		"and another bit":                 {frames(ws.OpText, true, 5, deflated(beat)), false, "close 1002"},
		"a compressed ping":               {frames(ws.OpPing, true, 4, deflated("x")), false, "close 1002"},
		"a compressed close":              {frames(ws.OpClose, true, 4, ""), false, "close 1002"},
		"the bit on a continuation":       {frames(ws.OpText, false, 4, "x", ws.OpContinuation, true, 4, "x"), false, "close 1002"},
		"the bit on a later fragment":     {frames(ws.OpText, false, 0, "x", ws.OpContinuation, true, 4, "x"), false, "close 1002"},
		"garbage":                         {frames(ws.OpText, true, 4, "garbage"), false, "close 1007"},
		"garbage in fragments":            {frames(ws.OpText, false, 4, "gar", ws.OpContinuation, true, 0, "bage"), false, "close 1007"},
		"a bomb":                          {frames(ws.OpText, true, 4, deflated(strings.Repeat(" ", 200<<10))), false, "close 1009"},
		"a bomb in fragments":             {frames(ws.OpBinary, false, 4, deflated(strings.Repeat(" ", 200<<10))[:20], ws.OpContinuation, true, 0, deflated(strings.Repeat(" ", 200<<10))[20:]), false, "close 1009"},
		"more than a message, compressed": {frames(ws.OpText, true, 4, strings.Repeat("x", 1<<10+1)), false, "close 1009"},
		"invalid UTF-8":                   {frames(ws.OpText, true, 4, deflated("\xff")), false, "close 1007"},
		"malformed":                       {frames(ws.OpText, true, 4, deflated("[]")), false, "close 1011"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to, offer := addr, "permessage-deflate"
			if test.plain {
				to, offer = offAddr, ""
			}
			c := r.deflating(t, to, offer)
			c.raw(test.sent)
			if got := c.next(); got != test.code {
				t.Errorf("got %s", got)
			}
		})
	}
	req := upgrade("?vsn=2.0.0")
	req.Header.Set("Sec-WebSocket-Extensions", "permessage-deflate")
	if resp, _ := shake(t, offAddr, req); resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Extensions") != "" {
		t.Errorf("off, it is answered %d %v", resp.StatusCode, resp.Header)
	}
}

func FuzzDeflateOffer(f *testing.F) {
	for _, seed := range []string{"permessage-deflate; client_max_window_bits", `a;b="c,\"d"`, `";`, ",;=,"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, offer string) {
		answer := negotiateDeflate(http.Header{extensionsHeader: {offer}})
		if answer != "" && (!strings.Contains(strings.ToLower(offer), deflateExtension) || strings.ContainsAny(answer, "\r\n")) {
			t.Errorf("%q is answered %q", offer, answer)
		}
	})
}
