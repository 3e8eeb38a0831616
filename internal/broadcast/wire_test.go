package broadcast

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/store"
)

// written is messages of one topic as they are sent.
func written(sequence uint64, topic string, messages ...channels.Message) []byte {
	data := appendHead(nil, sequence, topic, len(messages))
	for i := range messages {
		data = appendMessage(data, &messages[i])
	}
	return appendChecksum(data)
}

// TestWireIsAsItWas holds what nodes of this version send to the bytes that others read.
func TestWireIsAsItWas(t *testing.T) {
	t.Parallel()
	data := written(300, "room:1",
		channels.Message{Event: "said", Payload: []byte(`{"a":1}`)},
		channels.Message{Event: "seen", Key: []byte("k"), Payload: []byte{0, 255}, Binary: true},
		channels.Message{Event: "held", Key: []byte{}, Payload: []byte(`{}`)})
	const want = "534201" + "ac02" + "06726f6f6d3a31" + "03" +
		"00" + "0473616964" + "077b2261223a317d" +
		"03" + "047365656e" + "016b" + "0200ff" +
		"01" + "0468656c64" + "00" + "027b7d" +
		"65227358"
	if got := hex.EncodeToString(data); got != want {
		t.Errorf("sent\n%s, want\n%s", got, want)
	}
}

func TestWireBringsWhatWasSent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-zé:*]{1,80}`)
		topic := name.Draw(t, "topic")
		sequence := rapid.Uint64Min(1).Draw(t, "sequence")
		messages := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) channels.Message {
			m := channels.Message{Topic: topic, Event: name.Draw(t, "event"), Payload: []byte(`{"` + name.Draw(t, "payload") + `":1}`)}
			if rapid.Bool().Draw(t, "binary") {
				m.Binary, m.Payload = true, rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
			}
			if rapid.Bool().Draw(t, "keyed") {
				m.Key = rapid.SliceOfN(rapid.Byte(), 0, store.MaxKeyBytes).Draw(t, "key")
			}
			return m
		}), 1, 20).Draw(t, "messages")
		p, err := decode(written(sequence, topic, messages...))
		if err != nil || p.sequence != sequence || p.topic != topic || !slices.EqualFunc(p.messages, messages, same) {
			t.Fatalf("%d %q %v came as %d %q %v, %v", sequence, topic, messages, p.sequence, p.topic, p.messages, err)
		}
	})
}

func same(a, b channels.Message) bool {
	return a.Topic == b.Topic && a.Event == b.Event && (a.Key == nil) == (b.Key == nil) && bytes.Equal(a.Key, b.Key) &&
		bytes.Equal(a.Payload, b.Payload) && a.Binary == b.Binary && a.Offset == 0 && a.InsertedAt.IsZero()
}

// TestWireTurnsDownWhatIsChanged changes each bit of a message, and cuts it at each byte.
func TestWireTurnsDownWhatIsChanged(t *testing.T) {
	t.Parallel()
	data := written(7, "room:1", channels.Message{Event: "said", Key: []byte("key"), Payload: []byte(`{"a":1}`)}, channels.Message{Event: "b", Payload: []byte{1}, Binary: true})
	for bit := range 8 * len(data) {
		changed := bytes.Clone(data)
		changed[bit/8] ^= 1 << (bit % 8)
		if p, err := decode(changed); err == nil {
			t.Errorf("with bit %d changed it is %+v", bit, p)
		}
	}
	for n := range data {
		if p, err := decode(data[:n]); err == nil {
			t.Errorf("the first %d bytes are %+v", n, p)
		}
	}
	if _, err := decode(append(data, 0)); !errors.Is(err, errMalformed) {
		t.Errorf("with a byte more: %v", err)
	}
}

// TestWireTurnsDownWhatNobodySends has messages that are whole and could not have been
// broadcast.
func TestWireTurnsDownWhatNobodySends(t *testing.T) {
	t.Parallel()
	ok := channels.Message{Event: "said", Payload: []byte(`{}`)}
	other := written(1, "t", ok)
	other[len(wireMagic)] = wireVersion + 1
	long := strings.Repeat("x", store.MaxTopicBytes+1)
	for what, data := range map[string][]byte{
		"no sequence":           written(0, "t", ok),
		"no topic":              written(1, "", ok),
		"a topic too long":      written(1, long, ok),
		"a topic with a line":   written(1, "a\nb", ok),
		"a topic not in UTF-8":  written(1, "\xff", ok),
		"no messages":           written(1, "t"),
		"fewer than it says":    appendChecksum(appendMessage(appendHead(nil, 1, "t", 2), &ok)),
		"more than it says":     appendChecksum(appendMessage(appendMessage(appendHead(nil, 1, "t", 1), &ok), &ok)),
		"a count of very many":  appendChecksum(appendMessage(appendHead(nil, 1, "t", 1<<62), &ok)),
		"a length of very much": appendChecksum(append(appendHead(nil, 1, "t", 1), 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1)),
		"an endless number":     appendChecksum(append(appendHead(nil, 1, "t", 1), append([]byte{0}, bytes.Repeat([]byte{0xff}, 20)...)...)),
		"flags of the future":   appendChecksum(append(appendHead(nil, 1, "t", 1), 4, 1, 'e', 2, '{', '}')),
		"no event":              written(1, "t", channels.Message{Payload: []byte(`{}`)}),
		"an event too long":     written(1, "t", channels.Message{Event: long, Payload: []byte(`{}`)}),
		"the protocol's event":  written(1, "t", channels.Message{Event: "phx_close", Payload: []byte(`{}`)}),
		"no object":             written(1, "t", channels.Message{Event: "e", Payload: []byte(`[1]`)}),
		"no JSON":               written(1, "t", channels.Message{Event: "e", Payload: []byte(`{},[`)}),
		"a key too long":        written(1, "t", channels.Message{Event: "e", Key: make([]byte, store.MaxKeyBytes+1), Payload: []byte(`{}`)}),
		"one of two":            written(1, "t", ok, channels.Message{Event: "e", Payload: []byte(`nothing`)}),
		"nothing":               {},
	} {
		if p, err := decode(data); !errors.Is(err, errMalformed) {
			t.Errorf("%s: %+v, %v", what, p, err)
		}
	}
	if _, err := decode(other); !errors.Is(err, errVersion) {
		t.Errorf("another version: %v", err)
	}
}

// TestWireHoldsTheLargest has the largest message that is sent fit into one of the bus.
func TestWireHoldsTheLargest(t *testing.T) {
	t.Parallel()
	longest := strings.Repeat("x", store.MaxTopicBytes)
	m := channels.Message{Topic: longest, Event: longest, Key: make([]byte, store.MaxKeyBytes), Payload: make([]byte, MaxPayload), Binary: true}
	if err := CheckSize(m.Payload); err != nil {
		t.Fatal(err)
	}
	if n := len(written(1<<64-1, longest, m)); n > cluster.MaxData {
		t.Errorf("it has %d bytes of %d", n, cluster.MaxData)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(written(1, "room:1", channels.Message{Event: "said", Payload: []byte(`{"a":1}`)}))
	f.Add(written(1<<40, "t", channels.Message{Event: "e", Key: []byte("k"), Payload: []byte{0}, Binary: true}, channels.Message{Event: "f", Payload: []byte(`{}`)}))
	f.Add([]byte("SB\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, data := range [][]byte{data, appendChecksum(data)} { // the second gets further
			p, err := decode(data)
			if err != nil {
				continue
			}
			again, err := decode(written(p.sequence, p.topic, p.messages...))
			if err != nil || again.sequence != p.sequence || again.topic != p.topic || !slices.EqualFunc(again.messages, p.messages, same) {
				t.Errorf("%+v, written and read: %+v, %v", p, again, err)
			}
		}
	})
}
