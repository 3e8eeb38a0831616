package stages

import (
	"errors"
	"testing"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/store"
)

// historyOf is what channels missed, in a log.
func historyOf(log store.Log, m *Monitor) *LogHistory {
	var stream Stream
	stream.Open(log, nil)
	return NewLogHistory(&stream, m, channels.NewHub(nil))
}

// A client may know of an epoch before this node does. It is not told that it
// cannot resume, which would be false.
func TestResumingFromAnEpochUnheardOf(t *testing.T) {
	t.Parallel()
	log := &chronicle{extent: epochs(15, "a", "b")}
	m := unready()
	m.Open(log.extent)
	history := historyOf(log, m)
	for _, test := range []struct {
		epoch string
		after int64
		whole bool
		looks int // so far
	}{
		{"", 15, true, 0},
		{"b", 15, true, 0},
		{"a", 10, true, 0},
		{"a", 11, false, 0},
		{"b", 16, false, 1}, // it may be ahead of this node
		{"of another log", 3, false, 2},
	} {
		_, whole, err := history.Resume(t.Context(), test.epoch, test.after)
		if err != nil || whole != test.whole || log.looks != test.looks {
			t.Errorf("%+v: whole %v after %d looks, %v", test, whole, log.looks, err)
		}
	}
	log.extent = epochs(25, "a", "b", "c")
	if _, whole, err := history.Resume(t.Context(), "c", 22); whole || !errors.Is(err, ErrNewEpoch) {
		t.Errorf("whole %v, %v", whole, err)
	}
	select {
	case <-m.suspected:
	default:
		t.Error("the pulse is not due")
	}
}

func TestAReplayMeetsAnotherEpoch(t *testing.T) {
	t.Parallel()
	m := unready()
	if _, _, err := historyOf(&chronicle{}, m).Replay(t.Context(), "a", 0, 10, 10, 1000); !errors.Is(err, store.ErrNewEpoch) {
		t.Errorf("replayed, with %v", err)
	}
	<-m.suspected
	if _, err := historyOf(&chronicle{}, m).Tail(t.Context(), "a", 1, 10); !errors.Is(err, store.ErrNewEpoch) {
		t.Errorf("the last events, with %v", err)
	}
	select {
	case <-m.suspected:
	default:
		t.Error("the pulse is not due")
	}
}
