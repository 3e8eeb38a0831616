package channels

import "fmt"

// Overflow is what happens when a message does not fit into a channel's mailbox
// any more. Whatever the rule, other clients do not notice.
type Overflow uint8

// Disconnect closes the socket of the client that is too slow. It joins again
// and asks for what it missed.
const Disconnect Overflow = 0

// ParseOverflow reads an overflow rule by its name.
func ParseOverflow(name string) (Overflow, error) {
	if name == "disconnect" {
		return Disconnect, nil
	}
	return 0, fmt.Errorf("unknown overflow rule %q: must be disconnect", name)
}

func (o Overflow) String() string { return "disconnect" }

// DropReason says why messages that were meant for a client were not sent.
type DropReason string

const (
	// DropTooSlow are messages of a client that was disconnected because a
	// mailbox overflowed.
	DropTooSlow DropReason = "too_slow"

	// DropClosed are messages still queued when their connection was closed or
	// lost.
	DropClosed DropReason = "closed"

	// DropReplaced are messages still queued for a channel when its client
	// joined the topic again.
	DropReplaced DropReason = "replaced"
)
