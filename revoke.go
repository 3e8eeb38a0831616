package sluice

import (
	"context"
	"fmt"

	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/internal/revocation"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/socket/auth"
	"github.com/sluicehq/sluice/store"
)

// Revoke has tokens count no more: all of a subject that were issued before a time, or one
// by its id. It is kept in the store, and returned as it is there. When Revoke returns,
// this node has closed the sockets (1008) whose newest token is among them; the others of
// the same store do so within two seconds. Who brings such a token later, to connect or to
// renew, is refused. A socket without a token, or of a connect hook that does not ask
// [Service.Authenticate], is none of this.
//
// The error is a [*RevocationError] for what cannot be revoked, [ErrTooManyRevocations],
// [ErrNotOpen], or that the store is away. Then it may be in force all the same, and is to
// be made again.
func (s *Service) Revoke(ctx context.Context, r Revocation) (Revocation, error) {
	log := s.stream.Log()
	if log == nil {
		return Revocation{}, ErrNotOpen
	}
	if r.Until.IsZero() && !*s.config.JWTRequireExp {
		return Revocation{}, &RevocationError{Field: "until", Reason: "is missing: tokens may live for ever here (--jwt-require-exp=false), so say how long they are to be refused"}
	}
	r, err := log.Revoke(ctx, r)
	if err != nil {
		return Revocation{}, fmt.Errorf("revoke: %w", err)
	}
	_ = s.bus.Publish(revokedSubject, nil) // it hastens the others, who look by themselves
	if s.revoked != nil {
		if err := s.revoked.Refresh(ctx, log); err != nil {
			s.logger.Warn("tokens are revoked, and this node will see it a little later", "error", err)
		}
	}
	return r, nil
}

// makeAuthenticator makes what judges tokens, with the revocations that it judges them by.
func (s *Service) makeAuthenticator(f *faults) {
	list := revocation.New(revocation.Config{Changed: s.confirm, Logger: s.logger})
	var revoked auth.Revocations = list
	s.auth = s.config.authenticator(f, revoked, s.askConnect, s.keepsClaims)
	if s.auth != nil && s.auth.Judges() {
		s.revoked = list
	}
}

// revokedSubject is where nodes say that they have revoked something.
const revokedSubject = "revoked"

// hearRevocations has this node look as soon as another says that it has revoked.
func (s *Service) hearRevocations() error {
	if s.revoked == nil {
		return nil
	}
	_, err := s.bus.Subscribe(revokedSubject, func(cluster.Message) { s.revoked.Hasten() })
	return err
}

// confirm closes the sockets that would not be let in any more.
func (s *Service) confirm() {
	for _, m := range s.mounts {
		m.endpoint.Confirm()
	}
}

// measureRevocations has metrics and readiness tell what this node knows of them.
func (s *Service) measureRevocations() {
	if s.revoked == nil {
		return
	}
	s.monitor.Need(s.revoked.Err)
	s.monitor.Need(s.auth.Err)
	s.metrics.GaugeFunc(metrics.Revocations, func() int64 { return int64(s.revoked.Count()) })
	s.metrics.GaugeFunc(metrics.RevocationsAge, func() int64 { return int64(s.revoked.Age().Seconds()) })
}

// loadRevocations reads what is revoked, before anybody is let in by a token. It asks
// until the store can tell.
func (s *Service) loadRevocations(ctx context.Context, log store.Log) error {
	if s.revoked == nil {
		return nil
	}
	_, err := untilAvailable(ctx, func() (struct{}, error) {
		err := s.revoked.Refresh(ctx, log)
		if err != nil {
			s.readiness.Fail(err)
		}
		return struct{}{}, err
	}, s.logger)
	return err
}

// followRevocations keeps this node's copy in step with the store until it is stopped. It
// is nil where there are no tokens to judge.
func (s *Service) followRevocations(ctx context.Context, log store.Log, fail context.CancelCauseFunc) *task {
	if s.revoked == nil {
		return nil
	}
	return start(ctx, "revocations", func(ctx context.Context) error { return s.revoked.Run(ctx, log) }, fail)
}
