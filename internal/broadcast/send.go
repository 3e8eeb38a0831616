package broadcast

import (
	"errors"
	"fmt"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/store"
)

// Send implements [channels.Remote]. Its error is a [*store.InvalidError] for a payload
// larger than [MaxPayload], whether or not there are other nodes at present, or wraps
// [cluster.ErrAway] or [cluster.ErrBusy]: then nothing was sent.
func (b *Bridge) Send(m *channels.Message) error {
	if err := CheckSize(m.Payload); err != nil {
		return err
	}
	send, err := b.ready()
	if !send {
		return err
	}
	return b.publish(m.Topic, []*channels.Message{m})
}

// SendAll sends messages, those of one topic together and in their order. The error is as
// Send's, and then nothing was sent.
// Where the bus stops taking anything midway, sent is false without an error: some have
// been sent, and nobody knows to whom.
func (b *Bridge) SendAll(messages []*channels.Message) (sent bool, err error) {
	for _, m := range messages {
		if err := CheckSize(m.Payload); err != nil {
			return false, err
		}
	}
	send, err := b.ready()
	if !send {
		return err == nil, err
	}
	var topics []string // in the order of their first messages
	of := make(map[string][]*channels.Message)
	for _, m := range messages {
		if of[m.Topic] == nil {
			topics = append(topics, m.Topic)
		}
		of[m.Topic] = append(of[m.Topic], m)
	}
	for i, topic := range topics {
		partly := i > 0
		for some := range chunks(of[topic]) {
			if err := b.publish(topic, some); err != nil && !partly {
				return false, err
			} else if err != nil {
				return false, nil
			}
			partly = true
		}
	}
	return true, nil
}

// CheckSize returns a [*store.InvalidError] for a payload that no other node can be sent.
func CheckSize(payload []byte) error {
	if len(payload) <= MaxPayload {
		return nil
	}
	return &store.InvalidError{Index: -1, Field: "payload", Reason: fmt.Sprintf(
		"has %d bytes; the nodes of a cluster can be sent broadcasts of %d at most: publish it instead", len(payload), MaxPayload)}
}

// ready tells whether there is somebody to send to, or why nothing can be sent.
func (b *Bridge) ready() (send bool, err error) {
	if err := b.config.Bus.Connected(); err != nil {
		return false, away(err)
	}
	return b.others.Load() || b.config.Expected(), nil
}

// away has an error say that there is no bus.
func away(err error) error {
	if errors.Is(err, cluster.ErrAway) {
		return err
	}
	return fmt.Errorf("%w: %w", cluster.ErrAway, err)
}

// chunks yields messages of one topic in parts that fit into one of the bus.
func chunks(messages []*channels.Message) func(yield func([]*channels.Message) bool) {
	return func(yield func([]*channels.Message) bool) {
		for len(messages) > 0 {
			n, size := 1, overhead+sizeOf(messages[0])
			for n < len(messages) && size+sizeOf(messages[n]) <= cluster.MaxData {
				size += sizeOf(messages[n])
				n++
			}
			if !yield(messages[:n]) {
				return
			}
			messages = messages[n:]
		}
	}
}

// publish sends messages of one topic, which fit into one of the bus. The lock has the
// sequence be that of what the bus is given. The bus takes it without waiting.
func (b *Bridge) publish(topic string, messages []*channels.Message) error {
	i := subjectOf(topic)
	s := &b.subjects[i]
	s.sending.Lock()
	defer s.sending.Unlock()
	b.listen(i) // whoever has joined here hears what answers this
	size := overhead
	for _, m := range messages {
		size += sizeOf(m)
	}
	data := appendHead(make([]byte, 0, size), s.published+1, topic, len(messages))
	for _, m := range messages {
		data = appendMessage(data, m)
	}
	if err := b.config.Bus.Publish(subjectName(i), appendChecksum(data)); err != nil {
		return err
	}
	s.published++
	b.sent.Add(int64(len(messages)))
	return nil
}
