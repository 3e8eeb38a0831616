package relay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/store"
)

func anyEvent(t *rapid.T, offset int64) store.Event {
	e := store.Event{
		Offset:     offset,
		Topic:      rapid.StringN(1, 40, store.MaxTopicBytes).Draw(t, "topic"),
		Name:       rapid.StringN(1, 10, store.MaxNameBytes).Draw(t, "name"),
		Payload:    []byte(rapid.SampledFrom([]string{"{}", `{"a":1}`, strings.Repeat("x", 5000)}).Draw(t, "payload")),
		InsertedAt: time.UnixMicro(rapid.Int64().Draw(t, "inserted")).UTC(),
	}
	if rapid.Bool().Draw(t, "keyed") {
		e.Key = []byte(rapid.StringN(0, 10, store.MaxKeyBytes).Draw(t, "key"))
	}
	return e
}

func anyPage(t *rapid.T) *page {
	p := &page{
		epoch: rapid.StringN(1, 40, maxEpoch).Draw(t, "epoch"),
		shard: rapid.Uint64().Draw(t, "shard"),
		prev:  rapid.Int64Range(0, math.MaxInt64-1000).Draw(t, "prev"),
	}
	at := p.prev
	missing := rapid.Bool().Draw(t, "missing")
	if missing {
		p.flags |= flagMissing
	}
	p.events = []store.Event{}
	for i := range rapid.IntRange(0, 5).Draw(t, "events") {
		delta := int64(1)
		if i == 0 || missing {
			delta = rapid.Int64Range(1, 100).Draw(t, "delta")
		}
		at += delta
		p.events = append(p.events, anyEvent(t, at))
	}
	if len(p.events) == 0 {
		p.flags |= flagMark
	}
	p.head = rapid.Int64Range(at, math.MaxInt64).Draw(t, "head")
	return p
}

// TestPagesComeBack has pages that are written read again, as they were, and none of
// them that has lost its end, or got another.
func TestPagesComeBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := anyPage(t)
		data := appendPage(nil, want)
		got, err := parsePage(data)
		if err != nil {
			t.Fatal(err)
		}
		if got.bytes < len(data) {
			t.Fatalf("a page of %d bytes counts as %d", len(data), got.bytes)
		}
		got.bytes = 0
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
		n := rapid.IntRange(0, len(data)-1).Draw(t, "cut")
		if _, err := parsePage(data[:n]); !errors.Is(err, errMalformed) {
			t.Fatalf("%d of %d bytes: %v", n, len(data), err)
		}
		if _, err := parsePage(append(bytes.Clone(data), 0)); !errors.Is(err, errMalformed) {
			t.Fatalf("a byte more: %v", err)
		}
	})
}

// TestPageIsThese pins version 1 to its bytes: other nodes may be of another build.
func TestPageIsThese(t *testing.T) {
	t.Parallel()
	p := &page{flags: flagMissing, epoch: "e1", prev: 299, head: 400, events: []store.Event{
		{Offset: 301, Topic: "t", Name: "n", Key: []byte("k"), Payload: []byte("{}"), InsertedAt: time.UnixMicro(1)},
		{Offset: 302, Topic: "t", Name: "n", Payload: []byte(`{"a":1}`), InsertedAt: time.UnixMicro(-1)},
	}}
	want := "SL\x01\x02\x02e1\x00\xab\x02\x90\x03\x02" +
		"\x02\x01t\x01n\x02k\x02\x02{}" +
		"\x01\x01t\x01n\x00\x01\x07{\"a\":1}"
	if got := appendPage(nil, p); string(got) != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestBadPagesAreRefused bends a good page in every way that its fields allow.
func TestBadPagesAreRefused(t *testing.T) {
	t.Parallel()
	uvarint := func(n uint64) string { return string(binary.AppendUvarint(nil, n)) }
	event := "\x01\x01t\x01n\x00\x02\x02{}"
	good := "SL\x01\x00\x01e\x00\x05\x09\x01" + event
	if _, err := parsePage([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		data string
		want error
	}{
		"nothing":                {"", errMalformed},
		"other magic":            {"XL" + good[2:], errMalformed},
		"a later version":        {"SL\x02" + good[3:], errVersion},
		"version 0":              {"SL\x00" + good[3:], errVersion},
		"an unknown flag":        {"SL\x01\x04" + good[4:], errMalformed},
		"no epoch":               {"SL\x01\x00\x00\x00\x05\x09\x01" + event, errMalformed},
		"a mark with events":     {"SL\x01\x01" + good[4:], errMalformed},
		"no mark, no events":     {"SL\x01\x00\x01e\x00\x05\x09\x00", errMalformed},
		"a head before its end":  {"SL\x01\x00\x01e\x00\x05\x05\x01" + event, errMalformed},
		"an offset too large":    {"SL\x01\x00\x01e\x00" + uvarint(1<<63) + "\x09\x01" + event, errMalformed},
		"an offset beyond all":   {"SL\x01\x00\x01e\x00" + uvarint(math.MaxInt64) + uvarint(math.MaxInt64) + "\x01" + event, errMalformed},
		"a number without end":   {"SL\x01\x00\x01e\x00" + strings.Repeat("\xff", 11) + "\x09\x01" + event, errMalformed},
		"a delta of 0":           {good[:10] + "\x00" + event[1:], errMalformed},
		"one left out, not told": {"SL\x01\x00\x01e\x00\x05\x09\x02" + event + "\x02" + event[1:], errMalformed},
		"more events than bytes": {"SL\x01\x00\x01e\x00\x05\x09" + uvarint(math.MaxUint64) + event, errMalformed},
		"fewer than it says":     {"SL\x01\x00\x01e\x00\x05\x09\x02" + event, errMalformed},
		"more than it says":      {good + event, errMalformed},
		"no topic":               {good[:10] + "\x01\x00\x01n\x00\x02\x02{}", errMalformed},
		"no name":                {good[:10] + "\x01\x01t\x00\x00\x02\x02{}", errMalformed},
		"a long topic":           {good[:10] + "\x01" + uvarint(256) + strings.Repeat("t", 256) + "\x01n\x00\x02\x02{}", errMalformed},
		"a long key":             {good[:10] + "\x01\x01t\x01n" + uvarint(1026) + strings.Repeat("k", 1025) + "\x02\x02{}", errMalformed},
		"a payload without end":  {good[:10] + "\x01\x01t\x01n\x00\x02" + uvarint(math.MaxUint64) + "{}", errMalformed},
	} {
		if _, err := parsePage([]byte(test.data)); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	many := "SL\x01\x00\x01e\x00\x05" + uvarint(1<<40) + uvarint(maxPageEvents+1) + strings.Repeat(event, maxPageEvents+1)
	if _, err := parsePage([]byte(many)); !errors.Is(err, errMalformed) {
		t.Errorf("more events than a page has: %v", err)
	}
}

func FuzzParsePage(f *testing.F) {
	f.Add(appendPage(nil, &page{epoch: "e", prev: 5, head: 9, events: []store.Event{{Offset: 6, Topic: "t", Name: "n", Key: []byte{}, Payload: []byte("{}")}}}))
	f.Add(appendPage(nil, &page{flags: flagMark, epoch: "e", prev: 5, head: 9}))
	f.Add(appendPage(nil, &page{flags: flagMissing, epoch: "e", head: 9, events: []store.Event{{Offset: 6, Topic: "t", Name: "n"}, {Offset: 8, Topic: "t", Name: "n"}}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parsePage(data)
		if err != nil {
			if p != nil || !errors.Is(err, errMalformed) && !errors.Is(err, errVersion) {
				t.Fatal(p, err)
			}
			return
		}
		if (len(p.events) == 0) != (p.flags&flagMark != 0) || p.bytes > len(data)*(1+eventSize/minEventBytes)+pageSize+cap(data)-len(data) {
			t.Fatalf("%d events take %d bytes, of %d", len(p.events), p.bytes, len(data))
		}
		again, err := parsePage(appendPage(nil, p))
		if err != nil {
			t.Fatal(err)
		}
		again.bytes = p.bytes
		if !reflect.DeepEqual(again, p) {
			t.Fatalf("got  %+v\nwant %+v", again, p)
		}
	})
}
