package socket

import (
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/metrics"
)

// Transports, as metrics and lists of sockets name them.
const (
	websocketTransport = "websocket"
	longpollTransport  = "longpoll"
	sseTransport       = "sse"
)

// rejectReason says why a connection was not accepted.
type rejectReason string

const (
	rejectedRequest  rejectReason = "bad_request"
	rejectedVersion  rejectReason = "version"
	rejectedOrigin   rejectReason = "origin"
	rejectedCapacity rejectReason = "capacity"
	rejectedDrain    rejectReason = "drain"
	rejectedHook     rejectReason = "hook" // by the connect hook, which does not say why
	rejectedHijack   rejectReason = "handshake"
)

// endpointMetrics are what an endpoint reports.
type endpointMetrics struct {
	sockets     map[string]*metrics.Gauge   // by transport
	opened      map[string]*metrics.Counter // likewise
	received    *metrics.Counter
	bytes       *metrics.Counter
	closed      map[closeReason]*metrics.Counter
	rejected    map[rejectReason]*metrics.Counter
	mailboxTime *metrics.Timing // from queueing to being taken by the writer
	writeWait   *metrics.Timing // from waking the writer to its first take; a sample where writers are shared
	writeTime   *metrics.Timing // one write
	delivery    *metrics.Timing
}

func newEndpointMetrics(set *metrics.Set) endpointMetrics {
	m := endpointMetrics{
		sockets:     make(map[string]*metrics.Gauge),
		opened:      make(map[string]*metrics.Counter),
		received:    set.Counter(metrics.MessagesReceived),
		bytes:       set.Counter(metrics.BytesPushed),
		closed:      make(map[closeReason]*metrics.Counter),
		rejected:    make(map[rejectReason]*metrics.Counter),
		mailboxTime: set.Timing(metrics.StageTime, metrics.Stage("mailbox")),
		writeWait:   set.Timing(metrics.StageWait, metrics.Stage("write")),
		writeTime:   set.Timing(metrics.StageTime, metrics.Stage("write")),
		delivery:    set.Timing(metrics.DeliveryTime),
	}
	for _, transport := range []string{websocketTransport, longpollTransport, sseTransport} {
		m.sockets[transport] = set.Gauge(metrics.Sockets, metrics.Transport(transport))
		m.opened[transport] = set.Counter(metrics.SocketsOpened, metrics.Transport(transport))
	}
	for _, r := range []closeReason{closedByClient, closedLost, closedSilent,
		closedProtocol, closedUTF8, closedTooSlow, closedTooFast, closedTooLarge,
		closedMalformed, closedByID, closedDrain, closedExpired, closedAged,
		closedNoPoll, closedChannel} {
		m.closed[r] = set.Counter(metrics.SocketsClosed, metrics.Reason(string(r)))
	}
	for _, r := range []rejectReason{rejectedRequest, rejectedVersion, rejectedOrigin, rejectedCapacity,
		rejectedDrain, rejectedHook, rejectedHijack, rejectReason(TokenMissing), rejectReason(TokenInvalid),
		rejectReason(TokenExpired), rejectReason(TokenRevoked), rejectReason(Unavailable)} {
		m.rejected[r] = set.Counter(metrics.SocketsRefused, metrics.Reason(string(r)))
	}
	return m
}

// wrote counts a batch that was taken at start and has been written.
func (m *endpointMetrics) wrote(b *outbound.WriteBatch, start time.Time) {
	now := time.Now()
	if !b.Queued.IsZero() {
		m.mailboxTime.Observe(start.Sub(b.Queued))
	}
	m.writeTime.Observe(now.Sub(start))
	m.bytes.Add(int64(b.Bytes))
	b.Written()
	for _, inserted := range b.Inserted {
		m.delivery.Observe(now.Sub(inserted))
	}
}
