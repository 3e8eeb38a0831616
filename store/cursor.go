package store

import (
	"context"
	"time"
)

// ConsumerCursors begins the names of those cursors that consumers have. No node is named so.
const ConsumerCursors = "consumer/"

// NamedCursor is a cursor as the store lists it.
type NamedCursor struct {
	Name string
	Cursor
	UpdatedAt time.Time // when it was last moved, by the store's clock
}

// Cursors are what lists and moves committed positions, for who reads the log under a name
// of its own. The cursors of nodes are among them: [Log.Commit] is for these.
type Cursors interface {
	// Cursors returns those whose names begin with prefix and come behind the name after, in
	// the order of the names' bytes, at most limit.
	Cursors(ctx context.Context, prefix, after string, limit int) ([]NamedCursor, error)

	// MoveCursor stores a position under name if the one there is still from, nil for none,
	// and tells whether it was. It may move back, and to another epoch. No position beyond
	// the log's head may be stored: it would say that the log has lost events.
	MoveCursor(ctx context.Context, name string, from *Cursor, to Cursor) (moved bool, err error)

	// DeleteCursor forgets a position, and tells whether there was one.
	DeleteCursor(ctx context.Context, name string) (deleted bool, err error)
}
