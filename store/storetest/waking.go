package storetest

import (
	"context"
	"errors"
	"testing"

	"github.com/sluicehq/sluice/store"
)

// testAppendWakes hangs if the only way to learn of an event is the poll.
func testAppendWakes(t *testing.T, h Harness) {
	log := open(t, h, neverPolling)
	run(t, log)
	for after := range int64(20) {
		woken := make(chan error, 1)
		go func() { woken <- log.Wait(t.Context(), after) }()
		mustAppend(t, log, numbered("t", 1, 1)...)
		if err := <-woken; err != nil {
			t.Fatal(err)
		}
		fetch(t, log, after, 1)
	}
}

// testCommitWakes expects those who wait on any log to hear of a row that an
// application commits: at once where the database announces it, or else by
// the poll.
func testCommitWakes(t *testing.T, h Harness) {
	settings := polling
	if h.Announces {
		settings = neverPolling
	}
	log, other := open(t, h, settings), open(t, h, settings)
	run(t, log)
	run(t, other)
	for after := range int64(20) {
		if err := insert(t.Context(), h.DB, draft("t", "e", `{}`)); err != nil {
			t.Fatal(err)
		}
		fetch(t, log, after, 1)
		fetch(t, other, after, 1)
	}
}

func fetchHead(t *testing.T, log store.Log) store.Head {
	t.Helper()
	head, err := log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return head
}

func testWaitEnds(t *testing.T, h Harness) {
	log := openAndRun(t, h)
	if err := log.Wait(t.Context(), 0); err != nil { // with the poll
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := log.Wait(ctx, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait with a context that has ended: %v", err)
	}
	mustAppend(t, log, numbered("t", 1, 1)...)
	fetch(t, log, 0, 1)

	patient := open(t, h, neverPolling)
	if err := patient.Wait(t.Context(), 0); err != nil { // for what is there
		t.Fatal(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- patient.Wait(ctx, 1) }()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Wait whose context ends: %v", err)
	}
}
