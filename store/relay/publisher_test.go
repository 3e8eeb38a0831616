package relay

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/store"
)

func (m *member) unpublished(why string) int64 {
	return m.count(metrics.RelayUnpublished, metrics.Reason(why))
}

// TestFrequentRoundsDoNotHoldUpOthers has rounds follow one another sooner than the node's own
// line, which reads nothing, is waited for: the others have what came first in that time.
func TestFrequentRoundsDoNotHoldUpOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCast(t, 2, Config{})
		time.Sleep(2 * markInterval) // of the test's own clock
		leader, other := c.mine[0], c.mine[1]
		began := time.Now()
		for other.log.State().Last == 0 && time.Since(began) < time.Second {
			leader.move(1, 0)
			time.Sleep(patience / 4) // of the test's own clock
			c.settle()
		}
		if took := time.Since(began); took > 2*patience {
			t.Errorf("the first page has come after %v", took)
		}
	})
}

// TestWhatWasReadAheadIsNotReadAgain has the node's own line begin to read when what it wants
// has just been read for the others.
func TestWhatWasReadAheadIsNotReadAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCast(t, 2, Config{})
		time.Sleep(2 * markInterval) // of the test's own clock
		leader := c.mine[0]
		leader.move(5, 0)
		time.Sleep(2 * patience) // of the test's own clock
		c.settle()
		before := leader.fetches.Load()
		if before != 1 {
			t.Fatalf("it was read for the others %d times", before)
		}
		for after := range int64(5) { // it has looked for pages, and found none
			events, err := leader.log.publisher.read(t.Context(), after, store.Limit{Events: 10, Epoch: "first"})
			if err != nil || int64(len(events)) != 5-after {
				t.Errorf("%d events, %v", len(events), err)
			}
		}
		if got := leader.fetches.Load(); got != before {
			t.Errorf("the database was read %d times more", got-before)
		}
	})
}

// TestWhatIsGivenUpIsCounted has what was sequenced stay unread: since the database is away
// when it is to be read for the others, or since another node has sequenced after it.
func TestWhatIsGivenUpIsCounted(t *testing.T) {
	t.Parallel()
	t.Run("away", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			c := newCast(t, 2, Config{})
			time.Sleep(2 * markInterval) // of the test's own clock
			leader := c.mine[0]
			leader.away.Store(true)
			leader.move(7, 0)
			time.Sleep(2 * patience) // of the test's own clock
			c.settle()
			if n := leader.unpublished("unread"); n != 7 {
				t.Errorf("of 7 events that nobody could read, %d are counted", n)
			}
		})
	})
	t.Run("overtaken", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			c := newCast(t, 2, Config{})
			time.Sleep(2 * markInterval) // of the test's own clock
			leader, other := c.mine[0], c.mine[1]
			leader.move(3, 0)
			other.move(2, 2)
			leader.move(1, 1)
			c.settle()
			if n := leader.unpublished("unread"); n != 3 {
				t.Errorf("of 3 events that another round has overtaken, %d are counted", n)
			}
			if n := other.unpublished("unread"); n != 0 {
				t.Errorf("%d are counted where none is missing", n)
			}
		})
	})
	t.Run("alone", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			c := newCast(t, 1, Config{})
			leader := c.mine[0]
			leader.move(3, 0)
			leader.sequence(1, nil)
			c.settle()
			if n := leader.unpublished("unread"); n != 0 {
				t.Errorf("a node that is alone counts %d", n)
			}
		})
	})
}

// TestAnOverEpochIsKnown has a node hear that the epoch is another, and then a page of the one
// before, of a node that has not heard of it: that is no reason to doubt the one that is.
func TestAnOverEpochIsKnown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCast(t, 2, Config{})
		time.Sleep(2 * markInterval) // of the test's own clock
		m := c.mine[1]
		for _, epoch := range []string{"second", "third"} {
			c.db.begin(epoch, 0)
			if _, err := m.log.Head(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for _, over := range []string{"first", "second"} {
			m.log.take(&page{epoch: over, head: 9, flags: flagMark}, true)
			if m.log.knownEpoch() != "third" {
				t.Errorf("a page of %s has the epoch be in doubt", over)
			}
		}
		m.log.take(&page{epoch: "fourth", head: 9, flags: flagMark}, true)
		if m.log.knownEpoch() != "" {
			t.Error("a page of an epoch that nobody has heard of has it not be asked for")
		}
		m.log.note(store.Head{Epoch: "first"}) // as after a restore
		if slices.Contains(m.log.past, "first") {
			t.Error("the epoch that is counts as over")
		}
		for i := range 2 * maxPast {
			m.log.note(store.Head{Epoch: string(rune('a' + i))})
		}
		if n := len(m.log.past); n > maxPast {
			t.Errorf("%d epochs are kept", n)
		}
	})
}
