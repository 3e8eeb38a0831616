package channels

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

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

// hidden is where values of S keep a field of type T, which is looked up once: stateOf and
// boxOf are asked again and again.
type hidden[S, T any] uintptr

func hiddenIn[S, T any](field string) hidden[S, T] {
	f, ok := reflect.TypeFor[S]().FieldByName(field)
	if !ok || f.Type != reflect.TypeFor[T]() {
		panic(fmt.Sprintf("%v has no %s of that type", reflect.TypeFor[S](), field))
	}
	return hidden[S, T](f.Offset)
}

func (h hidden[S, T]) of(s *S) T { return *(*T)(unsafe.Add(unsafe.Pointer(s), h)) }

type conn = outbound.Connection

var (
	connHeld       = hiddenIn[conn, int]("held")
	connInHand     = hiddenIn[conn, int]("inHand")
	connEntries    = hiddenIn[conn, int]("entries")
	connReplayed   = hiddenIn[conn, int]("replayed")
	connSeeing     = hiddenIn[conn, int]("seeing")
	connCollecting = hiddenIn[conn, []*outbound.Mailbox]("collecting")
	connWaiting    = hiddenIn[conn, []*outbound.Mailbox]("waiting")
	connClosed     = hiddenIn[conn, bool]("closed")
	connTooSlow    = hiddenIn[conn, bool]("tooSlow")

	boxOpen       = hiddenIn[outbound.Mailbox, bool]("open")
	boxCatchingUp = hiddenIn[outbound.Mailbox, bool]("catchingUp")
	boxPushed     = hiddenIn[outbound.Mailbox, int64]("pushed")
	boxMessages   = hiddenIn[outbound.Mailbox, int]("messages")
	boxReserved   = hiddenIn[outbound.Mailbox, int]("reserved")
	boxLooks      = hiddenIn[outbound.Mailbox, *ring.Ring[outbound.Look]]("looks")
)

func stateOf(c *outbound.Connection) connState {
	return connState{
		held:       connHeld.of(c),
		inHand:     connInHand.of(c),
		entries:    connEntries.of(c),
		replayed:   connReplayed.of(c),
		seeing:     connSeeing.of(c),
		collecting: len(connCollecting.of(c)),
		waiting:    len(connWaiting.of(c)),
		closed:     connClosed.of(c),
		tooSlow:    connTooSlow.of(c),
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
		open:       boxOpen.of(m),
		catchingUp: boxCatchingUp.of(m),
		pushed:     boxPushed.of(m),
		messages:   boxMessages.of(m),
		reserved:   boxReserved.of(m),
	}
	looks := boxLooks.of(m)
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
