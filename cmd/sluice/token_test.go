package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// TestTokenIsMadeAndChecked makes tokens and has them checked, as a service with the same
// flags would.
func TestTokenIsMadeAndChecked(t *testing.T) {
	t.Parallel()
	secret, other := writeFile(t, strings.Repeat("s", 40)+"\n"), writeFile(t, strings.Repeat("o", 40))
	for _, test := range []struct {
		name, make, check string
		exit              int
		says              []string
	}{
		{"with all", "--sub 7 --topics room:* --topics news --expires 1h --jti x --jwt-issuer me --jwt-audience us", "--jwt-issuer me --jwt-audience us", 0,
			[]string{"counts     until 20", "user:7", `"topics":["room:*","news"]`, `"jti":"x"`, `"aud":["us"]`}},
		{"with nothing", "", "", 0, []string{"of its own"}},
		{"for ever", "--expires 0", "", 1, []string{"token_invalid", "exp"}},
		{"for ever, which is allowed", "--expires 0", "--jwt-require-exp=false", 0, []string{"counts     for ever"}},
		{"of another issuer", "--jwt-issuer you", "--jwt-issuer me", 1, []string{"iss"}},
		{"of another algorithm", "", "--jwt-algorithms ES256", 1, []string{"signing method HS256 is invalid"}},
		{"that has expired", "--expires 1ns", "", 1, []string{"token_expired", "expired"}},
		{"with a long leeway", "", "--jwt-leeway 1h", 2, []string{"--jwt-leeway"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			made := call{args: append([]string{"token", "--jwt-secret-file", secret}, strings.Fields(test.make)...)}.run(t)
			if made.exit != exitOK || made.stderr != "" || strings.Count(made.stdout, ".") != 2 {
				t.Fatalf("made %+v", made)
			}
			check := append([]string{"token", "--check", "-", "--jwt-secret-file", secret}, strings.Fields(test.check)...)
			got := call{args: check, stdin: strings.NewReader(made.stdout)}.run(t)
			for _, words := range test.says {
				if got.exit != test.exit || !strings.Contains(got.stdout+got.stderr, words) {
					t.Errorf("exit %d, and no %q in %s%s", got.exit, words, got.stdout, got.stderr)
				}
			}
			if strings.Contains(got.stderr, strings.TrimSpace(made.stdout)) {
				t.Errorf("the token is told: %s", got.stderr)
			}
			check[len(check)-1-len(strings.Fields(test.check))] = other
			if got := (call{args: check, stdin: strings.NewReader(made.stdout)}).run(t); got.exit == exitOK {
				t.Errorf("with another secret: %+v", got)
			}
		})
	}
}

// TestTokenFaults: what cannot be is told in the usual form.
func TestTokenFaults(t *testing.T) {
	t.Parallel()
	secret := writeFile(t, strings.Repeat("s", 40))
	for args, want := range map[string]string{
		"token --expires -1s":                                           `--expires is "-1s": allowed is a duration from 0`,
		"token --jwt-keys-file k":                                       `--jwt-keys-file is "k": allowed is nothing without --check: public keys sign nothing`,
		"token --jwt-secret-file nowhere":                               `--jwt-secret-file is "nowhere": allowed is a file with a secret`,
		"token --check x --jwt-keys-file nowhere":                       `--jwt-keys-file is "nowhere": allowed is a file with keys`,
		"token --check x --jwt-keys-file a --jwt-secret-file b":         "choose one",
		"token --check x --jwt-keys-url https://a --jwt-keys-file b":    `--jwt-keys-url is "https://a": allowed is nothing, since --jwt-secret-file or --jwt-keys-file`,
		"token --check x --jwt-keys-url http://issuer.example.org/keys": `--jwt-keys-url is "http://issuer.example.org/keys": allowed is an absolute URL of https`,
		"token --jwt-keys-url https://a":                                `--jwt-keys-url is "https://a": allowed is nothing without --check`,
	} {
		if got := (call{args: strings.Fields(args)}).run(t); got.exit != exitUsage || !strings.Contains(got.stderr, want) {
			t.Errorf("%s: %+v", args, got)
		}
	}
	for _, token := range []string{"x", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", strings.Repeat("x", maxToken)} {
		got := call{args: []string{"token", "--check", token, "--jwt-secret-file", secret}}.run(t)
		if got.exit != exitFailure || !strings.Contains(got.stderr, "token_invalid") {
			t.Errorf("checked %.20q: %+v", token, got)
		}
	}
}

// TestTokenMakesASecret has no secret: one is made once, for its user alone, and it is said
// what it is for.
func TestTokenMakesASecret(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := func(args ...string) (stdout, stderr string) {
		command := program(t, nil, append([]string{"token"}, args...)...)
		command.Dir = dir
		var out, err strings.Builder
		command.Stdout, command.Stderr = &out, &err
		if failure := command.Run(); failure != nil {
			t.Fatalf("%v: %s", failure, err.String())
		}
		return out.String(), err.String()
	}
	first, told := run("--sub", "7")
	if !strings.Contains(told, "made the secret") || !strings.Contains(told, "for development") || !strings.Contains(told, "sluice serve --jwt-secret-file "+devSecretFile) {
		t.Errorf("told %q", told)
	}
	info, err := os.Stat(filepath.Join(dir, devSecretFile))
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() < 40 {
		t.Errorf("%v, %v", info, err)
	}
	if _, told := run(); strings.Contains(told, "made the secret") || !strings.Contains(told, "for development") {
		t.Errorf("told %q", told)
	}
	if said, _ := run("--check", strings.TrimSpace(first)); !strings.Contains(said, "user:7") {
		t.Errorf("checked: %s", said)
	}
}

// TestTokenIsCheckedByFetchedKeys has a token that the keys of an issuer verify, others that
// they do not, and an issuer that is not there.
func TestTokenIsCheckedByFetchedKeys(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		t.Fatal(err)
	}
	part := base64.RawURLEncoding.EncodeToString
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/keys" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintf(w, `{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":%q,"y":%q}]}`, part(point[1:33]), part(point[33:]))
	}))
	t.Cleanup(issuer.Close)
	token := func(id string) string {
		made := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"sub": "7"})
		made.Header["kid"] = id
		text, err := made.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for _, test := range []struct {
		url, token     string
		exit           int
		stdout, stderr string
	}{
		{issuer.URL + "/keys", token("a"), exitOK, "user:7", ""},
		{issuer.URL + "/keys", token("b"), exitFailure, "", "the token does not count (token_invalid)"},
		{issuer.URL + "/other", token("a"), exitFailure, "", "it is not known whether the token counts"},
		{"http://127.0.0.1:1/keys", token("a"), exitFailure, "", "keys not fetched"},
	} {
		got := call{args: []string{"token", "--check", test.token, "--jwt-require-exp=false", "--jwt-keys-url", test.url}}.run(t)
		if got.exit != test.exit || !strings.Contains(got.stdout, test.stdout) || !strings.Contains(got.stderr, test.stderr) || test.stderr == "" && got.stderr != "" {
			t.Errorf("%s: %+v", test.url, got)
		}
	}
}
