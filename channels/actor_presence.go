package channels

import (
	"errors"
	"fmt"

	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/channels/presence"
)

// PresenceEntry is one who is on a topic: see [Context.Presences].
type PresenceEntry = presence.Entry

// MaxTracked is how many presences one channel may have.
const MaxTracked = 16

// Errors of [Context.Track] and its neighbours.
var (
	// ErrNoPresence is returned where nobody keeps presences.
	ErrNoPresence = errors.New("channels: presences are not kept here")
	// ErrNotTracked is returned for a key that the channel does not track.
	ErrNotTracked = errors.New("channels: the key is not tracked by this channel")
	// ErrPresenceFull is returned where there are as many presences as there may be.
	ErrPresenceFull = presence.ErrFull
)

// tracked is a presence of a channel's.
type tracked struct {
	key string // as it was given: may be empty
	*presence.Presence
}

// Track puts this client on the topic, for all to see, under a key, until the channel
// ends or [Context.Untrack]: with what meta says of it, which marshals to a JSON object
// of at most [presence.MaxMeta] bytes; nil for {}. Whoever has the same key there is the
// same, with several metas. If this channel tracks the key already, that is
// [Context.Update]. An empty key stands for one that nobody else has. From then on the
// client is told who is there: see [Context.FollowPresence].
//
// It returns a [*store.InvalidError] for a key or meta that clients cannot be told,
// ErrPresenceFull, ErrOverloaded if this channel has [MaxTracked] presences, and ErrClosed
// if it has ended.
func (c *Context) Track(key string, meta any) error {
	if err := c.track(key, meta, true); err != nil {
		return fmt.Errorf("track %q: %w", key, err)
	}
	return nil
}

// Update says something else of this client, under a key that it is tracked by. If it did
// so less than a second ago, that happens once the second is over, for the last of several
// updates. The same again changes nothing. Errors are those of [Context.Track], and
// ErrNotTracked.
func (c *Context) Update(key string, meta any) error {
	if err := c.track(key, meta, false); err != nil {
		return fmt.Errorf("update presence %q: %w", key, err)
	}
	return nil
}

func (c *Context) track(key string, meta any, comes bool) error {
	a := c.actor
	tracker := a.host.presences
	if tracker == nil {
		return ErrNoPresence
	}
	p, err := payloadOf(meta)
	if err != nil {
		return err
	}
	text, err := presence.Meta(p.Data, presence.MaxMeta)
	if err != nil {
		return err
	}
	if err := a.trackMeta(tracker, key, text, comes); err != nil {
		return err
	}
	return c.FollowPresence()
}

func (a *Actor) trackMeta(tracker *presence.Tracker, key, meta string, comes bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return ErrClosed
	}
	x := a.rareState()
	for _, each := range x.tracked {
		if each.key == key {
			return each.Update(meta)
		}
	}
	switch {
	case !comes:
		return ErrNotTracked
	case len(x.tracked) >= MaxTracked:
		return ErrOverloaded
	}
	p, err := tracker.Track(a.Topic(), key, meta)
	if err == nil {
		x.tracked = append(x.tracked, tracked{key, p})
	}
	return err
}

// Untrack takes this client off the topic, under one of its keys. If the channel does not
// track it, nothing happens.
func (c *Context) Untrack(key string) {
	a := c.actor
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.rare == nil {
		return
	}
	for i, each := range a.rare.tracked {
		if each.key == key {
			each.Leave()
			a.rare.tracked = append(a.rare.tracked[:i:i], a.rare.tracked[i+1:]...)
			return
		}
	}
}

// Presences are those who are on the topic now, on all nodes: the ones that are listed,
// and how many there are.
func (c *Context) Presences() (listed []PresenceEntry, total int) {
	if tracker := c.actor.host.presences; tracker != nil {
		return tracker.List(c.Topic())
	}
	return nil, 0
}

// FollowPresence has the client told who is on the topic: by a presence_state once it has
// joined, and after that by presence_diffs, as stock clients read them; neither passes a
// HandleOut. It returns ErrNoPresence, or ErrClosed if the channel has ended.
func (c *Context) FollowPresence() error {
	a := c.actor
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.host.presences == nil:
		return ErrNoPresence
	case a.over:
		return ErrClosed
	}
	if a.mailbox.FollowPresence() {
		a.follows = true
		if a.settled { // otherwise it is done then
			a.AwaitPresence()
		}
	}
	return nil
}

// AwaitPresence has the channel given the list of who is on its topic. It may be called
// with the connection's lock held.
func (a *Actor) AwaitPresence() { a.host.awaiting.add(a) }

// presencePush is the list of who is on the topic, as this client gets it; nil where it
// cannot be encoded.
func (a *Actor) presencePush(state []byte) []byte {
	return a.encodePush("", "presence_state", outbound.Payload{Data: state})
}
