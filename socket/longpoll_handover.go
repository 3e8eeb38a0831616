package socket

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/metrics"
)

// Handover takes the requests of long-poll clients to the nodes that hold their
// sessions: behind a load balancer, each of them may reach another node. Make it with
// [NewHandover], give it to all endpoints of the process, and [Handover.Open] it.
type Handover struct {
	// Immutable after NewHandover.
	bus     cluster.Bus
	metrics handoverMetrics

	ids    atomic.Uint64 // of the requests to other nodes
	gets   atomic.Int64  // of other nodes' clients, that wait here
	bodies budget        // what POSTs of other nodes' clients hold here

	opened chan struct{} // closed by Open, which has set key before
	key    []byte        // that tokens are signed with

	mu sync.Mutex

	endpoints map[string]*Endpoint // guarded by mu: by path
}

// handoverKind is the kind of the bus's requests for this.
const handoverKind = "poll"

const (
	// handedWait is how long a GET waits at the holder before the node that has it asks
	// again: so long nothing is missed if one of the bus's messages is.
	handedWait = pollTimeout / 2

	// handedAnswerTime is how long the bus may take for an answer that waits for nothing.
	handedAnswerTime = 2 * time.Second

	// handedPause is how long to wait before a request is sent again that could not be.
	handedPause = 100 * time.Millisecond

	// handedAway is how long a GET waits for a bus that is away. Then its client polls
	// again, and may reach the holder itself.
	handedAway = time.Second
)

// NewHandover returns a handover by way of this bus, which is not running yet.
func NewHandover(bus cluster.Bus, set *metrics.Set) *Handover {
	h := &Handover{
		bus:       bus,
		metrics:   newHandoverMetrics(set),
		bodies:    budget{limit: handedBodyBytes},
		opened:    make(chan struct{}),
		endpoints: make(map[string]*Endpoint),
	}
	bus.Answer(handoverKind, h.answer)
	return h
}

// Open says what the nodes of the cluster share and nobody else knows: their tokens are
// signed with a key that is made from it. Before, no session begins, and requests of
// those of other nodes wait. Call it once.
func (h *Handover) Open(secret []byte) {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("sluice: tokens of long-poll sessions"))
	h.key = mac.Sum(nil)
	close(h.opened)
}

// isOpen tells whether Open has been called.
func (h *Handover) isOpen() bool {
	select {
	case <-h.opened:
		return true
	default:
		return false
	}
}

// tokens makes and recognises the tokens of all nodes.
func (h *Handover) tokens() sessionTokens {
	return sessionTokens{node: h.bus.Self().ID, key: func() []byte {
		if !h.isOpen() {
			return nil
		}
		return h.key
	}}
}

// awaitOpen waits until tokens can be recognised, and tells whether they can.
func (h *Handover) awaitOpen(ctx context.Context, longest time.Duration) bool {
	if h == nil {
		return true
	}
	timer := time.NewTimer(longest)
	defer timer.Stop()
	select {
	case <-h.opened:
	case <-timer.C:
	case <-ctx.Done():
	}
	return h.isOpen()
}

// add has an endpoint's sessions answer for the requests that other nodes get.
func (h *Handover) add(e *Endpoint) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.endpoints[e.config.Path] = e
	h.bodies.allow(2 * base64.StdEncoding.EncodedLen(e.config.MaxMessageBytes)) // a large message, and the last piece of it
}

// beginHanding makes room for a request that another node answers, of which there are as
// many at most as there may be connections. endHanding gives it back.
func (e *Endpoint) beginHanding() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.config.MaxConnections > 0 && e.handing >= e.config.MaxConnections {
		return false
	}
	e.handing++
	return true
}

func (e *Endpoint) endHanding() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.handing--
}

func (h *Handover) endpoint(path string) *Endpoint {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.endpoints[path]
}

// errLost is returned for a request that was not answered in its time.
var errLost = errors.New("socket: the node that holds the session has not answered")

// retries say how long a request is sent again, from its beginning: while there is no
// bus or it or the holder is busy, while the holder is not known, and while nothing is
// answered. Zero is once.
type retries struct{ away, unknown, lost time.Duration }

// ask asks the holder of a session. The request, or its answer, may be lost: it is sent
// again, with its id, by which the holder knows whether it has had it. Errors are those
// of [cluster.Bus], and errLost.
func (h *Handover) ask(ctx context.Context, holder string, r handedRequest, data []byte, p retries) (handedAnswer, []byte, error) {
	message := r.append(nil, data)
	for start := time.Now(); ; {
		attempt, cancel := context.WithTimeout(ctx, r.attempt())
		answer, err := h.bus.Request(attempt, holder, handoverKind, message)
		cancel()
		var longest time.Duration
		var refused *cluster.RemoteError
		switch {
		case err == nil:
			return parseHandedAnswer(answer)
		case ctx.Err() != nil:
			return handedAnswer{}, nil, ctx.Err()
		case errors.As(err, &refused):
			return handedAnswer{}, nil, fmt.Errorf("hand a long-poll over: %w", err)
		case errors.Is(err, cluster.ErrUnknownNode):
			longest = p.unknown
		case errors.Is(err, context.DeadlineExceeded):
			err, longest = errLost, p.lost
		default: // the bus is away, or busy
			longest = p.away
		}
		if time.Since(start)+handedPause > longest {
			return handedAnswer{}, nil, err
		}
		if !errors.Is(err, errLost) && !pause(ctx, handedPause) {
			return handedAnswer{}, nil, ctx.Err()
		}
	}
}

// pause waits, and returns false if ctx ends before.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// handedResult is what became of a client's request that was for another node.
type handedResult string

const (
	handedAnswered handedResult = "answered" // with messages, or they have been taken
	handedNothing  handedResult = "nothing"  // there was none, or another poll has taken its place
	handedEnded    handedResult = "ended"    // the holder says that the session has
	handedLeft     handedResult = "left"     // the client has, or this node drains
	handedAwayBus  handedResult = "away"     // there is no bus
	handedUnknown  handedResult = "unknown"  // nobody knows the holder, any more or yet
	handedLost     handedResult = "lost"     // the holder has not answered
	handedRefused  handedResult = "refused"  // the holder cannot answer, or not in a way that is understood here
	handedBusy     handedResult = "busy"     // beyond what is handed over, or held, at a time, or than the bus takes
)

// resultOf is what an error of ask comes to.
func resultOf(err error) handedResult {
	var refused *cluster.RemoteError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return handedLeft
	case errors.Is(err, cluster.ErrUnknownNode):
		return handedUnknown
	case errors.Is(err, cluster.ErrBusy):
		return handedBusy
	case errors.Is(err, errLost):
		return handedLost
	case errors.As(err, &refused), errors.Is(err, errHandedMalformed):
		return handedRefused
	}
	return handedAwayBus
}

// handoverMetrics are what a handover reports. Its methods may be called concurrently.
type handoverMetrics struct {
	handed map[handedResult]*metrics.Counter
	held   *metrics.Counter
}

func newHandoverMetrics(set *metrics.Set) handoverMetrics {
	m := handoverMetrics{handed: make(map[handedResult]*metrics.Counter), held: set.Counter(metrics.LongpollHeld)}
	for _, r := range []handedResult{handedAnswered, handedNothing, handedEnded, handedLeft, handedAwayBus,
		handedUnknown, handedLost, handedRefused, handedBusy} {
		m.handed[r] = set.Counter(metrics.LongpollHanded, metrics.Tag{Key: "result", Value: string(r)})
	}
	return m
}
