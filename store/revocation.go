package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// ClaimName is a claim of clients' tokens (RFC 7519, section 4.1) that a revocation names
// them by.
type ClaimName string

// What tokens can be revoked by.
const (
	ClaimSubject ClaimName = "sub" // all of one subject
	ClaimTokenID ClaimName = "jti" // one
)

// Revocation says that tokens count no more: those with a claim of that value that were
// issued before a time, or do not say when, for as long as one of them may live.
type Revocation struct {
	Kind  ClaimName
	Value string // 1 to MaxRevokedBytes bytes of UTF-8 without zeroes

	// IssuedBefore is by the clock of who issues tokens. Zero in what is to be
	// revoked: now for a subject, by the store's clock, and Until for a token's id,
	// which is no other token's.
	IssuedBefore time.Time

	// Until is by the store's clock. Zero in what is to be revoked:
	// DefaultRevocation from now.
	Until time.Time

	// Number grows with each call of Revoke. What is revoked again has the new one.
	Number int64
}

// Bounds of revocations.
const (
	MaxRevokedBytes   = 1024
	MaxRevocations    = 100_000 // that have not ended
	DefaultRevocation = 30 * 24 * time.Hour
	MaxRevocation     = 10 * 365 * 24 * time.Hour // how long one may last
)

// ErrTooManyRevocations is returned where MaxRevocations are in force.
var ErrTooManyRevocations = errors.New("store: as many revocations are in force as there may be")

// RevocationError says what is wrong with a revocation. It will never be accepted.
type RevocationError struct {
	Field  string // "kind", "value", "issued_before" or "until"
	Reason string // what it is, and what is allowed
}

func (e *RevocationError) Error() string {
	return fmt.Sprintf("store: invalid revocation: %s %s", e.Field, e.Reason)
}

// Revocations are what revokes clients' tokens, on all nodes of the log.
type Revocations interface {
	// Revoke puts a revocation in force, and returns it as it is from then on: one of
	// the same kind and value is in force already, perhaps, and is never weakened. Its
	// IssuedBefore and Until stay where they are the later ones. To revoke twice does
	// no harm. What has ended is removed along with it. The error is a
	// [*RevocationError] for what cannot be revoked, and ErrTooManyRevocations.
	Revoke(ctx context.Context, r Revocation) (Revocation, error)

	// Revocations returns those in force with a number above after, at most limit of
	// them, lowest first. Who asks again with the last number that it knows gets what
	// has come meanwhile, and misses none.
	Revocations(ctx context.Context, after int64, limit int) ([]Revocation, error)
}

// At is the revocation as a store has it that is asked for it at now: with no field
// zero but the number, and times in microseconds. The error is a [*RevocationError].
func (r Revocation) At(now time.Time) (Revocation, error) {
	refuse := func(field, format string, args ...any) (Revocation, error) {
		return Revocation{}, &RevocationError{field, fmt.Sprintf(format, args...)}
	}
	if r.Kind != ClaimSubject && r.Kind != ClaimTokenID {
		return refuse("kind", "is %q: allowed are %s and %s", string(r.Kind), ClaimSubject, ClaimTokenID)
	}
	switch {
	case r.Value == "":
		return refuse("value", "is empty")
	case len(r.Value) > MaxRevokedBytes:
		return refuse("value", "has %d bytes; at most %d are allowed", len(r.Value), MaxRevokedBytes)
	case !utf8.ValidString(r.Value) || strings.IndexByte(r.Value, 0) >= 0:
		return refuse("value", "must be UTF-8 without zero bytes")
	}
	if r.Until.IsZero() {
		r.Until = now.Add(DefaultRevocation)
	}
	if r.IssuedBefore.IsZero() {
		r.IssuedBefore = now
		if r.Kind == ClaimTokenID {
			r.IssuedBefore = r.Until
		}
	}
	r.IssuedBefore, r.Until = r.IssuedBefore.UTC().Truncate(time.Microsecond), r.Until.UTC().Truncate(time.Microsecond)
	switch {
	case !r.Until.After(now):
		return refuse("until", "is %s, which has passed: by the store's clock it is %s", writeTime(r.Until), writeTime(now))
	case r.Until.After(now.Add(MaxRevocation)):
		return refuse("until", "is %s: it may be %s at most", writeTime(r.Until), writeTime(now.Add(MaxRevocation)))
	case r.IssuedBefore.After(r.Until):
		return refuse("issued_before", "is %s, later than until, %s, when the revocation ends", writeTime(r.IssuedBefore), writeTime(r.Until))
	case r.IssuedBefore.Before(time.Unix(0, 0)):
		return refuse("issued_before", "is %s: no token was issued before that", writeTime(r.IssuedBefore))
	}
	return r, nil
}

func writeTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }
