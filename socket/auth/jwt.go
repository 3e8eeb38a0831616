package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/internal/reload"
	"github.com/sluicehq/sluice/socket"
)

// Access is what a token grants.
type Access struct {
	Subject string    // whom it was given to; empty if it does not say
	Topics  []string  // patterns of topics that may be joined
	Listed  bool      // the token lists topics at all
	Expires time.Time // when the access ends; zero for never
	Claims  []byte    // all of them, a JSON object; nil unless Config.Claims asks for them
	id      string    // of the token; empty if it has none
	issued  time.Time // when the token was; zero if it does not say
	key     keyID     // of the key that verified it
	granted bool      // by Config.Connect: there is no token
}

// Grant is access that is given without a token: from now on, and by what claims say
// besides. They are a JSON object, or nil.
func Grant(subject string, topics []string, listed bool, expires time.Time, said []byte) (*Access, error) {
	a := &Access{Subject: subject, Topics: topics, Listed: listed, Expires: expires, issued: time.Now(), granted: true}
	claims := map[string]jsontext.Value{}
	if said != nil {
		if err := json.Unmarshal(said, &claims); err != nil {
			return nil, fmt.Errorf("claims: %w", err)
		}
	}
	if id, ok := claims["jti"]; ok && json.Unmarshal(id, &a.id) != nil {
		return nil, fmt.Errorf("claims: jti must be %s", claimTypes["jti"])
	}
	for name, value := range map[string]any{"sub": subject, "topics": topics, "exp": expires.Unix()} {
		delete(claims, name) // what is said outside of the claims counts
		if name == "sub" && subject == "" || name == "topics" && !listed || name == "exp" && expires.IsZero() {
			continue
		}
		text, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("claims: %w", err)
		}
		claims[name] = text
	}
	var err error
	a.Claims, err = json.Marshal(claims, json.Deterministic(true))
	return a, err
}

// Allows tells whether the token lists a topic.
func (a *Access) Allows(topic string) bool {
	for _, pattern := range a.Topics {
		if channels.Matches(pattern, topic) {
			return true
		}
	}
	return false
}

// socketID names the sockets of the token's subject, for disconnecting them.
func (a *Access) socketID() string {
	if a.Subject == "" {
		return ""
	}
	return "user:" + a.Subject
}

// socket is a connection with this access. It keeps what else it was assigned.
func (a *Access) socket(assigns map[string]any) *channels.Socket {
	own := map[string]any{}
	maps.Copy(own, assigns)
	own[tokenAssign] = a
	return &channels.Socket{ID: a.socketID(), Assigns: own, Expires: a.Expires}
}

// Signatures are the algorithms that tokens may be signed with (RFC 7518,
// section 3.1, and RFC 8037 for EdDSA).
var Signatures = []string{
	"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
	"ES256", "ES384", "ES512", "EdDSA",
}

// MaxLeeway is how far apart the clocks of the issuer and of this node may be.
const MaxLeeway = 10 * time.Minute

// verifier verifies tokens (RFC 7519).
type verifier struct {
	parser *jwt.Parser
	leeway time.Duration
	keys   keySource
	remote *remoteKeys // the keys, where they are fetched; nil elsewhere
	before time.Time   // until when the secret before counts; zero: there is none
	claims func() bool // whether they are kept
}

// keySource has the keys in force.
type keySource interface {
	Get() keySet
	Count() int // how often they have become others
	Reread() (accept func(), err error)
}

// openVerifier reads the keys that the configuration names, nil if it names
// none.
func openVerifier(config Config) (*verifier, error) {
	var path string
	var parse func([]byte, *slog.Logger) (keySet, error)
	kind := reload.Secret
	switch {
	case config.KeysURL != "":
		remote := newRemoteKeys(config.KeysURL, config.Logger)
		return newVerifier(config, remote, remote), nil
	case config.SecretFile != "":
		path, parse = config.SecretFile, parseSecret
	case config.KeysFile != "":
		path, parse, kind = config.KeysFile, parseKeySet, reload.Public
	default:
		return nil, nil
	}
	paths := []string{path}
	if config.PreviousSecretFile != "" {
		paths = append(paths, config.PreviousSecretFile)
	}
	keys, err := reload.Read(config.Logger, func() (set keySet, err error) {
		for i, path := range paths {
			text, err := reload.ReadFile(path, kind, config.Logger)
			var keys keySet
			if err == nil {
				keys, err = parse(text, config.Logger)
			}
			switch {
			case err != nil && i > 0:
				return nil, fmt.Errorf("the previous secret, %s: %w", path, err)
			case err != nil:
				return nil, err
			case i > 0:
				keys[0].until = config.PreviousUntil
			}
			set = append(set, keys...)
		}
		return set, nil
	}, paths...)
	if err != nil {
		return nil, err
	}
	return newVerifier(config, keys, nil), nil
}

// newVerifier returns a verifier by keys, which are remote or not.
func newVerifier(config Config, keys keySource, remote *remoteKeys) *verifier {
	methods := config.Algorithms
	if len(methods) == 0 {
		methods = Signatures
	}
	options := []jwt.ParserOption{jwt.WithValidMethods(methods), jwt.WithLeeway(config.Leeway), jwt.WithStrictDecoding()}
	if config.RequireExp {
		options = append(options, jwt.WithExpirationRequired())
	}
	if config.Issuer != "" {
		options = append(options, jwt.WithIssuer(config.Issuer))
	}
	if len(config.Audience) > 0 {
		options = append(options, jwt.WithAudience(config.Audience...))
	}
	return &verifier{jwt.NewParser(options...), config.Leeway, keys, remote, config.PreviousUntil, config.Claims}
}

// check verifies a token and returns what it grants.
func (v *verifier) check(token string) (*Access, error) {
	var claims claims
	var verified keyID
	if _, err := v.parser.ParseWithClaims(token, &claims, func(t *jwt.Token) (any, error) {
		key, err := v.find(t)
		verified = key.id
		return key.material, err
	}); err != nil {
		return nil, fmt.Errorf("check token: %w", err)
	}
	a := &Access{Subject: claims.Subject, Topics: claims.topics, Listed: claims.listed, id: claims.ID, key: verified}
	if v.claims != nil && v.claims() {
		a.Claims = claims.text
	}
	if claims.IssuedAt != nil {
		a.issued = claims.IssuedAt.Time
	}
	if claims.ExpiresAt != nil {
		a.Expires = claims.ExpiresAt.Add(v.leeway)
	}
	return a, nil
}

// find returns the key that verifies a token. One that is not there may have come since keys
// were fetched.
func (v *verifier) find(t *jwt.Token) (verifyKey, error) {
	key, err := v.keys.Get().find(t)
	if v.remote == nil || !errors.Is(err, errNoKey) {
		return key, err
	}
	_ = v.remote.fetch(context.Background(), unknownInterval) // it is told in the log
	if err := v.remote.Err(); err != nil {
		return key, fmt.Errorf("%w: %w", socket.ErrUnavailable, err)
	}
	return v.keys.Get().find(t)
}

// changes counts how often the keys that count have become others.
func (v *verifier) changes() int {
	n := v.keys.Count()
	if !v.before.IsZero() && !time.Now().Before(v.before) {
		n++
	}
	return n
}

// hasKeyOf tells whether the key that verified a token is still one of ours.
func (v *verifier) hasKeyOf(a *Access) bool { return v.keys.Get().has(a.key) }

// claims are what a token says.
type claims struct {
	jwt.RegisteredClaims
	topics []string
	listed bool
	text   []byte
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
	c.RegisteredClaims, c.text = said.RegisteredClaims, bytes.Clone(text)
	return err
}
