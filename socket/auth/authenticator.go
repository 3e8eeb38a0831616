package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/socket"
)

// Config says which tokens are good, and whether one is needed. The zero Config lets
// in nobody.
type Config struct {
	// SecretFile has the secret that signs tokens, KeysFile public keys as a JSON Web
	// Key Set (RFC 7517). They are read again once they have changed. KeysURL is where such
	// a set is fetched from, by [Authenticator.Run]: see [CheckKeysURL]. At most one of them
	// is given; with none there are no tokens.
	SecretFile, KeysFile, KeysURL string
	// PreviousSecretFile has the secret before that of SecretFile, which counts until
	// PreviousUntil. Empty: there is none.
	PreviousSecretFile string
	PreviousUntil      time.Time
	// Issuer and Audience are what a token's iss and aud must say; of several
	// audiences one is enough. Empty: they are not looked at.
	Issuer   string
	Audience []string
	// Algorithms are the [Signatures] that are accepted. Empty: all.
	Algorithms []string
	// Leeway is how far apart the clocks of the issuer and of this node may be, at
	// most [MaxLeeway].
	Leeway time.Duration
	// RequireExp refuses tokens that never expire.
	RequireExp bool
	// Connect says what a client may that brings no token, or none that there are keys
	// for. An error refuses it. Nil: nobody is asked.
	Connect func(ctx context.Context, r *socket.ConnectRequest) (*Access, error)
	// Claims tells whether an [Access] keeps all claims of its token. Nil: it does not.
	Claims func() bool
	// Anonymous lets in clients without a token, where Connect is nil.
	Anonymous bool
	// Revocations has the tokens that count no more. Nil: there are none.
	Revocations Revocations
	// Logger is told when keys are read again. Required.
	Logger *slog.Logger
}

// Revocations are the tokens that count no more though they have not expired.
type Revocations interface {
	// Check tells whether a token has been revoked that names its subject, itself and
	// when it was issued, as far as it does: "", and zero. An error says that it is
	// not known.
	Check(subject, id string, issued time.Time) (revoked bool, err error)
}

// ErrRevoked says that a token has been revoked.
var ErrRevoked = errors.New("the token has been revoked")

// Authenticator says who may connect. Its methods may be called concurrently.
type Authenticator struct {
	// Immutable after Open.
	tokens    *verifier   // nil where there are no tokens
	revoked   Revocations // nil where there are none
	connect   func(context.Context, *socket.ConnectRequest) (*Access, error)
	anonymous bool
}

// Open reads the keys that the configuration names.
func Open(config Config) (*Authenticator, error) {
	tokens, err := openVerifier(config)
	if err != nil {
		return nil, err
	}
	return &Authenticator{tokens, config.Revocations, config.Connect, config.Anonymous}, nil
}

// HasKeys tells whether there are keys to verify tokens with. Without any, Renew must not
// be called.
func (a *Authenticator) HasKeys() bool { return a.tokens != nil }

// Judges tells whether clients are let in by what they are: by tokens, or by Config.Connect.
// Otherwise there is nothing that could be taken away again.
func (a *Authenticator) Judges() bool { return a.tokens != nil || a.connect != nil }

// tokenAssign is where a socket keeps the access that its token grants.
const tokenAssign = "sluice.access"

// Authenticate is a connect hook: it lets in clients with a token, and those without
// where Config.Connect or Config.Anonymous allows that.
func (a *Authenticator) Authenticate(ctx context.Context, r *socket.ConnectRequest) (*channels.Socket, error) {
	token := cmp.Or(r.Token, r.Params.Get("token"))
	switch {
	case a.tokens != nil && token != "":
		granted, err := a.check(token)
		if err != nil {
			return nil, refusal(err)
		}
		return granted.socket(nil), nil
	case a.connect != nil:
		granted, err := a.connect(ctx, r)
		if err != nil {
			return nil, err
		}
		if err := a.counts(granted); err != nil {
			return nil, refusal(err)
		}
		return granted.socket(nil), nil
	case a.anonymous:
		return &channels.Socket{}, nil
	}
	return nil, &socket.Refusal{Status: http.StatusForbidden, Reason: "a token is needed to connect", Cause: socket.TokenMissing}
}

// refusal says why a token does not let its client in.
func refusal(err error) *socket.Refusal {
	refused := &socket.Refusal{Status: http.StatusForbidden, Reason: err.Error(), Cause: socket.TokenInvalid}
	switch {
	case errors.Is(err, socket.ErrUnavailable):
		refused.Status, refused.Reason, refused.Cause = http.StatusServiceUnavailable, "it is not known now whether the token counts", socket.Unavailable
	case errors.Is(err, ErrRevoked):
		refused.Cause = socket.TokenRevoked
	case errors.Is(err, jwt.ErrTokenExpired):
		refused.Cause = socket.TokenExpired
	}
	return refused
}

// check verifies a token that counts, and returns what it grants. The error is
// [ErrRevoked] for one that does not count any more, and wraps [socket.ErrUnavailable]
// where that is not known.
func (a *Authenticator) check(token string) (*Access, error) {
	granted, err := a.tokens.check(token)
	if err == nil {
		err = a.counts(granted)
	}
	return granted, err
}

// counts returns an error if a token has been revoked, or may have been.
func (a *Authenticator) counts(token *Access) error {
	if a.revoked == nil {
		return nil
	}
	switch revoked, err := a.revoked.Check(token.Subject, token.id, token.issued); {
	case err != nil:
		return fmt.Errorf("%w: %w", socket.ErrUnavailable, err)
	case revoked:
		return ErrRevoked
	}
	return nil
}

// Of is what a socket's token grants, or Config.Connect has; nil if it came without either.
func Of(s *channels.Socket) *Access {
	granted, _ := s.Assigns[tokenAssign].(*Access)
	return granted
}

// Renew judges the token that a client brings while it is connected: it must
// be its own.
func (a *Authenticator) Renew(_ context.Context, old *channels.Socket, token string) (*channels.Socket, error) {
	granted, err := a.check(token)
	if err != nil {
		return nil, err
	}
	if granted.socketID() != old.ID {
		return nil, errors.New("renew access: the token is another subject's")
	}
	return granted.socket(old.Assigns), nil
}

// Holds tells whether what let a client in would still do so: its newest token, as far
// as is known.
func (a *Authenticator) Holds(s *channels.Socket) bool {
	return a.accessHolds(Of(s))
}

func (a *Authenticator) accessHolds(token *Access) bool {
	return token == nil || a.keyHolds(token) && !errors.Is(a.counts(token), ErrRevoked)
}

// HoldsLater is Holds for who asks when the client may have left: it keeps so many bytes of
// what let the client in, and nothing of its socket.
func (a *Authenticator) HoldsLater(s *channels.Socket) (holds func() bool, bytes int) {
	token := Of(s)
	if token == nil {
		return nil, 0
	}
	kept := &Access{
		Subject: strings.Clone(token.Subject), id: strings.Clone(token.id),
		issued: token.issued, key: token.key, granted: token.granted,
	}
	return func() bool { return a.accessHolds(kept) }, len(kept.Subject) + len(kept.id)
}

// keyHolds tells whether what the access was granted by is still there.
func (a *Authenticator) keyHolds(access *Access) bool {
	return access.granted || a.tokens != nil && a.tokens.hasKeyOf(access)
}

// Admit returns an error for clients that may not join now, whatever it is: their token
// has been revoked, or may have been.
func (a *Authenticator) Admit(s *channels.Socket) error {
	if token := Of(s); token != nil {
		return a.counts(token)
	}
	return nil
}

// Reread reads the keys again, and returns what puts them in force.
func (a *Authenticator) Reread() (accept func(), err error) {
	if a.tokens == nil {
		return func() {}, nil
	}
	return a.tokens.keys.Reread()
}

// Changes counts how often the keys have been read again.
func (a *Authenticator) Changes() int {
	if a.tokens == nil {
		return 0
	}
	return a.tokens.changes()
}

// Run fetches keys until ctx ends, where they are to be fetched.
func (a *Authenticator) Run(ctx context.Context) {
	if a.tokens != nil && a.tokens.remote != nil {
		a.tokens.remote.Run(ctx)
	}
}

// Err says why no token can be verified now, nil if they can.
func (a *Authenticator) Err() error {
	if a.tokens != nil && a.tokens.remote != nil {
		return a.tokens.remote.Err()
	}
	return nil
}
