package stages

import (
	"context"
	"log/slog"
	"sync"

	"github.com/sluicehq/sluice/store"
)

// Memory is what Erasures needs of who remembers events, such as the hub.
type Memory interface {
	// Forget lets go of a topic's events up to an offset, ForgetAll of all topics'.
	Forget(topic string, upTo int64)
	ForgetAll(upTo int64)
}

// Erasures keeps this node's memory in step with what is erased in the log, by
// whatever node.
type Erasures struct {
	// Immutable after NewErasures.
	memory Memory
	logger *slog.Logger

	mu   sync.Mutex
	seen int64 // number of the last erasure that was dealt with; guarded by mu
}

// NewErasures returns what has memory let go of what is erased.
func NewErasures(memory Memory, logger *slog.Logger) *Erasures {
	return &Erasures{memory: memory, logger: logger}
}

// Begin notes what was erased before this node read anything.
func (e *Erasures) Begin(number int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen = number
}

// Forget lets go of what has been erased since, if the log's head says that
// something was.
func (e *Erasures) Forget(ctx context.Context, log store.Log, head store.Head) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if head.Erased <= e.seen {
		return nil
	}
	list, err := log.Erasures(ctx, e.seen)
	if err != nil {
		return err
	}
	if len(list) == 0 || list[0].Number != e.seen+1 { // it was away for too long to know which
		e.memory.ForgetAll(head.Offset)
		e.seen = head.Erased
	}
	for _, each := range list {
		e.memory.Forget(each.Topic, each.UpTo)
		e.seen = max(e.seen, each.Number)
	}
	e.logger.Info("erased events forgotten", "erasures", len(list))
	return nil
}
