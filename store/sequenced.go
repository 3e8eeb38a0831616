package store

// Sequenced is what a round of this process's sequencer has moved to the log, and
// committed: the events after one offset, up to and including another.
type Sequenced struct {
	After, Through int64

	// Events are the first of them, if they were read along: none, some or all. Epoch
	// is theirs, and empty where there are none.
	Epoch  string
	Events []Event
}
