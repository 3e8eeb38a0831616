package sluice

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sluicehq/sluice/store"
)

// failingLog is one whose reads fail by turns.
type failingLog struct {
	store.Log
	extent, cursor []error // of the next reads; none left: they succeed
}

func turn(errs *[]error) (err error) {
	if len(*errs) > 0 {
		err, *errs = (*errs)[0], (*errs)[1:]
	}
	return err
}

func (l *failingLog) Extent(context.Context) (store.Extent, error) {
	return store.Extent{Head: store.Head{Epoch: "e", Offset: 9}, Epochs: []store.Epoch{{ID: "e", First: 1}}}, turn(&l.extent)
}

func (l *failingLog) Cursor(context.Context, string) (store.Cursor, bool, error) {
	return store.Cursor{Epoch: "e", Offset: 7}, true, turn(&l.cursor)
}

// TestStartAtAnOffset: one that the log has reached is begun after, one above its head
// is refused, and not taken for another.
func TestStartAtAnOffset(t *testing.T) {
	t.Parallel()
	for start, want := range map[string]int64{"0": 0, "8": 8, "9": 9, "head": 9, "10": -1, "9223372036854775807": -1} {
		config := DefaultConfig()
		config.Start, config.Logger = start, slog.New(slog.DiscardHandler)
		s, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		at, err := s.begin(t.Context(), &failingLog{})
		wrong := new(FieldError)
		switch {
		case want >= 0 && (err != nil || at.Offset != want):
			t.Errorf("--start %s begins after %d, %v", start, at.Offset, err)
		case want < 0 && (!errors.As(err, &wrong) || wrong.Field != "Start" || wrong.Given != start || !strings.Contains(wrong.Allowed, "head, which is 9")):
			t.Errorf("--start %s: %v", start, err)
		}
	}
}

// TestStartOutlivesOutages: what fails for a moment is asked again, what fails for
// good ends the start, and so does its end.
func TestStartOutlivesOutages(t *testing.T) {
	t.Parallel()
	away := &store.UnavailableError{Op: "read", Addr: "here", Err: errors.New("away")}
	broken := errors.New("broken")
	for _, test := range []struct {
		extent, cursor []error
		want           error
	}{
		{nil, nil, nil},
		{[]error{away}, nil, nil},
		{nil, []error{away}, nil},
		{[]error{away, away, nil, away, nil}, []error{away, away, away}, nil},
		{[]error{away, broken}, nil, broken},
		{nil, []error{broken}, broken},
	} {
		synctest.Test(t, func(t *testing.T) {
			config := DefaultConfig()
			config.Logger = slog.New(slog.DiscardHandler)
			s, err := New(config)
			if err != nil {
				t.Fatal(err)
			}
			at, err := s.begin(t.Context(), &failingLog{extent: test.extent, cursor: test.cursor})
			if !errors.Is(err, test.want) || err == nil && at != (store.Cursor{Epoch: "e", Offset: 7}) {
				t.Errorf("begins at %+v, %v", at, err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := s.begin(ctx, &failingLog{extent: []error{away, away, away}}); err == nil {
				t.Error("began after its end")
			}
		})
	}
}
