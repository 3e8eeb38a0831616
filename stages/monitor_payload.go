package stages

import (
	"cmp"
	"log/slog"
	"sync/atomic"

	"github.com/sluicehq/sluice/store"
)

// PayloadBound is how many bytes an event's payload may have. It is the log's, so
// that all nodes have the same, and is read with its head.
type PayloadBound struct {
	given  int64 // to this node, by its configuration; 0: nothing
	text   func(bytes int64) string
	logger *slog.Logger

	present atomic.Int64
}

// NewPayloadBound returns the bound that is given to a node, 0 for none, with what
// writes it for the log of what happens.
func NewPayloadBound(given int64, text func(bytes int64) string, logger *slog.Logger) *PayloadBound {
	b := &PayloadBound{given: given, text: text, logger: logger}
	b.present.Store(cmp.Or(b.given, store.DefaultMaxPayload)) // until the log is open
	return b
}

// Bytes is the bound at present. A nil one bounds nothing.
func (b *PayloadBound) Bytes() int64 {
	if b == nil {
		return 0
	}
	return b.present.Load()
}

// adopt takes over what the log says, and tells of a change. What is given to a node
// counts for all, as it is written to the log at start; so another was started since.
func (b *PayloadBound) adopt(bytes int64) {
	if b == nil || bytes == 0 {
		return
	}
	switch before := b.present.Swap(bytes); {
	case before == bytes:
	case b.given != 0 && b.given != bytes:
		b.logger.Warn("another node was started with another --max-payload-bytes, which counts for all: give all nodes the same",
			"given", b.text(b.given), "counts", b.text(bytes))
	default:
		b.logger.Info("the log's --max-payload-bytes counts", "before", b.text(before), "counts", b.text(bytes))
	}
}
