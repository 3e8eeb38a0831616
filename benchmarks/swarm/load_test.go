package swarm

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestLoadSharesEventsOut(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		load := Load{Topics: rapid.IntRange(1, 20).Draw(t, "topics"), Sockets: rapid.IntRange(1, 20).Draw(t, "sockets")}
		if rapid.Bool().Draw(t, "channels each") {
			load.Channels = rapid.IntRange(1, 25).Draw(t, "channels")
		}
		if err := load.Validate(); err != nil {
			t.Fatal(err)
		}
		events := rapid.Int64Range(0, 100).Draw(t, "events")
		shares := make([]int64, load.Topics)
		for i := range events {
			e := load.Event(i, 0)
			if e.Number*int64(load.Topics)+int64(e.Topic) != i || e.Number != shares[e.Topic] {
				t.Fatalf("event %d is %+v", i, e)
			}
			shares[e.Topic]++
		}
		watchers := make([]int, load.Topics)
		var deliveries int64
		for s := range load.Sockets {
			watched := load.Watched(s)
			if !slices.IsSorted(watched) || len(slices.Compact(slices.Clone(watched))) != len(watched) || load.Channels > 0 && len(watched) < min(load.Channels, load.Topics) {
				t.Fatalf("socket %d watches %v", s, watched)
			}
			for _, topic := range watched {
				watchers[topic]++
				deliveries += shares[topic]
			}
		}
		for topic, want := range shares {
			if watchers[topic] == 0 || watchers[topic] != load.watchers(topic) {
				t.Fatalf("%d sockets watch topic %d, or %d", watchers[topic], topic, load.watchers(topic))
			}
			if got := load.Share(topic, events); got != want {
				t.Fatalf("topic %d gets %d events, want %d", topic, got, want)
			}
		}
		if got := load.Deliveries(events); got != deliveries {
			t.Fatalf("%d deliveries, want %d", got, deliveries)
		}
	})
}

func TestPayloadIsJSONOfItsSize(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 64, 128, 1000, 4096} {
		payload := Load{Payload: size}.AppendPayload(nil, Event{Topic: 12, Number: 3456, At: 1_700_000_000_000_000_000})
		var says struct{ N, T, At int64 }
		if err := json.Unmarshal(payload, &says); err != nil || says.N != 3456 || says.T != 12 || says.At != 1_700_000_000_000_000_000 {
			t.Errorf("%s: %+v, %v", payload, says, err)
		}
		if len(payload) != size && size >= 64 {
			t.Errorf("%d bytes instead of %d: %s", len(payload), size, payload)
		}
	}
}

// Events are found wherever they stand, and nothing else is taken for one.
func TestEventsAreFound(t *testing.T) {
	t.Parallel()
	load := Load{Topics: 9, Sockets: 1, Payload: 70}
	one, two := string(load.AppendPayload(nil, Event{3, 14, 15})), string(load.AppendPayload(nil, Event{5, 9, 26}))
	for text, want := range map[string][]Event{
		one:                                  {{3, 14, 15}},
		`[null,null,"t","tick",` + one + `]`: {{3, 14, 15}},
		`{"push":{"data":` + one + "}}\n{}\n{\"push\":" + two + `}`: {{3, 14, 15}, {5, 9, 26}},
		"":                              nil,
		`{"n":`:                         nil,
		`{"n":}`:                        nil,
		`{"n":1`:                        nil,
		`{"n":1}`:                       nil,
		`{"n":1,"t":2}`:                 nil,
		`{"n":1,"t":x,"at":3}`:          nil,
		`{"n":1,"t":2,"at":`:            nil,
		`{"n":"1","t":2,"at":3}`:        nil,
		`{"n":{"n":1,"t":2,"at":3}}`:    {{2, 1, 3}},
		`{"n":99999999999999999999999,`: nil,
		strings.Repeat(`{"n":`, 50):     nil,
	} {
		var got []Event
		for e := range Events([]byte(text)) {
			got = append(got, e)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s gives %+v, want %+v", text, got, want)
		}
	}
}

func TestLoadIsValidated(t *testing.T) {
	t.Parallel()
	for _, wrong := range []Load{
		{0, 1, 0, 0}, {1, 0, 0, 0}, {1, 1, 0, -1}, {1, 1, 0, MaxPayload + 1},
		{1, 1, -1, 0},
	} {
		if err := wrong.Validate(); err == nil {
			t.Errorf("%+v is valid", wrong)
		}
	}
	if err := (Load{1, 1, 1, MaxPayload}).Validate(); err != nil {
		t.Error(err)
	}
}
