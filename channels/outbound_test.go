package channels

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/internal/ring"
	"github.com/sluicehq/sluice/metrics"
)

// private is where a value of package outbound keeps a field that it tells nobody
// about. Tests of what hub, actors and mailboxes do together look at some.
func private[T any](of any, field string) *T {
	f := reflect.ValueOf(of).Elem().FieldByName(field)
	if !f.IsValid() || f.Type() != reflect.TypeFor[T]() {
		panic(fmt.Sprintf("%T has no %s of that type", of, field))
	}
	return (*T)(f.Addr().UnsafePointer())
}

// lockOf is the lock of a connection, which guards its mailboxes too.
func lockOf(c *outbound.Connection) *sync.Mutex { return private[sync.Mutex](c, "mu") }

// connState is what a connection says of itself.
type connState struct {
	held, inHand, entries, replayed, seeing int
	collecting, waiting                     int // mailboxes
	closed, tooSlow                         bool
}

func stateOf(c *outbound.Connection) connState {
	return connState{
		held:       *private[int](c, "held"),
		inHand:     *private[int](c, "inHand"),
		entries:    *private[int](c, "entries"),
		replayed:   *private[int](c, "replayed"),
		seeing:     *private[int](c, "seeing"),
		collecting: len(*private[[]*outbound.Mailbox](c, "collecting")),
		waiting:    len(*private[[]*outbound.Mailbox](c, "waiting")),
		closed:     *private[bool](c, "closed"),
		tooSlow:    *private[bool](c, "tooSlow"),
	}
}

// refuses tells whether nothing is queued any more.
func (s connState) refuses() bool { return s.closed || s.tooSlow }

// boxState is what a mailbox says of itself.
type boxState struct {
	open, catchingUp   bool
	pushed             int64
	messages, reserved int
	toLookAt           int // messages that stand where the channel is going to look
}

func boxOf(a *Actor) boxState {
	m := &a.mailbox
	s := boxState{
		open:       *private[bool](m, "open"),
		catchingUp: *private[bool](m, "catchingUp"),
		pushed:     *private[int64](m, "pushed"),
		messages:   *private[int](m, "messages"),
		reserved:   *private[int](m, "reserved"),
	}
	looks := *private[*ring.Ring[outbound.Look]](m, "looks")
	for i := 0; looks != nil && i < looks.Len(); i++ {
		for _, span := range looks.At(i).Spans() {
			s.toLookAt += span.End - span.First
		}
	}
	return s
}

// charged is how many bytes are charged to replays, and to how many connections.
func (r *Replayer) charged() (bytes int64, connections int) {
	b := r.budget.replays
	mu := private[sync.Mutex](b, "mu")
	mu.Lock()
	defer mu.Unlock()
	return private[atomic.Int64](b, "used").Load(), len(*private[map[*outbound.Connection]struct{}](b, "holders"))
}

// limit has replays hold no more than so many bytes. Call it before any.
func (r *Replayer) limit(bytes int64) { *private[int64](r.budget.replays, "limit") = bytes }

// offsetsOf are those of a segment, which a benchmark that is its only reader counts up.
func offsetsOf(seg *outbound.Segment) []int64 { return *private[[]int64](seg, "offsets") }

// smallSegment is about what a segment of next to nothing counts.
const smallSegment = 256

// tally is what has been counted of the messages of channels with the same tags.
type tally struct {
	pushed, duplicate int64
	dropped           map[outbound.DropReason]int64
}

func tallyOf(set *metrics.Set, tags map[string]string) tally {
	var list []metrics.Tag
	for key, value := range tags {
		list = append(list, metrics.Tag{Key: key, Value: value})
	}
	slices.SortFunc(list, func(a, b metrics.Tag) int { return cmp.Compare(a.Key, b.Key) })
	t := tally{
		pushed:    set.Counter(metrics.MessagesPushed, list...).Value(),
		duplicate: set.Counter(metrics.MessagesDuplicate, list...).Value(),
		dropped:   make(map[outbound.DropReason]int64),
	}
	for _, reason := range []outbound.DropReason{outbound.DropOverflow, outbound.DropSuperseded, outbound.DropTooSlow, outbound.DropClosed,
		outbound.DropReplaced, outbound.DropWithheld, outbound.DropUnreadable} {
		t.dropped[reason] = set.Counter(metrics.MessagesDropped, append(slices.Clip(list), metrics.Reason(string(reason)))...).Value()
	}
	return t
}

// all is how many messages have been counted.
func (t tally) all() int64 {
	n := t.pushed + t.duplicate
	for _, dropped := range t.dropped {
		n += dropped
	}
	return n
}
