package sluice

import (
	"context"
	"errors"
	"log/slog"
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
