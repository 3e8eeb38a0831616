package store_test

import (
	"testing"

	"github.com/sluicehq/sluice/store"
)

func TestResume(t *testing.T) {
	t.Parallel()
	// Epoch b began when the log was failed over at 100, c at once again, and
	// d when it had reached 150.
	h := store.Extent{
		Head:   store.Head{Epoch: "d", Offset: 200, Trimmed: 50},
		Epochs: []store.Epoch{{ID: "a", First: 1}, {ID: "b", First: 101}, {ID: "c", First: 101}, {ID: "d", First: 151}},
	}
	for _, test := range []struct {
		epoch  string
		offset int64
		after  int64
		whole  bool
	}{
		{"d", 200, 200, true},
		{"d", 151, 151, true},
		{"d", 70, 70, true}, // came from an earlier epoch, and was resumed
		{"d", 50, 50, true},
		{"d", 49, 50, false}, // 50 is trimmed
		{"d", 0, 50, false},
		{"d", 201, 200, false}, // the log ends before it
		{"c", 150, 150, true},
		{"c", 151, 150, false}, // of c, and now there is another 151
		{"c", 200, 150, false},
		{"b", 100, 100, true},
		{"b", 101, 100, false},
		{"a", 50, 50, true},
		{"a", 100, 100, true},
		{"a", 101, 100, false},
		{"a", 5000, 100, false},
		{"a", 49, 50, false},
		{"", 150, 150, true},
		{"", 49, 50, false},
		{"", 201, 200, false},
		{"other", 60, 50, false},
	} {
		if after, whole := h.Resume(store.Cursor{Epoch: test.epoch, Offset: test.offset}); after != test.after || whole != test.whole {
			t.Errorf("%q at %d resumes after %d, whole %v; want %d, %v", test.epoch, test.offset, after, whole, test.after, test.whole)
		}
	}
}

func TestResumeInATrimmedEpoch(t *testing.T) {
	t.Parallel()
	h := store.Extent{
		Head:   store.Head{Epoch: "b", Offset: 100, Trimmed: 100},
		Epochs: []store.Epoch{{ID: "a", First: 1}, {ID: "b", First: 81}},
	}
	for _, at := range []store.Cursor{{Epoch: "a", Offset: 80}, {Epoch: "a", Offset: 100}} {
		if after, whole := h.Resume(at); after != 100 || whole != (at.Offset == 100 && at.Epoch == "b") {
			t.Errorf("%+v resumes after %d, whole %v; want 100, false", at, after, whole)
		}
	}
}
