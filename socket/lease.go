package socket

import (
	"encoding/json"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sluicehq/sluice/channels"
)

// lease ends a connection when its access does, or when it has become too old.
type lease struct {
	mu sync.Mutex

	// Guarded by mu.
	link    link
	expiry  *time.Timer // nil if the access does not end
	age     *time.Timer // nil if age does not matter
	stopped bool
}

// begin starts the lease of a connection, once it can be shut.
func (s *session) begin(l link) {
	s.lease.mu.Lock()
	defer s.lease.mu.Unlock()
	s.lease.link = l
	s.lease.until(s.current().Expires)
	if age := s.config.MaxConnectionAge; age > 0 {
		s.lease.age = time.AfterFunc(spread(age), func() { l.shut(aged, "") })
	}
}

// spread varies an age by a tenth in both directions, so that connections that
// began together do not end together.
func spread(age time.Duration) time.Duration {
	tenth := age / 10
	return age - tenth + rand.N(2*tenth+1)
}

// until sets when the access ends. Called with mu held.
func (l *lease) until(expires time.Time) {
	if l.expiry != nil {
		l.expiry.Stop()
		l.expiry = nil
	}
	if !expires.IsZero() && !l.stopped {
		ends := l.link
		l.expiry = time.AfterFunc(time.Until(expires), func() { ends.shut(expired, "") })
	}
}

// stop stops the timers.
func (l *lease) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	l.until(time.Time{})
	if l.age != nil {
		l.age.Stop()
	}
}

// renew answers a client that brings a new token, {"access_token": "…"}, on one
// of its channels. Its channels go on, whatever the answer.
func (s *session) renew(m message, actor *channels.Actor) {
	var body struct {
		Token string `json:"access_token"`
	}
	to := m.address()
	to.JoinRef = actor.JoinRef()
	if m.payload.Binary || json.Unmarshal(m.payload.Data, &body) != nil || body.Token == "" {
		s.refuse(to, "no access_token")
		return
	}
	old := s.current()
	renewed, err := s.config.Renew(s.context, old, body.Token)
	if err != nil || renewed == nil || renewed.ID != old.ID {
		s.refuse(to, "unauthorized")
		return
	}
	own := *renewed
	own.RemoteAddr = old.RemoteAddr
	s.socket.Store(&own)
	s.lease.mu.Lock()
	s.lease.until(own.Expires)
	s.lease.mu.Unlock()
	s.reply(to, channels.StatusOK, emptyObject)
}
