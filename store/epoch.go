package store

import "slices"

// Epoch is a stretch of a log within which offsets mean the same to everybody.
// Another begins when the database was failed over to a standby or restored
// from a backup: offsets that its predecessor had given out last may then be
// given out again, to other events.
type Epoch struct {
	ID    string
	First int64 // the first offset that it gave, or is to give, out
}

// Extent is how far a log reaches, and the epochs that it went through.
type Extent struct {
	Head
	Epochs       []Epoch // oldest first; the last one's ID is Head.Epoch
	Installation string  // a UUID that tells this log from all others, for good: epochs begin, it stays
}

// Knows tells whether an epoch is one of the log's. No epoch counts as the
// present one.
func (h *Extent) Knows(epoch string) bool {
	return epoch == "" || slices.ContainsFunc(h.Epochs, func(e Epoch) bool { return e.ID == epoch })
}

// Resume says from where on a reader whose position is at may read this log:
// after is the greatest position that both of them have been through. It is
// whole if that is the reader's own, and the log keeps all that follows.
// Otherwise the reader has read events that the log does not have, or not read some
// that the log no longer keeps, and must begin anew. A position without an
// epoch counts as one of the present.
func (h *Extent) Resume(at Cursor) (after int64, whole bool) {
	number := len(h.Epochs) - 1
	if at.Epoch != "" && at.Epoch != h.Epoch {
		number = slices.IndexFunc(h.Epochs, func(e Epoch) bool { return e.ID == at.Epoch })
		if number < 0 {
			return h.Trimmed, false
		}
	}
	shared := h.Offset
	if number+1 < len(h.Epochs) {
		shared = min(shared, h.Epochs[number+1].First-1)
	}
	return max(min(at.Offset, shared), h.Trimmed), h.Trimmed <= at.Offset && at.Offset <= shared
}
