package socket

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// lease ends a connection when its access does, or when it has become too old.
type lease struct {
	link link // immutable

	mu sync.Mutex

	// Guarded by mu.
	expiry  *time.Timer // nil if the access does not end
	age     *time.Timer // nil if age does not matter
	stopped bool
}

// spread varies an age by a tenth in both directions, so that connections that
// began together do not end together.
func spread(age time.Duration) time.Duration {
	tenth := age / 10
	return age - tenth + rand.N(2*tenth+1)
}

// until sets when the access ends.
func (l *lease) until(expires time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reset(expires)
}

// live sets when the connection has become too old.
func (l *lease) live(age time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.stopped {
		l.age = time.AfterFunc(age, func() { l.link.shut(aged, "") })
	}
}

// reset is until, with mu held.
func (l *lease) reset(expires time.Time) {
	if l.expiry != nil {
		l.expiry.Stop()
		l.expiry = nil
	}
	if !expires.IsZero() && !l.stopped {
		l.expiry = time.AfterFunc(time.Until(expires), func() { l.link.shut(expired, "") })
	}
}

// stop stops the timers. A nil lease has none.
func (l *lease) stop() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	l.reset(time.Time{})
	if l.age != nil {
		l.age.Stop()
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
		s.refuse(to, "no access_token")
		return
	}
	old := s.current()
	renewed, err := s.askRenew(old, body.Token)
	if err != nil || renewed == nil || renewed.ID != old.ID {
		s.refuse(to, "unauthorized")
		return
	}
	own := *renewed
	own.RemoteAddr = old.RemoteAddr
	s.socket.Store(&own)
	s.lease.until(own.Expires)
	s.review()
	s.reply(to, channels.StatusOK, emptyObject)
}

// askRenew asks the hook, which has as long as the connect hook.
func (s *session) askRenew(old *channels.Socket, token string) (*channels.Socket, error) {
	ctx, cancel := context.WithTimeout(s.context, s.config.HandshakeTimeout)
	defer cancel()
	renewed, err := guard("renew", func() (*channels.Socket, error) { return s.config.Renew(ctx, old, token) })
	if errors.Is(err, errHookPanicked) {
		s.config.Logger.Error("renew hook failed", "remote_addr", old.RemoteAddr, "error", err)
	}
	return renewed, err
}
