package stages

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/sluicehq/sluice/store"
)

// eraser is a log of which only erasures are asked.
type eraser struct {
	store.Log
	list []store.Erasure // all that it still knows of
	err  error
}

func (e *eraser) Erasures(_ context.Context, after int64) (list []store.Erasure, err error) {
	for _, each := range e.list {
		if each.Number > after {
			list = append(list, each)
		}
	}
	return list, e.err
}

// notes is a memory that notes what it is told to let go of.
type notes []string

func (n *notes) Forget(topic string, upTo int64) { *n = append(*n, fmt.Sprint(topic, upTo)) }

func (n *notes) ForgetAll(upTo int64) { *n = append(*n, fmt.Sprint("all", upTo)) }

// TestErasuresAreFollowed erases while a node looks, while it is away, and while the
// log cannot be read.
func TestErasuresAreFollowed(t *testing.T) {
	t.Parallel()
	var memory notes
	e := NewErasures(&memory, slog.New(slog.DiscardHandler))
	log := &eraser{}
	e.Begin(3)
	broken := errors.New("broken")
	for _, step := range []struct {
		name   string
		erased int64 // the number of the last erasure, by the head
		list   []store.Erasure
		err    error // of the log
		fails  bool
		want   []string
	}{
		{"nothing since the start", 3, []store.Erasure{{Number: 3, Topic: "old", UpTo: 1}}, nil, false, nil},
		{"not to be read", 5, nil, broken, true, nil},
		{"two more", 5, []store.Erasure{{Number: 4, Topic: "a", UpTo: 10}, {Number: 5, Topic: "b", UpTo: 20}}, nil, false, []string{"a10", "b20"}},
		{"the same still", 5, nil, broken, false, nil}, // it is not asked
		{"some that the log knows no more", 9, []store.Erasure{{Number: 8, Topic: "c", UpTo: 30}, {Number: 9, Topic: "d", UpTo: 40}}, nil, false, []string{"all100", "c30", "d40"}},
		{"none that it knows", 12, nil, nil, false, []string{"all100"}},
		{"the next one", 13, []store.Erasure{{Number: 13, Topic: "e", UpTo: 50}}, nil, false, []string{"e50"}},
	} {
		memory, log.list, log.err = nil, step.list, step.err
		err := e.Forget(t.Context(), log, store.Head{Offset: 100, Erased: step.erased})
		if errors.Is(err, broken) != step.fails || err != nil && !step.fails {
			t.Errorf("%s: %v", step.name, err)
		}
		if !slices.Equal(memory, step.want) {
			t.Errorf("%s: let go of %v, want %v", step.name, memory, step.want)
		}
	}
}
