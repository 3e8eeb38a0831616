package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// altered is a key set of one key, with members of it changed.
func altered(t *testing.T, kid string, key crypto.PublicKey, change map[string]any) string {
	t.Helper()
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal([]byte(publicSet(t, map[string]crypto.PublicKey{kid: key})), &set); err != nil {
		t.Fatal(err)
	}
	for name, value := range change {
		if value == nil {
			delete(set.Keys[0], name)
		} else {
			set.Keys[0][name] = value
		}
	}
	text, err := json.Marshal(set.Keys[0])
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestKeysThatAreNotUnderstoodAreLeftOut puts keys of all kinds beside a good
// one: whatever is wrong with them, tokens of the good one are accepted
// (RFC 7517, section 5).
func TestKeysThatAreNotUnderstoodAreLeftOut(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := altered(t, "good", &key.PublicKey, nil)
	token := sign(t, jwt.SigningMethodES256, key, "good", jwt.MapClaims{})
	for name, other := range map[string]string{
		"unknown type":     `{"kty":"AKP","kid":"pq","alg":"ML-DSA-65","pub":"AA"}`,
		"unknown curve":    `{"kty":"EC","kid":"k","crv":"secp256k1","x":"AA","y":"AA"}`,
		"no type":          `{"kid":"k"}`,
		"missing members":  `{"kty":"RSA","kid":"k"}`,
		"not on the curve": altered(t, "k", &key.PublicKey, map[string]any{"x": "AAAA"}),
		"no object":        `7`,
		"null":             `null`,
		"members' types":   `{"kty":7}`,
		"unknown use":      altered(t, "k", &key.PublicKey, map[string]any{"use": "both"}),
		"unknown alg":      altered(t, "k", &key.PublicKey, map[string]any{"alg": "ES999"}),
	} {
		k := keysFrom(t, func(c *Config) {
			c.KeysFile = write(t, filepath.Join(t.TempDir(), "keys"), `{"keys":[`+other+`,`+good+`,`+other+`]}`)
		})
		if _, err := k.check(token); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := parseKeySet([]byte(`{"keys":[`+other+`]}`), slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s: a set of nothing else is accepted", name)
		}
	}
}

// TestKeysAreForWhatTheySay tries a key's alg, use and key_ops with tokens that
// name the key and such that name none (RFC 8725, section 3.1).
func TestKeysAreForWhatTheySay(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	second := altered(t, "second", &other.PublicKey, nil)
	for name, test := range map[string]struct {
		change map[string]any
		alg    jwt.SigningMethod
		ok     bool
	}{
		"anything":       {nil, jwt.SigningMethodRS256, true},
		"its alg":        {map[string]any{"alg": "PS256"}, jwt.SigningMethodPS256, true},
		"another alg":    {map[string]any{"alg": "PS256"}, jwt.SigningMethodRS256, false},
		"signatures":     {map[string]any{"use": "sig", "key_ops": []string{"verify"}}, jwt.SigningMethodRS256, true},
		"encryption":     {map[string]any{"use": "enc"}, jwt.SigningMethodRS256, false},
		"other ops":      {map[string]any{"key_ops": []string{"encrypt"}}, jwt.SigningMethodRS256, false},
		"encrypting alg": {map[string]any{"alg": "RSA-OAEP"}, jwt.SigningMethodRS256, false},
		"no kid":         {map[string]any{"kid": nil, "alg": "PS256"}, jwt.SigningMethodRS256, false},
	} {
		for _, kid := range []string{"first", ""} {
			k := keysFrom(t, func(c *Config) {
				set := `{"keys":[` + altered(t, "first", &key.PublicKey, test.change) + `,` + second + `]}`
				c.KeysFile = write(t, filepath.Join(t.TempDir(), "keys"), set)
			})
			if _, err := k.check(sign(t, test.alg, key, kid, jwt.MapClaims{})); (err == nil) != test.ok {
				t.Errorf("%s, kid %q: %v", name, kid, err)
			}
		}
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k := keysFrom(t, func(c *Config) {
		c.KeysFile = write(t, filepath.Join(t.TempDir(), "keys"), `{"keys":[`+altered(t, "first", &p256.PublicKey, nil)+`]}`)
	})
	if k, err := k.keys.Get().find(&jwt.Token{Method: jwt.SigningMethodES384, Header: map[string]any{}}); err == nil {
		t.Errorf("a key of P-256 is for ES384: %+v", k)
	}
}

// TestWhatIsNoSecret gives as a shared secret what others may know.
func TestWhatIsNoSecret(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	block := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	for name, text := range map[string]string{
		"PEM":             block,
		"PEM, indented":   "  " + strings.ReplaceAll(block, "\n", "\n  "),
		"PEM, windows":    strings.ReplaceAll(block, "\n", "\r\n"),
		"certificate":     strings.ReplaceAll(block, "PUBLIC KEY", "CERTIFICATE"),
		"DER":             string(der),
		"SSH":             "ssh-rsa AAAAB3NzaC1yc2E= me@here",
		"a JWK":           altered(t, "k", &key.PublicKey, nil),
		"a set":           `{"keys":[]}`,
		"nothing":         "",
		"an end of lines": "\r\n",
	} {
		if _, err := parseSecret([]byte(text), slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	for _, text := range []string{secret, base64.StdEncoding.EncodeToString(der), "{not json", `{"a":"json that is a secret"}`} {
		if _, err := parseSecret([]byte(text), slog.New(slog.DiscardHandler)); err != nil {
			t.Errorf("%.20s: %v", text, err)
		}
	}
}

// TestClaims asks tokens for what the configuration wants of them.
func TestClaims(t *testing.T) {
	t.Parallel()
	path := write(t, filepath.Join(t.TempDir(), "secret"), secret)
	now := time.Now().Unix()
	header := func(change map[string]any) func(*jwt.Token) {
		return func(t *jwt.Token) {
			for name, value := range change {
				t.Header[name] = value
			}
		}
	}
	for name, test := range map[string]struct {
		config func(*Config)
		header func(*jwt.Token)
		claims string
		want   string // part of the error, "" for none
	}{
		"all that is asked": {func(c *Config) { c.Issuer, c.Audience, c.RequireExp = "me", []string{"a", "b"}, true }, nil,
			`{"iss":"me","aud":["x","b"],"exp":NOW+9999}`, ""},
		"another issuer":    {func(c *Config) { c.Issuer = "me" }, nil, `{"iss":"Me"}`, "issuer"},
		"no issuer":         {func(c *Config) { c.Issuer = "me" }, nil, `{}`, "iss"},
		"another audience":  {func(c *Config) { c.Audience = []string{"a"} }, nil, `{"aud":"b"}`, "audience"},
		"no audience":       {func(c *Config) { c.Audience = []string{"a"} }, nil, `{}`, "aud"},
		"another algorithm": {func(c *Config) { c.Algorithms = []string{"HS512"} }, nil, `{}`, "HS256"},
		"no exp":            {func(c *Config) { c.RequireExp = true }, nil, `{}`, "exp"},
		"exp null":          {func(c *Config) { c.RequireExp = true }, nil, `{"exp":null}`, "exp"},
		"just expired":      {nil, nil, `{"exp":NOW-9}`, "expired"},
		"within the leeway": {func(c *Config) { c.Leeway = MaxLeeway }, nil, `{"exp":NOW-9,"nbf":NOW+9}`, ""},
		"not yet valid":     {nil, nil, `{"nbf":NOW+9999}`, "not valid yet"},
		"EXP is not exp":    {func(c *Config) { c.RequireExp = true }, nil, `{"EXP":NOW+9999}`, "exp"},
		"Exp is not exp":    {nil, nil, `{"exp":NOW-9,"Exp":NOW+9999}`, "expired"},
		"a claim twice":     {nil, nil, `{"exp":NOW-9,"exp":NOW+9999}`, "duplicate"},
		"topics, no list":   {nil, nil, `{"topics":"room:7"}`, `"topics" must be a list of strings`},
		"topics, numbers":   {nil, nil, `{"topics":[7]}`, `"topics" must be a list of strings`},
		"topics, null":      {nil, nil, `{"topics":null}`, `"topics" must be a list of strings`},
		"sub, a number":     {nil, nil, `{"sub":7}`, `"sub" must be a string`},
		"exp, a word":       {nil, nil, `{"exp":"soon"}`, `"exp" must be a number`},
		"no object":         {nil, nil, `[1]`, "must be a JSON object"},
		"crit":              {nil, header(map[string]any{"crit": []string{"exp"}}), `{}`, "crit"},
		"crit, empty":       {nil, header(map[string]any{"crit": []string{}}), `{}`, "crit"},
		"a kid, a number":   {nil, header(map[string]any{"kid": 7}), `{}`, "kid"},
		"a kid":             {nil, header(map[string]any{"kid": "any"}), `{}`, ""},
	} {
		k := keysFrom(t, func(c *Config) {
			c.SecretFile = path
			if test.config != nil {
				test.config(c)
			}
		})
		text := later.ReplaceAllStringFunc(test.claims, func(s string) string {
			seconds, _ := strconv.ParseInt(s[len("NOW"):], 10, 64)
			return strconv.FormatInt(now+seconds, 10)
		})
		token := jwt.NewWithClaims(jwt.SigningMethodHS256, verbatim{text: text})
		if test.header != nil {
			test.header(token)
		}
		signed, err := token.SignedString([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		_, err = k.check(signed)
		switch {
		case test.want == "" && err != nil, test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v", name, err)
		case err != nil && strings.Contains(err.Error(), "Go "):
			t.Errorf("%s is told in Go's words: %v", name, err)
		}
	}
}

// later is a time in the claims of a test: NOW, and seconds from there.
var later = regexp.MustCompile(`NOW([+-]\d+)`)

// verbatim is claims that are signed as they are written.
type verbatim struct {
	jwt.RegisteredClaims
	text string
}

func (v verbatim) MarshalJSON() ([]byte, error) { return []byte(v.text), nil }

// TestLeewayExtendsAccess ends access when a token is refused, not before.
func TestLeewayExtendsAccess(t *testing.T) {
	t.Parallel()
	k := keysFrom(t, func(c *Config) {
		c.SecretFile, c.Leeway = write(t, filepath.Join(t.TempDir(), "secret"), secret), time.Minute
	})
	exp := time.Now().Add(time.Hour).Unix()
	a, err := k.check(sign(t, jwt.SigningMethodHS256, []byte(secret), "", jwt.MapClaims{"exp": exp}))
	if err != nil || a.Expires.Unix() != exp+60 {
		t.Fatal(a, err)
	}
}
