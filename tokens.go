package sluice

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"strings"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"

	"github.com/sluicehq/sluice/channels"
)

// access is what a token grants.
type access struct {
	subject string    // whom it was given to; empty if it does not say
	topics  []string  // patterns of topics that may be joined
	listed  bool      // the token lists topics at all
	expires time.Time // when the access ends; zero for never
}

// allows tells whether the token lists a topic.
func (a *access) allows(topic string) bool {
	for _, pattern := range a.topics {
		if channels.Matches(pattern, topic) {
			return true
		}
	}
	return false
}

// socketID names the sockets of the token's subject, for disconnecting them.
func (a *access) socketID() string {
	if a.subject == "" {
		return ""
	}
	return "user:" + a.subject
}

// socket is a connection with this access. It keeps what else it was assigned.
func (a *access) socket(assigns map[string]any) *Socket {
	own := map[string]any{}
	maps.Copy(own, assigns)
	own[tokenAssign] = a
	return &Socket{ID: a.socketID(), Assigns: own, Expires: a.expires}
}

// signatures are the algorithms that tokens may be signed with (RFC 7518,
// section 3.1, and RFC 8037 for EdDSA).
var signatures = []string{
	"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
	"ES256", "ES384", "ES512", "EdDSA",
}

// weakSecret is the length in bytes below which a shared secret is weaker than
// the hash that it is used with (RFC 7518, section 3.2).
const weakSecret = 32

// keys verify tokens (RFC 7519).
type keys struct {
	parser *jwt.Parser
	verify *watched[jwt.Keyfunc]
}

// openKeys reads the keys that the configuration names, nil if it names none.
func openKeys(config *Config) (*keys, error) {
	var field, path string
	var parse func([]byte) (jwt.Keyfunc, error)
	logger := config.logger()
	switch {
	case config.JWTSecretFile != "":
		field, path, parse = "JWTSecretFile", config.JWTSecretFile, func(text []byte) (jwt.Keyfunc, error) { return parseSecret(text, logger) }
	case config.JWTKeysFile != "":
		field, path, parse = "JWTKeysFile", config.JWTKeysFile, parseKeySet
	default:
		return nil, nil
	}
	verify, err := watch(logger, func() (jwt.Keyfunc, error) {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		return parse(text)
	}, path)
	if err != nil {
		return nil, &FieldError{field, path, "a file with keys to verify tokens with: " + err.Error()}
	}
	return &keys{parser: jwt.NewParser(jwt.WithValidMethods(signatures)), verify: verify}, nil
}

// check verifies a token and returns what it grants.
func (k *keys) check(token string) (*access, error) {
	var claims struct {
		jwt.RegisteredClaims
		Topics []string `json:"topics"`
	}
	if _, err := k.parser.ParseWithClaims(token, &claims, k.verify.get()); err != nil {
		return nil, fmt.Errorf("check token: %w", err)
	}
	a := &access{subject: claims.Subject, topics: claims.Topics, listed: claims.Topics != nil}
	if claims.ExpiresAt != nil {
		a.expires = claims.ExpiresAt.Time
	}
	return a, nil
}

// parseSecret reads a shared secret: the text without the line end that
// editors put after it.
func parseSecret(text []byte, logger *slog.Logger) (jwt.Keyfunc, error) {
	secret := []byte(strings.TrimRight(string(text), "\r\n"))
	if len(secret) == 0 {
		return nil, errors.New("it is empty")
	}
	if len(secret) < weakSecret {
		logger.Warn("the secret that signs tokens is short enough to be guessed", "bytes", len(secret), "recommended", weakSecret)
	}
	return func(*jwt.Token) (any, error) { return secret, nil }, nil
}

// parseKeySet reads a JSON Web Key Set (RFC 7517).
func parseKeySet(text []byte) (jwt.Keyfunc, error) {
	set, err := keyfunc.NewJWKSetJSON(text)
	if err != nil {
		return nil, fmt.Errorf("read JSON Web Key Set: %w", err)
	}
	return set.Keyfunc, nil
}
