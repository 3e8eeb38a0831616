package sluice

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/internal/reload"
)

// access is what a token grants.
type access struct {
	subject string    // whom it was given to; empty if it does not say
	topics  []string  // patterns of topics that may be joined
	listed  bool      // the token lists topics at all
	expires time.Time // when the access ends; zero for never
	key     keyID     // of the key that verified it
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

// maxLeeway is how far apart the clocks of the issuer and of this node may be.
const maxLeeway = 10 * time.Minute

// verifier verifies tokens (RFC 7519).
type verifier struct {
	parser *jwt.Parser
	leeway time.Duration
	keys   *reload.Value[keySet]
}

// openVerifier reads the keys that the configuration names, nil if it names
// none or they are not fit.
func openVerifier(config *Config, f *faults) *verifier {
	var field, path string
	var parse func([]byte, *slog.Logger) (keySet, error)
	kind := reload.Secret
	switch {
	case config.JWTSecretFile != "":
		field, path, parse = "JWTSecretFile", config.JWTSecretFile, parseSecret
	case config.JWTKeysFile != "":
		field, path, parse, kind = "JWTKeysFile", config.JWTKeysFile, parseKeySet, reload.Public
	default:
		return nil
	}
	logger := config.logger()
	keys, err := reload.Read(logger, func() (keySet, error) {
		text, err := reload.ReadFile(path, kind, logger)
		if err != nil {
			return nil, err
		}
		return parse(text, logger)
	}, path)
	if err != nil {
		f.add(field, path, "a file with keys to verify tokens with: "+err.Error())
		return nil
	}
	methods := config.JWTAlgorithms
	if len(methods) == 0 {
		methods = signatures
	}
	options := []jwt.ParserOption{jwt.WithValidMethods(methods), jwt.WithLeeway(config.JWTLeeway), jwt.WithStrictDecoding()}
	if config.JWTRequireExp {
		options = append(options, jwt.WithExpirationRequired())
	}
	if config.JWTIssuer != "" {
		options = append(options, jwt.WithIssuer(config.JWTIssuer))
	}
	if len(config.JWTAudience) > 0 {
		options = append(options, jwt.WithAudience(config.JWTAudience...))
	}
	return &verifier{jwt.NewParser(options...), config.JWTLeeway, keys}
}

// validateTokens reports what cannot be asked of tokens.
func (c *Config) validateTokens(f *faults) {
	for _, each := range c.JWTAlgorithms {
		if !slices.Contains(signatures, each) {
			f.add("JWTAlgorithms", each, strings.Join(signatures, ", "))
		}
	}
	if c.JWTSecretFile != "" || c.JWTKeysFile != "" {
		return
	}
	for _, each := range [][2]string{
		{"JWTIssuer", c.JWTIssuer},
		{"JWTAudience", strings.Join(c.JWTAudience, ",")},
		{"JWTAlgorithms", strings.Join(c.JWTAlgorithms, ",")},
	} {
		if field, given := each[0], each[1]; given != "" {
			f.add(field, given, "nothing without --jwt-secret-file or --jwt-keys-file: there are no tokens to ask it of")
		}
	}
}

// check verifies a token and returns what it grants.
func (v *verifier) check(token string) (*access, error) {
	var claims claims
	var verified keyID
	if _, err := v.parser.ParseWithClaims(token, &claims, func(t *jwt.Token) (any, error) {
		key, err := v.keys.Get().find(t)
		verified = key.id
		return key.material, err
	}); err != nil {
		return nil, fmt.Errorf("check token: %w", err)
	}
	a := &access{subject: claims.Subject, topics: claims.topics, listed: claims.listed, key: verified}
	if claims.ExpiresAt != nil {
		a.expires = claims.ExpiresAt.Add(v.leeway)
	}
	return a, nil
}

// holds tells whether the key that verified a token is still one of ours.
func (v *verifier) holds(a *access) bool { return v.keys.Get().has(a.key) }

// claims are what a token says.
type claims struct {
	jwt.RegisteredClaims
	topics []string
	listed bool
}

// claimTypes say what the claims must be that we read.
var claimTypes = map[string]string{
	"iss": "a string", "sub": "a string", "jti": "a string", "aud": "a string or a list of strings",
	"exp": "a number", "nbf": "a number", "iat": "a number", "topics": "a list of strings",
}

// UnmarshalJSON implements [encoding/json.Unmarshaler]. Claims are told apart by
// case, and none comes twice (RFC 7519, section 4): encoding/json sees to
// neither.
func (c *claims) UnmarshalJSON(text []byte) error {
	var said struct {
		jwt.RegisteredClaims
		Topics jsontext.Value `json:"topics"`
	}
	err := json.Unmarshal(text, &said)
	if kind := said.Topics.Kind(); err == nil && kind != 0 {
		c.listed = true
		if err = json.Unmarshal(said.Topics, &c.topics); err == nil && kind != '[' {
			err = errors.New("null")
		}
		if err != nil {
			err = &json.SemanticError{JSONPointer: "/topics"}
		}
	}
	if wrong := new(json.SemanticError); errors.As(err, &wrong) {
		for name := range wrong.JSONPointer.Tokens() {
			if want := claimTypes[name]; want != "" {
				return fmt.Errorf("the claim %q must be %s", name, want)
			}
			break
		}
		return errors.New("the claims must be a JSON object")
	}
	c.RegisteredClaims = said.RegisteredClaims
	return err
}
