package socket

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// expiry ends a connection when its access does, or when it has become too old.
type expiry struct {
	conn connection // immutable

	mu sync.Mutex

	// Guarded by mu.
	accessTimer *time.Timer // nil if the access does not end
	ageTimer    *time.Timer // nil if age does not matter
	stopped     bool
}

// spread varies an age by one part in spreadParts in both directions, so that
// connections that began together do not end together.
func spread(age time.Duration) time.Duration {
	part := age / spreadParts
	return age - part + rand.N(2*part+1)
}

const spreadParts = 10

// until sets when the access ends.
func (e *expiry) until(expires time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reset(expires)
}

// limitAge sets when the connection has become too old.
func (e *expiry) limitAge(age time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.stopped {
		e.ageTimer = time.AfterFunc(age, func() { e.conn.shut(aged, "") })
	}
}

// reset is until, with mu held.
func (e *expiry) reset(expires time.Time) {
	if e.accessTimer != nil {
		e.accessTimer.Stop()
		e.accessTimer = nil
	}
	if !expires.IsZero() && !e.stopped {
		e.accessTimer = time.AfterFunc(time.Until(expires), func() { e.conn.shut(expired, "") })
	}
}

// stop stops the timers. A nil expiry has none.
func (e *expiry) stop() {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stopped = true
	e.reset(time.Time{})
	if e.ageTimer != nil {
		e.ageTimer.Stop()
	}
}

// renew answers a client that brings a new token, {"access_token": "…"}, on one
// of its channels. A token that is refused changes nothing. One that is accepted
// is all that counts from then on: a channel that it does not admit has ended
// when the answer is queued.
func (s *session) renew(m phoenix.ClientMessage, actor *channels.Actor) {
	var body struct {
		Token string `json:"access_token"`
	}
	to := m.Address()
	to.JoinRef = actor.JoinRef()
	if m.Payload.Binary || json.Unmarshal(m.Payload.Data, &body) != nil || body.Token == "" {
		s.replyError(to, "no access_token")
		return
	}
	old := s.current()
	renewed, err := s.askRenew(old, body.Token)
	if err != nil || renewed == nil || renewed.ID != old.ID {
		s.replyError(to, string(refusedFor(err)))
		return
	}
	own := *renewed
	own.RemoteAddr, own.Transport, own.Name = old.RemoteAddr, old.Transport, old.Name
	s.socket.Store(&own)
	s.expiry.until(own.Expires)
	if !s.confirm(s.expiry.conn) {
		return
	}
	s.review()
	s.reply(to, outbound.StatusOK, emptyObject)
}

// askRenew asks the hook, which has as long as the connect hook.
func (s *session) askRenew(old *channels.Socket, token string) (*channels.Socket, error) {
	ctx, cancel := context.WithTimeout(s.context, s.config.HandshakeTimeout)
	defer cancel()
	renewed, err := guard("renew", func() (*channels.Socket, error) { return s.config.Renew(ctx, old, token) })
	if errors.Is(err, errHookPanicked) {
		s.config.hookFailed("renew", old.RemoteAddr, err)
	}
	return renewed, err
}
