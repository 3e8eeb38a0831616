package stages

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/sluicehq/sluice/store"
)

// Stream is the log and the line that reads it, once the store is open. The zero
// Stream is not; one goroutine opens it, and any may ask for what is in it.
type Stream struct{ opened atomic.Pointer[opened] }

type opened struct {
	log  store.Log
	line *Delivery
}

// Open says that the store is open, and which line reads it.
func (s *Stream) Open(log store.Log, line *Delivery) { s.opened.Store(&opened{log, line}) }

// Log is the log, nil until the store is open.
func (s *Stream) Log() store.Log {
	if opened := s.opened.Load(); opened != nil {
		return opened.log
	}
	return nil
}

// Position is the offset up to which this node has routed everything, 0 until the
// store is open.
func (s *Stream) Position() int64 {
	if opened := s.opened.Load(); opened != nil {
		return opened.line.Position()
	}
	return 0
}

// epochWatcher is the log as the line reads it: where that meets another epoch than
// its own, which it gets nothing of, the monitor looks at once.
type epochWatcher struct {
	store.Log
	suspect func()
}

// WatchEpoch is the log, with suspect called where a read meets another epoch than
// the one that it asks for.
func WatchEpoch(log store.Log, suspect func()) Reader { return epochWatcher{log, suspect} }

// Fetch implements [Reader].
func (w epochWatcher) Fetch(ctx context.Context, after int64, limit store.Limit) ([]store.Event, error) {
	events, err := w.Log.Fetch(ctx, after, limit)
	if errors.Is(err, store.ErrNewEpoch) {
		w.suspect()
	}
	return events, err
}
