package postgres

import (
	"testing"
	"time"
)

// TestBudgetEndsWithOneRow exceeds it again and again: a round gets smaller until
// it is one row, which gets more time each time.
func TestBudgetEndsWithOneRow(t *testing.T) {
	t.Parallel()
	b := newBudget()
	for range 100 {
		was := b
		b.exceeded()
		if b.rows >= was.rows && b.timeout <= was.timeout && was.timeout < maxRoundTimeout {
			t.Fatalf("after %+v comes %+v", was, b)
		}
		if b.rows < 1 || b.bytes < 1 {
			t.Fatalf("nothing is left of it: %+v", b)
		}
	}
	if b.rows != 1 || b.timeout != maxRoundTimeout {
		t.Errorf("it ends as %+v", b)
	}
	for range 100 {
		b.spent(time.Millisecond, true)
	}
	if b.timeout != roundTimeout {
		t.Errorf("what is lost without a word is waited for %v", b.timeout)
	}
	if b.rows != maxRows || b.bytes != maxRoundBytes {
		t.Errorf("a backlog that goes fast ends as %+v", b)
	}
	b.spent(time.Millisecond, false)
	if b.rows != usualRows {
		t.Errorf("after it, %+v", b)
	}
	for range 100 {
		b.spent(2*slowRound, true)
	}
	if b.rows != 1 {
		t.Errorf("what is slow, if it does come to its end, ends as %+v", b)
	}
}
