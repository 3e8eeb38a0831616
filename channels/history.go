package channels

import (
	"context"
	"errors"
)

// ErrGone is returned by a History for events that are no longer kept.
var ErrGone = errors.New("channels: events are no longer kept")

// History is where channels read what they missed. The front door fulfils it
// from the log.
type History interface {
	// Replay returns a topic's events with after < offset <= upTo, in order, at
	// most limit of them and not many more than bytes. They are all that there are up to
	// through, which is upTo unless they were cut short, or the answer comes from
	// who has not seen that much yet: then it is asked again. It returns ErrGone if
	// some are no longer kept.
	Replay(ctx context.Context, topic string, after, upTo int64, limit, bytes int) (events []Message, through int64, err error)

	// Resume tells whether a client that has seen the log of that epoch (the
	// present one, if it does not say) up to an offset can have all that came
	// after. If it cannot, it begins anew, and gets nothing up to from: it has seen
	// that, or it is no longer kept. This node need not have come as far yet.
	Resume(ctx context.Context, epoch string, after int64) (from int64, whole bool, err error)
}
