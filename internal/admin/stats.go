package admin

import (
	"net/http"
	"time"

	"github.com/sluicehq/sluice/internal/httpserver"
	"github.com/sluicehq/sluice/internal/timeline"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/relay"
)

// stats is what GET /api/stats answers. A field, once there, keeps its name
// and meaning.
type stats struct {
	Node     string `json:"node"`
	Ready    bool   `json:"ready"`
	Epoch    string `json:"epoch"`    // id of the log, empty until it is open
	Head     int64  `json:"head"`     // the log's last known offset
	Position int64  `json:"position"` // events up to this offset have been routed
	Fetched  int64  `json:"fetched"`  // events read since the start
	Routed   int64  `json:"routed"`   // events routed since the start
	Pushed   int64  `json:"pushed"`   // messages written to sockets since the start
	Sockets  int    `json:"sockets"`
	Channels int64  `json:"channels"`
	Topics   int64  `json:"topics"`
	Cluster  struct {
		Nodes int `json:"nodes"` // known to be there, this one included
		busState
	} `json:"cluster"`

	OutboxRows int64        `json:"outbox_rows"`     // committed rows that wait to be sequenced
	OutboxAge  float64      `json:"outbox_age"`      // of the oldest of them, in seconds
	Leader     *leader      `json:"leader"`          // null while nobody is known to lead
	Relay      *relay.State `json:"relay,omitempty"` // of the log, where it is read through the bus between nodes

	Lately  lately           `json:"lately"`
	Stages  []timeline.Stage `json:"stages"`        // of the line, in its order
	Slowest string           `json:"slowest_stage"` // that holds the others up; "": none does

	Revocations *revocationStats `json:"revocations,omitempty"` // where tokens are verified
	Webhooks    []Webhook        `json:"webhooks,omitempty"`
}

// lately is what the node did within the last sample of its timeline.
type lately struct {
	Routed float64          `json:"routed"` // events a second
	Pushed float64          `json:"pushed"` // messages a second
	P50    timeline.Seconds `json:"p50"`    // of delivery
	P99    timeline.Seconds `json:"p99"`
}

// leader is who sequences the log.
type leader struct {
	Node   string    `json:"node"`
	Since  time.Time `json:"since"`
	Self   bool      `json:"self"`   // it is the node that answers
	Shared bool      `json:"shared"` // all nodes do, in turn: they are behind a transaction pooler
}

// outbox is how the outbox stands, and who leads, nil if that is not known.
func (a *api) outbox() (store.Outbox, *leader) {
	log := a.Stream.Log()
	if log == nil {
		return store.Outbox{}, nil
	}
	o := log.Outbox()
	if o.Leader.Node == "" {
		return o, nil
	}
	return o, &leader{o.Leader.Node, o.Leader.Since, o.Leader.Self, o.Leader.Shared}
}

// revocationStats are how this node knows which tokens are revoked.
type revocationStats struct {
	Count int     `json:"count"`
	Age   float64 `json:"age_seconds"` // since it saw the store's
	Known bool    `json:"known"`       // false: that is too long, clients with tokens are refused
}

func (a *api) getStats(w http.ResponseWriter, r *http.Request) {
	switch all, ok := readNodes(w, r); {
	case !ok:
	case all:
		httpserver.Answer(w, http.StatusOK, a.allStats(r.Context()))
	default:
		httpserver.Answer(w, http.StatusOK, a.stats())
	}
}

func (a *api) stats() stats {
	head, position := a.Node.Extent()
	outbox, leader := a.outbox()
	s := stats{
		Node:     a.NodeName,
		Ready:    a.Readiness.Reason() == nil,
		Epoch:    a.Hub.Epoch(),
		Head:     head,
		Position: position,
		Fetched:  a.Metrics.Counter(metrics.EventsFetched).Value(),
		Routed:   a.Metrics.Counter(metrics.EventsRouted).Value(),
		Pushed:   a.Hub.Pushed(),
		Sockets:  a.Node.CountSockets(),
		Channels: a.Hub.Channels(),
		Topics:   a.Hub.Topics(),
	}
	s.OutboxRows, s.OutboxAge, s.Leader = outbox.Rows, outbox.Age.Seconds(), leader
	s.Cluster.Nodes, s.Cluster.busState = len(a.Bus.Nodes())+1, a.busState()
	if list := a.Revoked; list != nil {
		s.Revocations = &revocationStats{list.Count(), list.Age().Seconds(), list.Err() == nil}
	}
	s.Relay, s.Webhooks = a.relayState(), a.Node.Webhooks()
	s.Stages = []timeline.Stage{}
	if last, stages, ok := a.Timeline.Last(); ok {
		s.Lately = lately{last.Routed, last.Pushed, last.P50, last.P99}
		s.Stages, s.Slowest = stages, timeline.Slowest(stages)
	}
	return s
}

// relayState is how the relay of the log does, nil if there is none.
func (a *api) relayState() *relay.State {
	relayed, ok := a.Stream.Log().(*relay.Log)
	if !ok {
		return nil
	}
	state := relayed.State()
	return &state
}
