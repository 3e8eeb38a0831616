package stages

import (
	"context"

	"github.com/sluicehq/sluice/channels/outbound"
)

// Subscribers takes a segment to all who watch its topic, without waiting for
// any of them.
type Subscribers interface {
	Route(segment *outbound.Segment) (subscribers int)
}

// routeTo is the end of a lane: segments go to their subscribers, in order.
func routeTo(to Subscribers) func(context.Context, []*outbound.Segment) error {
	return func(_ context.Context, segments []*outbound.Segment) error {
		for _, segment := range segments {
			to.Route(segment)
		}
		return nil
	}
}
