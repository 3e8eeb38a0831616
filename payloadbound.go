package sluice

import (
	"cmp"
	"log/slog"
	"sync/atomic"

	"github.com/sluicehq/sluice/store"
)

// What --max-payload-bytes may be.
const (
	minPayloadBound = 1 << 10
	maxPayloadBound = 256 << 20
	payloadBounds   = "1KiB to 256MiB (0: what the store says, 1 MiB at first)"
)

// payloadBound is how many bytes an event's payload may have. It is the log's, so
// that all nodes have the same, and is read with its head.
type payloadBound struct {
	given  int64 // to this node, by its configuration; 0: nothing
	logger *slog.Logger

	present atomic.Int64
}

func newPayloadBound(given ByteSize, logger *slog.Logger) *payloadBound {
	b := &payloadBound{given: int64(given), logger: logger}
	b.present.Store(cmp.Or(b.given, store.DefaultMaxPayload)) // until the log is open
	return b
}

// bytes is the bound at present. A nil one bounds nothing.
func (b *payloadBound) bytes() int64 {
	if b == nil {
		return 0
	}
	return b.present.Load()
}

// adopt takes over what the log says, and tells of a change. What is given to a node
// counts for all, as it is written to the log at start; so another was started since.
func (b *payloadBound) adopt(bytes int64) {
	if b == nil || bytes == 0 {
		return
	}
	switch before := b.present.Swap(bytes); {
	case before == bytes:
	case b.given != 0 && b.given != bytes:
		b.logger.Warn("another node was started with another --max-payload-bytes, which counts for all: give all nodes the same",
			"given", ByteSize(b.given), "counts", ByteSize(bytes))
	default:
		b.logger.Info("the log's --max-payload-bytes counts", "before", ByteSize(before), "counts", ByteSize(bytes))
	}
}
