package admin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"

	"github.com/sluicehq/sluice/internal/reload"
	"github.com/sluicehq/sluice/metrics"
)

// MinToken is how many bytes an admin token has at least: who guesses is
// slowed, but not for ever.
const MinToken = 16

// role is what who came to the admin listener may do.
type role int

const (
	noAdmin   role = iota
	readAdmin      // may read
	fullAdmin      // may do anything
)

// tokenDigest is what is kept of a token: enough to compare, and nothing to
// steal.
type tokenDigest [sha256.Size]byte

// name tells tokens apart in the audit log.
func (d tokenDigest) name() string { return hex.EncodeToString(d[:4]) }

// Token is what is kept of a token, read again once its file has changed.
type Token = reload.Value[tokenDigest]

// ReadToken reads the token that is the one line of a file.
func ReadToken(path string, logger *slog.Logger) (*Token, error) {
	return reload.Read(logger, func() (tokenDigest, error) { return digestOf(path, logger) }, path)
}

// FixedToken is a token that never changes.
func FixedToken(text string, logger *slog.Logger) *Token {
	token, _ := reload.Read(logger, func() (tokenDigest, error) { return sha256.Sum256([]byte(text)), nil })
	return token
}

// Tokens says who may use the admin listener.
type Tokens struct {
	full, read *Token // nil: there is none
	guesses    guesses
}

// ErrSameToken is returned where one token would be the full one and the reading one.
var ErrSameToken = errors.New("admin: the token that may read is the one that may do anything")

// NewTokens lets in who brings one of the tokens: full may do anything, read may
// read. Both may be nil; then everybody may do anything.
func NewTokens(full, read *Token, set *metrics.Set, logger *slog.Logger) (*Tokens, error) {
	if read != nil && full.Get() == read.Get() {
		return nil, ErrSameToken
	}
	t := &Tokens{full: full, read: read}
	t.guesses.init(set, logger)
	return t, nil
}

// Rereads read the tokens again, and return what puts them in force.
func (t *Tokens) Rereads() []func() (accept func(), err error) {
	return []func() (func(), error){t.full.Reread, t.read.Reread}
}

// Changes counts how often what lets sockets of the console in has been read again.
func (t *Tokens) Changes() int { return t.full.Count() }

// digestOf reads a token from its file.
func digestOf(path string, logger *slog.Logger) (tokenDigest, error) {
	text, err := reload.ReadFile(path, reload.Secret, logger)
	if err != nil {
		return tokenDigest{}, err
	}
	token := bytes.TrimSpace(text)
	switch {
	case bytes.ContainsAny(token, "\r\n"):
		return tokenDigest{}, errors.New("it has several lines")
	case len(token) < MinToken:
		return tokenDigest{}, fmt.Errorf("it has %d characters: at least %d are needed, such as from: openssl rand -hex 32", len(token), MinToken)
	}
	return sha256.Sum256(token), nil
}

// guarded tells whether a token is needed at all.
func (t *Tokens) guarded() bool { return t.full != nil }

// errTooManyGuesses refuses an attempt unseen.
var errTooManyGuesses = errors.New("too many wrong tokens came from this address")

// judge says what a token allows that came from an address. No token is no
// guess.
func (t *Tokens) judge(ctx context.Context, remoteAddr, token string) (may role, digest tokenDigest, err error) {
	if !t.guarded() || token == "" {
		may, digest = t.role(token)
		return may, digest, nil
	}
	if !t.guesses.wait(ctx, remoteAddr) {
		return noAdmin, digest, errTooManyGuesses
	}
	if may, digest = t.role(token); may == noAdmin {
		t.guesses.wrong(remoteAddr)
	}
	return may, digest, nil
}

// role is what a token allows. Digests are compared, and both always, so that
// the time taken tells nothing of the tokens, their lengths included.
func (t *Tokens) role(token string) (may role, digest tokenDigest) {
	if !t.guarded() {
		return fullAdmin, digest
	}
	digest = sha256.Sum256([]byte(token))
	may = noAdmin
	if t.read != nil && t.read.Get().equal(digest) {
		may = readAdmin
	}
	if t.full.Get().equal(digest) {
		may = fullAdmin
	}
	return may, digest
}

func (d tokenDigest) equal(other tokenDigest) bool {
	return subtle.ConstantTimeCompare(d[:], other[:]) == 1
}
