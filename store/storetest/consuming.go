package storetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sluicehq/sluice/store"
)

// testCursorsAreMoved has positions begin, move to and fro from where they are known to be alone,
// be listed and forgotten.
func testCursorsAreMoved(t *testing.T, h Harness) {
	log, other := open(t, h, polling), open(t, h, polling)
	list := func(prefix, after string, limit int) (names string) {
		t.Helper()
		all, err := other.Cursors(t.Context(), prefix, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			if c.UpdatedAt.IsZero() {
				t.Errorf("%s was never moved", c.Name)
			}
			names += fmt.Sprintf("%s=%s:%d ", c.Name, c.Epoch, c.Offset)
		}
		return names
	}
	move := func(name string, from *store.Cursor, to store.Cursor, want bool) {
		t.Helper()
		if moved, err := log.MoveCursor(t.Context(), name, from, to); err != nil || moved != want {
			t.Errorf("%s from %v to %v: %v, %v", name, from, to, moved, err)
		}
	}
	if got := list("", "", 10); got != "" {
		t.Errorf("a new store has %s", got)
	}
	five, three, elsewhere := store.Cursor{Epoch: "e", Offset: 5}, store.Cursor{Epoch: "e", Offset: 3}, store.Cursor{Epoch: "f", Offset: 1}
	move("c/a", &five, three, false) // there is none
	move("c/a", nil, five, true)
	move("c/a", nil, three, false) // there is one
	move("c/a", &three, elsewhere, false)
	move("c/a", &five, three, true)
	move("c/a", &three, elsewhere, true)
	if c, ok, err := other.Cursor(t.Context(), "c/a"); c != elsewhere || !ok || err != nil {
		t.Errorf("it is %v, %v, %v", c, ok, err)
	}
	for _, name := range []string{"c/Z", "c/_", "c/b", "node", "c%"} {
		move(name, nil, three, true)
	}
	for _, test := range []struct {
		prefix, after string
		limit         int
		want          string
	}{
		{"c/", "", 10, "c/Z=e:3 c/_=e:3 c/a=f:1 c/b=e:3 "},
		{"c/", "", 2, "c/Z=e:3 c/_=e:3 "},
		{"c/", "c/_", 1, "c/a=f:1 "},
		{"c/", "c/b", 10, ""},
		{"c%", "", 10, "c%=e:3 "},
		{"x", "", 10, ""},
	} {
		if got := list(test.prefix, test.after, test.limit); got != test.want {
			t.Errorf("those of %q after %q, %d: %s", test.prefix, test.after, test.limit, got)
		}
	}
	for _, want := range []bool{true, false} {
		if deleted, err := log.DeleteCursor(t.Context(), "c/a"); err != nil || deleted != want {
			t.Errorf("deleted: %v, %v", deleted, err)
		}
	}
	if _, ok, err := other.Cursor(t.Context(), "c/a"); ok || err != nil {
		t.Errorf("after it was deleted: %v, %v", ok, err)
	}

	// Of those who begin or move one at a time, one has moved it.
	for offset, from := range []*store.Cursor{nil, {Epoch: "e", Offset: 0}} {
		var moved atomic.Int32
		var group sync.WaitGroup
		for _, log := range []store.Log{log, other, log, other} {
			group.Go(func() {
				ok, err := log.MoveCursor(t.Context(), "raced", from, store.Cursor{Epoch: "e", Offset: int64(offset)})
				if err != nil {
					t.Error(err)
				}
				if ok {
					moved.Add(1)
				}
			})
		}
		group.Wait()
		if moved.Load() != 1 {
			t.Errorf("from %v it was moved %d times", from, moved.Load())
		}
	}
}
