package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"github.com/sluicehq/sluice/internal/reload"
)

const secret = "a secret that is long enough for HS256"

// keysFrom opens the keys of a configuration.
func keysFrom(t *testing.T, change func(*Config)) *verifier {
	t.Helper()
	config := Config{Logger: slog.New(slog.DiscardHandler)}
	change(&config)
	k, err := openVerifier(config)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func sign(t *testing.T, method jwt.SigningMethod, key any, kid string, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	if kid != "" {
		token.Header["kid"] = kid
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestSecretTokens(t *testing.T) {
	t.Parallel()
	k := keysFrom(t, func(c *Config) { c.SecretFile = write(t, filepath.Join(t.TempDir(), "secret"), secret+"\n") })
	hour := time.Now().Add(time.Hour).Unix()
	for _, test := range []struct {
		name, token string
		ok          bool
	}{
		{"HS256", sign(t, jwt.SigningMethodHS256, []byte(secret), "", jwt.MapClaims{"sub": "7", "exp": hour, "topics": []string{"room:*"}}), true},
		{"HS512", sign(t, jwt.SigningMethodHS512, []byte(secret), "", jwt.MapClaims{"sub": "7", "exp": hour, "topics": []string{"room:*"}}), true},
		{"another secret", sign(t, jwt.SigningMethodHS256, []byte("guessed"), "", jwt.MapClaims{"sub": "7"}), false},
		{"no signature", sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "", jwt.MapClaims{"sub": "7"}), false},
		{"expired", sign(t, jwt.SigningMethodHS256, []byte(secret), "", jwt.MapClaims{"sub": "7", "exp": hour - 7200}), false},
		{"not yet valid", sign(t, jwt.SigningMethodHS256, []byte(secret), "", jwt.MapClaims{"sub": "7", "nbf": hour}), false},
		{"topics that are no list", sign(t, jwt.SigningMethodHS256, []byte(secret), "", jwt.MapClaims{"topics": 7}), false},
		{"no token", "", false},
		{"nonsense", "a.b.c", false},
	} {
		granted, err := k.check(test.token)
		if (err == nil) != test.ok {
			t.Errorf("%s: %+v, %v", test.name, granted, err)
		}
		if test.ok && (granted.socketID() != "user:7" || granted.Expires.Unix() != hour || !granted.Allows("room:1") || granted.Allows("hall")) {
			t.Errorf("%s: granted %+v", test.name, granted)
		}
	}
}

// publicSet is the public half of keys, as a JSON Web Key Set.
func publicSet(t *testing.T, public map[string]crypto.PublicKey) string {
	t.Helper()
	set := jwkset.JWKSMarshal{}
	for kid, key := range public {
		jwk, err := jwkset.NewJWKFromKey(key, jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: kid}})
		if err != nil {
			t.Fatal(err)
		}
		set.Keys = append(set.Keys, jwk.Marshal())
	}
	text, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestKeySetTokens(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set := publicSet(t, map[string]crypto.PublicKey{"rsa": &rsaKey.PublicKey, "ec": &ecKey.PublicKey, "ed": edPublic})
	k := keysFrom(t, func(c *Config) { c.KeysFile = write(t, filepath.Join(t.TempDir(), "keys.json"), set) })
	claims := jwt.MapClaims{"sub": "7"}
	for _, test := range []struct {
		name, token string
		ok          bool
	}{
		{"RS256", sign(t, jwt.SigningMethodRS256, rsaKey, "rsa", claims), true},
		{"PS512", sign(t, jwt.SigningMethodPS512, rsaKey, "rsa", claims), true},
		{"ES256", sign(t, jwt.SigningMethodES256, ecKey, "ec", claims), true},
		{"EdDSA", sign(t, jwt.SigningMethodEdDSA, edKey, "ed", claims), true},
		{"without a key id", sign(t, jwt.SigningMethodES256, ecKey, "", claims), true},
		{"with another's key id", sign(t, jwt.SigningMethodES256, ecKey, "rsa", claims), false},
		{"with an unknown key id", sign(t, jwt.SigningMethodES256, ecKey, "gone", claims), false},
		{"signed with the public key as a secret", sign(t, jwt.SigningMethodHS256, []byte(edPublic), "ed", claims), false},
	} {
		if granted, err := k.check(test.token); (err == nil) != test.ok {
			t.Errorf("%s: %+v, %v", test.name, granted, err)
		}
	}
}

func TestKeysAreReadAgain(t *testing.T) {
	t.Parallel()
	path := write(t, filepath.Join(t.TempDir(), "secret"), secret)
	synctest.Test(t, func(t *testing.T) {
		k := keysFrom(t, func(c *Config) { c.SecretFile = path })
		before := sign(t, jwt.SigningMethodHS256, []byte(secret), "", jwt.MapClaims{})
		after := sign(t, jwt.SigningMethodHS256, []byte(secret+", another"), "", jwt.MapClaims{})
		expect := func(when string, beforeOK, afterOK bool) {
			t.Helper()
			time.Sleep(reload.Interval) // of the test's own clock
			_, errBefore := k.check(before)
			_, errAfter := k.check(after)
			if (errBefore == nil) != beforeOK || (errAfter == nil) != afterOK {
				t.Errorf("%s: the old secret's token: %v, the new one's: %v", when, errBefore, errAfter)
			}
		}
		expect("at first", true, false)
		write(t, path, secret+", another\n")
		expect("once changed", false, true)
		write(t, path, "")
		expect("made empty", false, true)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		expect("removed", false, true)
		write(t, path, secret)
		expect("written anew", true, false)
	})
}
