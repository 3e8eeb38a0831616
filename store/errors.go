package store

import (
	"errors"
	"fmt"
	"time"
)

// ErrTrimmed is returned for a position whose successor is no longer kept.
var ErrTrimmed = errors.New("store: events after this offset have been trimmed")

// ErrNewEpoch is returned for a read of an epoch that is no longer the log's: the
// offsets that follow may be those of other events.
var ErrNewEpoch = errors.New("store: the log has begun a new epoch")

// ErrClosed is returned by a log after its Close.
var ErrClosed = errors.New("store: closed")

// InvalidError says which draft cannot be written, and why. Nothing of its
// call has been written; the same drafts will never be accepted.
type InvalidError struct {
	Index  int    // which draft of the call, from 0; -1 if the database refused and did not say
	Field  string // "topic", "event", "key" or "payload"; empty if unknown
	Reason string // for the author of the draft: what is wrong and what is allowed
}

func (e *InvalidError) Error() string {
	switch {
	case e.Index < 0 && e.Field == "":
		return "store: invalid event: " + e.Reason
	case e.Index < 0:
		return fmt.Sprintf("store: invalid event: %s %s", e.Field, e.Reason)
	}
	return fmt.Sprintf("store: invalid event %d: %s %s", e.Index, e.Field, e.Reason)
}

// UnavailableError says that the database could not be reached, or could not
// answer now. It passes: the same call may succeed later.
type UnavailableError struct {
	Op   string // the engine, what was tried, and its key values
	Addr string // where: "127.0.0.1:5432", or a file's path; never a password
	Hint string // what the operator can do about it; may be empty

	// MaybeDone is true for a write that was sent but not answered: it may
	// have been done, so that making the call again may do it twice.
	MaybeDone bool

	Err error // the driver's own words
}

func (e *UnavailableError) Error() string {
	text := fmt.Sprintf("%s at %s: %v", e.Op, e.Addr, e.Err)
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

func (e *UnavailableError) Unwrap() error { return e.Err }

// MaxStall is for how long events may wait in the outbox, with none sequenced,
// before [Log.Sequencing] says so.
const MaxStall = 5 * time.Second

// StalledError says that events wait in the outbox and nobody sequences them, or
// that this node, whose turn it is, cannot tell whether there are any.
type StalledError struct {
	For  time.Duration // as this node has seen it
	Err  error         // why; nil where it is another node's to know
	Hint string        // whose turn it is then, and what to do; may be empty
}

func (e *StalledError) Error() string {
	text := fmt.Sprintf("for %v, events of the outbox have not been sequenced", e.For.Round(time.Second))
	switch {
	case e.Err != nil:
		return text + ": " + e.Err.Error()
	case e.Hint != "":
		return text + ": " + e.Hint
	}
	return text + ": the log of the node that sequences says why"
}

func (e *StalledError) Unwrap() error { return e.Err }

// RetrySafe reports whether the call that returned err did nothing and may
// well succeed when it is made again, as it is.
func RetrySafe(err error) bool {
	var unavailable *UnavailableError
	return errors.As(err, &unavailable) && !unavailable.MaybeDone
}
