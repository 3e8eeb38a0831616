package outbound

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestSegmentFromAnOffset(t *testing.T) {
	t.Parallel()
	seg := segment(t, "t", Formats(1, 3), 4, 5, 9)
	for _, c := range []struct {
		name     string
		format   Format
		after    int64
		frames   string
		messages int
	}{
		{"all", 1, 0, "1:e 4 {};1:e 5 {};1:e 9 {};", 3},
		{"all, the offset before the first", 3, 3, "3:e 4 {};3:e 5 {};3:e 9 {};", 3},
		{"some", 1, 4, "1:e 5 {};1:e 9 {};", 2},
		{"some, with an offset of another topic", 1, 7, "1:e 9 {};", 1},
		{"none", 1, 9, "", 0},
		{"none, far beyond", 1, 100, "", 0},
		{"a format that was not encoded", 2, 0, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			frames, messages := after(seg, c.after, c.format)
			if frames != c.frames || messages != c.messages {
				t.Fatalf("got %q, %d messages", frames, messages)
			}
		})
	}
}

func TestSegmentBroadcast(t *testing.T) {
	t.Parallel()
	seg := segment(t, "t", Formats(0))
	if frames, n := after(seg, 1000, 0); frames != "0:e 0 {};" || n != 1 {
		t.Fatalf("a broadcast is after every offset; got %q, %d", frames, n)
	}
	if seg.Logged() || seg.Last() != 0 || seg.Len() != 1 || seg.oldest != 0 {
		t.Fatalf("a broadcast is not in the log: %+v", seg)
	}
}

func TestBuilder(t *testing.T) {
	t.Parallel()
	b := NewBuilder(plain{})
	b.Start(Audience{Topic: "t", Formats: Formats(0, 1)})
	if b.Segment() != nil {
		t.Fatal("a segment of nothing")
	}
	for i, payload := range []string{"a", "bad", "b"} {
		m := Message{Offset: int64(i + 1), Event: "e", Payload: []byte(payload), InsertedAt: time.Unix(int64(10-i), 0)}
		if err := b.Add(&m); (err != nil) != (payload == "bad") {
			t.Fatalf("%s: %v", payload, err)
		}
	}
	seg := b.Segment()
	if seg.Len() != 2 || seg.Last() != 3 || seg.Topic() != "t" || seg.oldest != time.Unix(8, 0).UnixNano() {
		t.Fatalf("%+v", seg)
	}
	b.Start(Audience{Topic: "other", Formats: Formats(2)}) // must not touch what has been built
	if err := b.Add(&Message{Offset: 9, Event: "x", Payload: []byte("zzzzzzzzzzz")}); err != nil {
		t.Fatal(err)
	}
	for f := range Formats(0, 1).All() {
		if frames, n := after(seg, 0, f); n != 2 || strings.Count(frames, ";") != 2 {
			t.Fatalf("format %d: %q", f, frames)
		}
	}
}

// half fails in one format only.
type half struct{ plain }

func (half) AppendMessage(dst []byte, f Format, m *Message) ([]byte, error) {
	if f == 1 && string(m.Payload) == "half" {
		return dst, errors.New("not in format 1")
	}
	return plain{}.AppendMessage(dst, f, m)
}

func TestBuilderLeavesOutOfAllFormats(t *testing.T) {
	t.Parallel()
	b := NewBuilder(half{})
	b.Start(Audience{Topic: "t", Formats: Formats(0, 1)})
	for i, payload := range []string{"half", "a", "half", "b"} {
		if err := b.Add(&Message{Offset: int64(i + 1), Event: "e", Payload: []byte(payload)}); (err != nil) != (payload == "half") {
			t.Fatalf("%s: %v", payload, err)
		}
	}
	frames, n := after(b.Segment(), 2, 0)
	if frames != "0:e 4 b;" || n != 1 {
		t.Fatalf("%q, %d", frames, n)
	}
}

func TestFormatSet(t *testing.T) {
	t.Parallel()
	s := Formats(0, 3, 15)
	var all []Format
	for f := range s.All() {
		all = append(all, f)
	}
	if len(all) != 3 || all[0] != 0 || all[1] != 3 || all[2] != 15 {
		t.Fatal(all)
	}
}
