package auth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

// weakSecret is the length in bytes below which a shared secret is weaker than
// the hash that it is used with (RFC 7518, section 3.2).
const weakSecret = 32

// keyID tells keys apart by what they are made of.
type keyID uint64

// verifyKey is one key, and what it may be used for.
type verifyKey struct {
	id       keyID
	kid      string    // "": it has no name
	alg      string    // the only algorithm that it is for; "": any that it fits
	material any       // what the algorithm takes
	until    time.Time // when it counts no more; zero: it does for as long as it is there
}

// errNoKey says that there is no key that could verify a token.
var errNoKey = errors.New("no key is for this token's kid and alg")

// keySet is the keys that tokens may be signed with.
type keySet []verifyKey

func (s keySet) has(id keyID) bool {
	return slices.ContainsFunc(s, func(k verifyKey) bool { return k.id == id && k.counts() })
}

// find returns the key that verifies a token. What a key says of its use counts
// whether the token names the key or not (RFC 8725, section 3.1). Claims to be
// understood that are not ours to understand refuse the token (RFC 7515,
// section 4.1.11).
func (s keySet) find(t *jwt.Token) (verifyKey, error) {
	if _, critical := t.Header["crit"]; critical {
		return verifyKey{}, errors.New("the header has crit, of which nothing is known here")
	}
	kid, named := t.Header["kid"].(string)
	if _, given := t.Header["kid"]; given && !named {
		return verifyKey{}, errors.New("the header's kid is no string")
	}
	var fitting []verifyKey
	for _, k := range s {
		if k.counts() && (!named || k.kid == "" || k.kid == kid) && (k.alg == "" || k.alg == t.Method.Alg()) && k.fits(t.Method) {
			fitting = append(fitting, k)
		}
	}
	switch len(fitting) {
	case 0:
		return verifyKey{}, errNoKey
	case 1:
		return fitting[0], nil
	}
	signed := t.Raw[:strings.LastIndexByte(t.Raw, '.')]
	for _, k := range fitting {
		if t.Method.Verify(signed, t.Signature, k.material) == nil {
			return k, nil
		}
	}
	return fitting[0], nil // for the parser to say what is wrong
}

// counts tells whether the key's time is not over.
func (k verifyKey) counts() bool { return k.until.IsZero() || time.Now().Before(k.until) }

// fits tells whether a key is of the kind that an algorithm takes. The library
// looks at the type, but not at the curve (RFC 7518, section 3.4).
func (k verifyKey) fits(method jwt.SigningMethod) bool {
	ec, ok := k.material.(*ecdsa.PublicKey)
	algorithm, is := method.(*jwt.SigningMethodECDSA)
	return !ok || !is || ec.Params().BitSize == algorithm.CurveBits
}

func newVerifyKey(kid, alg string, material any) (verifyKey, error) {
	text, isSecret := material.([]byte)
	if !isSecret {
		if private, ok := material.(interface{ Public() crypto.PublicKey }); ok {
			material = private.Public()
		}
		var err error
		if text, err = x509.MarshalPKIXPublicKey(material); err != nil {
			return verifyKey{}, err
		}
	}
	digest := sha256.Sum256(text)
	return verifyKey{id: keyID(binary.BigEndian.Uint64(digest[:])), kid: kid, alg: alg, material: material}, nil
}

// parseSecret reads a shared secret: the text without the line end that
// editors put after it.
func parseSecret(text []byte, logger *slog.Logger) (keySet, error) {
	secret := []byte(strings.TrimRight(string(text), "\r\n"))
	if len(secret) == 0 {
		return nil, errors.New("it is empty")
	}
	if kind := notSecret(secret); kind != "" {
		return nil, fmt.Errorf("it holds %s, which is no shared secret: whoever knows a public key could sign tokens; "+
			"give public keys as a JSON Web Key Set by --jwt-keys-file", kind)
	}
	if len(secret) < weakSecret {
		logger.Warn("the secret that signs tokens is short enough to be guessed", "bytes", len(secret), "recommended", weakSecret)
	}
	key, err := newVerifyKey("", "", secret)
	return keySet{key}, err
}

// notSecret says what a text is that may be known to others, "" if it looks
// like a secret.
func notSecret(text []byte) string {
	if block, _ := pem.Decode(text); block != nil || bytes.Contains(text, []byte("-----BEGIN ")) {
		return "a key or certificate in PEM"
	}
	if _, err := x509.ParsePKIXPublicKey(text); err == nil {
		return "a public key in DER"
	}
	if _, err := x509.ParseCertificate(text); err == nil {
		return "a certificate in DER"
	}
	for _, prefix := range []string{"ssh-rsa ", "ssh-ed25519 ", "ecdsa-sha2-"} {
		if bytes.HasPrefix(text, []byte(prefix)) {
			return "an SSH public key"
		}
	}
	var jwk struct {
		Keys json.RawMessage `json:"keys"`
		Kty  string          `json:"kty"`
	}
	if json.Unmarshal(text, &jwk) == nil && (jwk.Keys != nil || jwk.Kty != "") {
		return "a JSON Web Key"
	}
	return ""
}

// parseKeySet reads a JSON Web Key Set (RFC 7517). Keys that cannot be used are
// left out (section 5), or a provider that adds a key of a new kind would stop
// its keys from being renewed. A set without any that can be used is refused.
func parseKeySet(text []byte, logger *slog.Logger) (keySet, error) {
	var file struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &file); err != nil || file.Keys == nil {
		return nil, errors.Join(errors.New(`read JSON Web Key Set: it is no {"keys": […]}`), err)
	}
	var set keySet
	for i, each := range file.Keys {
		key, err := parseKey(each)
		if err != nil {
			logger.Warn("key not used", "index", i, "kid", key.kid, "error", err)
			continue
		}
		set = append(set, key)
	}
	if len(set) == 0 {
		return nil, errors.New("read JSON Web Key Set: it has no key that signatures can be verified with")
	}
	return set, nil
}

func parseKey(text []byte) (verifyKey, error) {
	var said struct {
		KID string   `json:"kid"`
		Alg string   `json:"alg"`
		Use string   `json:"use"`
		Ops []string `json:"key_ops"`
	}
	if err := json.Unmarshal(text, &said); err != nil {
		return verifyKey{}, err
	}
	switch {
	case said.Use != "" && said.Use != "sig":
		return verifyKey{kid: said.KID}, fmt.Errorf("its use is %q", said.Use)
	case said.Ops != nil && !slices.Contains(said.Ops, "verify"):
		return verifyKey{kid: said.KID}, fmt.Errorf("its key_ops are %q", said.Ops)
	case said.Alg != "" && !slices.Contains(Signatures, said.Alg):
		return verifyKey{kid: said.KID}, fmt.Errorf("its alg is %q", said.Alg)
	}
	jwk, err := jwkset.NewJWKFromRawJSON(text, jwkset.JWKMarshalOptions{Private: true}, jwkset.JWKValidateOptions{SkipKeyOps: true})
	if err != nil {
		return verifyKey{kid: said.KID}, err
	}
	return newVerifyKey(said.KID, said.Alg, jwk.Key())
}
