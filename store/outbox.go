package store

import "time"

// Outbox is how the outbox stands, and who empties it, as a node has seen it last.
type Outbox struct {
	// Rows is how many committed rows wait: exact while they are few, and an estimate
	// of the store's where they are thousands.
	Rows int64

	// Age is for how long the oldest of these has waited, by when it was inserted: a
	// transaction that took long has old rows when it commits.
	Age time.Duration

	Leader Leader
}

// Leader is the node that moves rows from the outbox to the log. At any time there is
// one at most, and what one does that does not know yet that it is none any more
// harms nobody: the store moves rows in one transaction at a time.
type Leader struct {
	Node  string    // its name; empty where nobody is known to lead
	Since time.Time // by the store's clock; zero with no Node
	Self  bool      // it is this node

	// Shared says that each node moves rows in its turn, and none leads: through a
	// transaction pooler no session can hold a lock. Node is this one's then.
	Shared bool
}
