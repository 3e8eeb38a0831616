package store

import (
	"context"
	"fmt"
	"time"
)

// Lease is a name that one holder has for a term, and keeps by renewing it before
// the term has passed. Two things tell a holder apart from those before and after
// it: what it calls itself, and its fence.
type Lease struct {
	Name   string
	Holder string // never empty; no two that might hold the name at once have the same
	Term   time.Duration
	Since  time.Time // when it was acquired, by the store's clock

	// Fence is greater than that of all who had the name before, also where the
	// store has since been restored from a backup or failed over to a standby that
	// had not heard of them: it is drawn from the store's clock, in microseconds,
	// and never below what the store has. Who does work for its holders turns away
	// a fence below the greatest that it has seen.
	Fence int64
}

// Claim asks for a lease.
type Claim struct {
	Name   string
	Holder string
	Term   time.Duration

	// Over is a lease that is known to be over before its term is: its holder's
	// process has ended, or it has not been renewed for a term by a clock other than
	// the store's, which may have been set back. It is taken only as it was seen: a
	// holder that has renewed meanwhile is there. Nil: none is known to be.
	Over *HeldError
}

// HeldError says that somebody else holds a lease.
type HeldError struct {
	Name   string
	Holder string // empty if it was given back
	Fence  int64
	Since  time.Time // by the store's clock
	Until  time.Time // likewise: when it ends, unless it is renewed
	Left   time.Duration
}

func (e *HeldError) Error() string {
	if e.Holder == "" {
		return fmt.Sprintf("store: lease %q has been given back", e.Name)
	}
	return fmt.Sprintf("store: lease %q is held by %s, since %s and for another %v", e.Name, e.Holder, e.Since.UTC().Format(time.RFC3339), e.Left.Round(time.Millisecond))
}

// Same tells whether two sightings are of one lease that was not renewed in between.
func (e *HeldError) Same(other *HeldError) bool {
	return other != nil && e.Fence == other.Fence && e.Until.Equal(other.Until)
}

// Leases are names of which each is one holder's at a time: of a node, or of a role
// that one node has. Every call is a statement of its own, which needs no session.
//
// A lease is advice for as long as it lasts, and its fence is the proof afterwards:
// a holder that hangs does not know that its term passes. It hears of it from Renew
// when it goes on.
type Leases interface {
	// Acquire takes a name that nobody has, whose term has passed, that the claim
	// says is over, or that the claimant has already. The error is a [*HeldError]
	// while somebody else has it.
	Acquire(ctx context.Context, claim Claim) (Lease, error)

	// Renew begins the lease's term anew. It is never too late for that unless the
	// name was somebody else's meanwhile, or was given back: then the error is a
	// [*HeldError], the lease is lost for good, and who has it now has a greater
	// fence. A store that was put back to before the lease was acquired learns of it
	// by this. Any other error says nothing about who has it.
	Renew(ctx context.Context, lease Lease) error

	// Release gives the lease back, so that the next one need not wait for its term
	// to pass. One that is lost stays with who has it.
	Release(ctx context.Context, lease Lease) error

	// Held returns the names with that prefix whose term has not passed, sorted: those
	// that somebody has, or had and has not given back.
	Held(ctx context.Context, prefix string) (names []string, err error)
}
