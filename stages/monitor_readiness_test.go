package stages

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/store"
)

// discreet is a reason that has names in it.
type discreet struct{}

func (discreet) Error() string   { return "process 7 on host db.internal has it" }
func (discreet) Outline() string { return "another has it" }

func TestReasonsOutlineThemselves(t *testing.T) {
	t.Parallel()
	if got := Outline(fmt.Errorf("waiting: %w", discreet{})); got != "another has it" {
		t.Errorf("outlined as %q", got)
	}
}

// hanging is a log of which one call does not come to an end by itself.
type hanging struct {
	chronicle
	head, sequencing bool
}

func (h *hanging) Head(ctx context.Context) (store.Head, error) {
	if h.head {
		<-ctx.Done()
		return store.Head{}, fmt.Errorf("read head: %w", ctx.Err())
	}
	return h.chronicle.Head(ctx)
}

func (h *hanging) Sequencing(ctx context.Context) error {
	if h.sequencing {
		<-ctx.Done()
		return fmt.Errorf("look for events: %w", ctx.Err())
	}
	return nil
}

// TestNotReadyWithinTenSeconds has a log hang, as behind somebody's lock, or do nothing for the
// line: whoever asks knows of it in time.
func TestNotReadyWithinTenSeconds(t *testing.T) {
	t.Parallel()
	for name, log := range map[string]*hanging{
		"head": {head: true}, "sequencing": {sequencing: true}, "the line stands still": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := unready()
				log.extent = epochs(7, "a")
				m.Open(log.extent)
				works := &hanging{}
				works.extent = log.extent
				if err := m.beat(t.Context(), works, func() int64 { return 7 }); err != nil || m.readiness.Reason() != nil {
					t.Fatal(err, m.readiness.Reason())
				}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1) // one send, by watch's goroutine
				go func() { ended <- m.Watch(ctx, log, func() int64 { return 6 }) }()
				time.Sleep(10 * time.Second) // of the test's own clock
				reason := m.readiness.Reason()
				if reason == nil {
					t.Fatal("ready")
				}
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
