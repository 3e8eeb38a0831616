package sluice

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
)

// minAdminToken is how many bytes an admin token has at least: who guesses is
// slowed, but not for ever.
const minAdminToken = 16

// adminRole is what who came to the admin listener may do.
type adminRole int

const (
	noAdmin   adminRole = iota
	readAdmin           // may read
	fullAdmin           // may do anything
)

// tokenDigest is what is kept of a token: enough to compare, and nothing to
// steal.
type tokenDigest [sha256.Size]byte

// name tells tokens apart in the audit log.
func (d tokenDigest) name() string { return hex.EncodeToString(d[:4]) }

// adminTokens says who may use the admin listener.
type adminTokens struct {
	full, read *reload.Value[tokenDigest] // nil: there is none
	guesses    guesses
}

// openAdminTokens reads the admin tokens that the configuration names.
func (s *Service) openAdminTokens() error {
	config := &s.config
	for _, each := range []struct {
		field, path string
		into        **reload.Value[tokenDigest]
	}{
		{"AdminTokenFile", config.AdminTokenFile, &s.admin.full},
		{"AdminReadTokenFile", config.AdminReadTokenFile, &s.admin.read},
	} {
		if each.path == "" {
			continue
		}
		token, err := reload.Read(s.logger, func() (tokenDigest, error) { return readAdminToken(each.path, s.logger) }, each.path)
		if err != nil {
			return &FieldError{each.field, each.path, "a file with the token as its one line: " + err.Error()}
		}
		*each.into = token
	}
	if config.AdminToken != "" {
		s.admin.full, _ = reload.Read(s.logger, func() (tokenDigest, error) { return sha256.Sum256([]byte(config.AdminToken)), nil })
	}
	if s.admin.read != nil && s.admin.full.Get() == s.admin.read.Get() {
		return &FieldError{"AdminReadTokenFile", config.AdminReadTokenFile, "another token than that of --admin-token-file"}
	}
	s.admin.guesses.init(s.metrics, s.logger)
	return nil
}

func readAdminToken(path string, logger *slog.Logger) (tokenDigest, error) {
	text, err := reload.ReadFile(path, reload.Secret, logger)
	if err != nil {
		return tokenDigest{}, err
	}
	token := bytes.TrimSpace(text)
	switch {
	case bytes.ContainsAny(token, "\r\n"):
		return tokenDigest{}, errors.New("it has several lines")
	case len(token) < minAdminToken:
		return tokenDigest{}, fmt.Errorf("it has %d characters: at least %d are needed, such as from: openssl rand -hex 32", len(token), minAdminToken)
	}
	return sha256.Sum256(token), nil
}

// guarded tells whether a token is needed at all.
func (a *adminTokens) guarded() bool { return a.full != nil }

// errTooManyGuesses refuses an attempt unseen.
var errTooManyGuesses = errors.New("too many wrong tokens came from this address")

// judge says what a token allows that came from an address. No token is no
// guess.
func (a *adminTokens) judge(ctx context.Context, remoteAddr, token string) (role adminRole, digest tokenDigest, err error) {
	if !a.guarded() || token == "" {
		role, digest = a.role(token)
		return role, digest, nil
	}
	if !a.guesses.wait(ctx, remoteAddr) {
		return noAdmin, digest, errTooManyGuesses
	}
	if role, digest = a.role(token); role == noAdmin {
		a.guesses.wrong(remoteAddr)
	}
	return role, digest, nil
}

// role is what a token allows. Digests are compared, and both always, so that
// the time taken tells nothing of the tokens, their lengths included.
func (a *adminTokens) role(token string) (role adminRole, digest tokenDigest) {
	if !a.guarded() {
		return fullAdmin, digest
	}
	digest = sha256.Sum256([]byte(token))
	role = noAdmin
	if a.read != nil && a.read.Get().equal(digest) {
		role = readAdmin
	}
	if a.full.Get().equal(digest) {
		role = fullAdmin
	}
	return role, digest
}

func (d tokenDigest) equal(other tokenDigest) bool {
	return subtle.ConstantTimeCompare(d[:], other[:]) == 1
}
