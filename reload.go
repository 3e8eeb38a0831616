package sluice

import (
	"context"
	"crypto/tls"
	"errors"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/internal/reload"
)

// inForce is what says who may do what and is replaced while the service runs.
type inForce struct {
	topics      atomic.Pointer[[]TopicRule]
	certificate atomic.Pointer[reload.Value[*tls.Certificate]] // nil: no TLS, or not listening yet
}

// rules are the rules for topics in force.
func (s *Service) rules() []TopicRule { return *s.inForce.topics.Load() }

// Reload puts other rules for topics in force, and reads keys, admin tokens and
// certificates again. Joined channels are judged by them: one that they do not
// admit ends with phx_error, and a socket whose key is gone is closed. How
// messages are delivered is said anew by the next join. If anything is wrong,
// all of it is told and the old stays in force.
func (s *Service) Reload(topics []TopicRule) error {
	changed := s.config
	changed.Topics = topics
	var f faults
	changed.validateTopics(&f)
	errs := []error{f.join()}
	var accepts []func()
	for _, reread := range s.rereads() {
		accept, err := reread()
		accepts, errs = append(accepts, accept), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, accept := range accepts {
		accept()
	}
	s.inForce.topics.Store(&topics)
	s.review()
	return nil
}

// rereads read what comes from files.
func (s *Service) rereads() []func() (func(), error) {
	list := append([]func() (func(), error){s.inForce.certificate.Load().Reread}, s.admin.Rereads()...)
	return append(list, s.auth.Reread)
}

// watchAccess looks at the files that access depends on until ctx ends: what a
// key or token that has been taken away let in is closed without anybody asking.
func (s *Service) watchAccess(ctx context.Context) error {
	ticker := time.NewTicker(reload.Interval)
	defer ticker.Stop()
	for seen := s.reads(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if reads := s.reads(); reads != seen {
			seen = reads
			s.review()
		}
	}
}

// reads counts how often what lets sockets in has been read again.
func (s *Service) reads() int {
	return s.admin.Changes() + s.auth.Changes()
}

// review judges all sockets and their channels again.
func (s *Service) review() {
	for _, m := range s.mounts {
		m.endpoint.Review()
	}
}
