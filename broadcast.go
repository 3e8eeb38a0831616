package sluice

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/internal/broadcast"
	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/stages"
	"github.com/sluicehq/sluice/store"
)

// tellTimeout bounds how long other nodes are waited for that are to do something.
const tellTimeout = 2 * time.Second

// Broadcast sends an event to whoever has joined the topic now, on all nodes. It is not
// logged: who is not there does not get it, and what crosses nodes does so at most once. The
// payload is what marshals to a JSON object, or [Binary]. It returns when the event is in
// the mailboxes of this node's clients, and on its way to the other nodes.
//
// An [*InvalidError] says that it is none that clients, or other nodes, can be sent, and
// [ErrClusterAway] that this node has no bus to the others at present, [ErrClusterBusy] that
// the bus takes no more at the moment: then nobody gets it. An [*UnreachedError] says that all have been told but the nodes that it names.
func (s *Service) Broadcast(topic, event string, payload any) error {
	err := store.CheckTopic(topic)
	if err == nil {
		var m *channels.Message
		if m, err = channels.NewMessage(topic, event, payload); err == nil {
			err = s.pubsub.Broadcast(m, nil)
		}
	}
	if err == nil {
		err = unreached(s.missingNodes())
	}
	if err != nil {
		return fmt.Errorf("broadcast %q to %q: %w", event, topic, err)
	}
	return nil
}

// Disconnect closes all sockets of that id, on all nodes, and says how many these were. It
// is [Service.DisconnectContext] with a bound of its own; nodes that it does not reach it
// tells the log.
func (s *Service) Disconnect(id string) int {
	closed, err := s.DisconnectContext(context.Background(), id)
	if err != nil {
		s.logger.Warn("sockets not closed everywhere", "id", id, "error", err)
	}
	return closed
}

// DisconnectContext closes all sockets of that id, on all nodes, and says how many these
// were. An [*UnreachedError] names the nodes that have not answered, for two seconds or
// until ctx ended: their sockets of that id may be open still.
func (s *Service) DisconnectContext(ctx context.Context, id string) (closed int, err error) {
	closed = s.disconnectHere(id)
	if s.missing == nil {
		return closed, nil
	}
	if s.bus.Connected() != nil {
		return closed, unreached(s.missing.All())
	}
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	names := s.missing.Names()
	for _, reply := range s.bus.RequestAll(ctx, askDisconnect, []byte(id)) {
		n, err := strconv.Atoi(string(reply.Data))
		if reply.Err != nil || err != nil {
			names = append(names, reply.Node.Name)
			continue
		}
		closed += n
	}
	slices.Sort(names)
	return closed, unreached(slices.Compact(names))
}

// disconnectHere closes this node's sockets of an id.
func (s *Service) disconnectHere(id string) (closed int) {
	for _, m := range s.mounts {
		closed += m.endpoint.Disconnect(id)
	}
	return closed
}

// unreached is the error that names nodes, nil if there are none.
func unreached(nodes []string) error {
	if len(nodes) == 0 {
		return nil
	}
	return &UnreachedError{Nodes: nodes}
}

// missingNodes are those that serve and are not heard.
func (s *Service) missingNodes() []string {
	if s.missing == nil {
		return nil
	}
	return s.missing.Names()
}

// CheckBroadcast implements [admin.Node].
func (v adminView) CheckBroadcast(payload []byte) error {
	if v.bridge == nil {
		return nil
	}
	return broadcast.CheckSize(payload)
}

// BroadcastEvents implements [admin.Node].
func (v adminView) BroadcastEvents(ctx context.Context, events []store.Event) (unreached []string, err error) {
	if v.bridge != nil {
		messages := make([]*channels.Message, len(events))
		for i, e := range events {
			messages[i] = &channels.Message{Topic: e.Topic, Event: e.Name, Key: e.Key, Payload: e.Payload}
		}
		sent, err := v.bridge.SendAll(messages)
		if err != nil {
			return nil, err
		}
		if unreached = v.missing.Names(); !sent {
			unreached = v.missing.All()
		}
	}
	encoder := v.encoders.Get().(*stages.Encoder)
	segments, _ := encoder.Encode(ctx, events) // what cannot be encoded is logged, counted and left out
	if len(events) <= v.config.BatchSize {     // its scratch memory would stay as large
		v.encoders.Put(encoder) // not deferred: after a panic nobody uses it again
	}
	for _, segment := range segments {
		v.hub.Route(segment)
	}
	return unreached, nil
}

// askDisconnect is the kind of request that has another node close its sockets of the id
// that it brings. The answer is how many these were, in decimal.
const askDisconnect = "disconnect"

// joinBroadcasts has broadcasts, and the closing of sockets, reach all nodes.
func (s *Service) joinBroadcasts() error {
	s.missing = cluster.NewMissing(cluster.MissingConfig{Bus: s.bus, Held: s.heldLeases, Logger: s.logger})
	var err error
	if s.bridge, err = broadcast.New(broadcast.Config{
		Bus: s.bus, Topics: s.pubsub, Expected: s.missing.Any, Metrics: s.metrics, Logger: s.logger,
	}); err != nil {
		return err
	}
	bounds := s.segments()
	s.pubsub.Segments(bounds.SegmentSize, bounds.SegmentBytes)
	s.pubsub.SetRemote(s.bridge)
	s.hub.SetInterest(s.bridge)
	s.bus.Answer(askDisconnect, func(_ context.Context, m cluster.Message) ([]byte, error) {
		id := string(m.Data)
		closed := s.disconnectHere(id)
		if closed > 0 {
			s.logger.Info("sockets closed for another node", "id", id, "count", closed, "from", m.From)
		}
		return strconv.AppendInt(nil, int64(closed), 10), nil
	})
	return nil
}

// lookForMissing has it be known which nodes there are before the first of them can be
// told anything: from then on an answer that names nobody means that all were told.
func (s *Service) lookForMissing(ctx context.Context) {
	if s.missing == nil {
		return
	}
	if err := s.missing.Look(ctx); err != nil && ctx.Err() == nil {
		s.logger.Warn("cannot tell yet which nodes serve: what is said to be unreached may lack some", "error", err)
	}
}

// runBroadcasts listens to other nodes, and knows which of them there should be, until
// ctx ends.
func (s *Service) runBroadcasts(ctx context.Context) error {
	if s.bridge == nil {
		<-ctx.Done()
		return nil
	}
	ended := make(chan error, 1) // one send by the goroutine of Missing.Run
	go func() { ended <- s.missing.Run(ctx) }()
	return errors.Join(s.bridge.Run(ctx), <-ended)
}

// heldLeases is what the log's store says, once that is open.
func (s *Service) heldLeases(ctx context.Context, prefix string) ([]string, error) {
	log := s.stream.Log()
	if log == nil {
		return nil, ErrNotOpen
	}
	return log.Held(ctx, prefix)
}
