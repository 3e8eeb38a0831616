package sluice_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/sluicetest"
)

// adminToken is long enough.
const adminToken = "s3cret-s3cret-s3cret"

func put(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSocketsEndWithTheirKey takes away what let sockets in: the key of a set,
// a shared secret, the admin token. Who came by what is still good stays.
func TestSocketsEndWithTheirKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	set := func(seeds ...byte) string {
		var keys []string
		for _, seed := range seeds {
			public := ed25519.NewKeyFromSeed(make32(seed)).Public().(ed25519.PublicKey)
			keys = append(keys, fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","x":"%s"}`, base64.RawURLEncoding.EncodeToString(public)))
		}
		return `{"keys":[` + strings.Join(keys, ",") + `]}`
	}
	claims := jwt.MapClaims{"sub": "7", "exp": time.Now().Add(time.Hour).Unix()}
	bySeed := func(seed byte) string {
		return signed(t, jwt.SigningMethodEdDSA, ed25519.NewKeyFromSeed(make32(seed)), claims)
	}
	const otherToken = adminToken + "-2"
	for name, test := range map[string]struct {
		configure     func(*sluice.Config, string)
		before, after string // what the file says
		gone          string // the token of who is closed
		stays         string // of who is not; "" for nobody
		console       bool
	}{
		"a key of a set": {func(c *sluice.Config, path string) { c.JWTKeysFile = path },
			set(1, 2), set(2), bySeed(1), bySeed(2), false},
		"all keys": {func(c *sluice.Config, path string) { c.JWTKeysFile = path },
			set(1), set(2), bySeed(1), "", false},
		"a secret": {func(c *sluice.Config, path string) { c.JWTSecretFile = path },
			strings.Repeat("a", 32), strings.Repeat("b", 32), signed(t, jwt.SigningMethodHS256, []byte(strings.Repeat("a", 32)), claims), "", false},
		"the admin token": {func(c *sluice.Config, path string) { c.AdminTokenFile = path },
			adminToken, otherToken, adminToken, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := put(t, filepath.Join(dir, strings.ReplaceAll(name, " ", "_")), test.before)
			n := sluicetest.Start(t, sluicetest.With(func(c *sluice.Config) { test.configure(c, path) }))
			n.Eventually("ready", func() bool { status, _ := n.Ask("GET", "/readyz"); return status == 200 })
			mount := "/socket"
			if test.console {
				mount, n.Public = "/console", n.Admin
			}
			client := n.Connect(mount, "token="+test.gone)
			client.Beat()
			var other *sluicetest.Client
			if test.stays != "" {
				other = n.Connect(mount, "token="+test.stays)
				other.Beat()
			}
			put(t, path, test.after)
			if code := client.Closed(); code != 1008 {
				t.Errorf("closed with %d", code)
			}
			if other != nil {
				other.Beat()
			}
			if status := n.Refused(mount, "token="+test.gone); status != 401 && status != 403 {
				t.Errorf("then refused with %d", status)
			}
		})
	}
}

func make32(b byte) []byte { return []byte(strings.Repeat(string(rune(b)), 32)) }

func signed(t *testing.T, method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
	t.Helper()
	text, err := jwt.NewWithClaims(method, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestReload puts other rules in force under joined channels.
func TestReload(t *testing.T) {
	t.Parallel()
	var service *sluice.Service
	secret := put(t, filepath.Join(t.TempDir(), "secret"), strings.Repeat("a", 32))
	anonymous := true
	n := sluicetest.Run(t, func(ctx context.Context, config sluice.Config) (err error) {
		config.JWTSecretFile, config.Anonymous = secret, &anonymous
		config.Topics = []sluice.TopicRule{{Match: "a", Publish: "broadcast"}, {Match: "b"}}
		if service, err = sluice.New(config); err != nil {
			return err
		}
		return service.Run(ctx)
	})
	client := n.Connect("/socket", "")
	for _, topic := range []string{"a", "b"} {
		client.Send(`["1","1","` + topic + `","phx_join",{}]`)
		client.Expect(`["1","1","` + topic + `","phx_reply",{"status":"ok","response":{}}]`)
	}
	// All that is wrong is told, and nothing is put in force.
	put(t, secret, "")
	err := service.Reload([]sluice.TopicRule{{Match: "x*y", Access: "all"}, {Match: "y*z"}})
	for _, told := range []string{secret, "Topics[0].Match", "Topics[0].Access", "Topics[1].Match"} {
		if err == nil || !strings.Contains(err.Error(), told) {
			t.Fatalf("%v does not tell of %s", err, told)
		}
	}
	put(t, secret, strings.Repeat("a", 32))
	client.Send(`["1","2","a","e",{}]`)
	client.Expect(`[null,null,"a","e",{}]`)
	client.Expect(`["1","2","a","phx_reply",{"status":"ok","response":{}}]`)
	if err := service.Reload([]sluice.TopicRule{{Match: "a"}}); err != nil {
		t.Fatal(err)
	}
	client.Expect(`["1","1","b","phx_error",{"reason":"unauthorized"}]`)
	client.Send(`["1","3","a","e",{}]`)
	client.Expect(`["1","3","a","phx_reply",{"status":"error","response":{"reason":"forbidden"}}]`)
	if err := service.Reload([]sluice.TopicRule{}); err != nil { // an empty list denies
		t.Fatal(err)
	}
	client.Expect(`["1","1","a","phx_error",{"reason":"unauthorized"}]`)
	if err := service.Reload(nil); err != nil { // none opens
		t.Fatal(err)
	}
	client.Send(`["4","4","b","phx_join",{}]`)
	client.Expect(`["4","4","b","phx_reply",{"status":"ok","response":{}}]`)
}
