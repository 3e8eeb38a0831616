package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sluicehq/sluice/socket"
)

// TestKeysAreFetched has a provider be down, give keys, others, and what is none.
func TestKeysAreFetched(t *testing.T) {
	t.Parallel()
	keys := map[string]*ecdsa.PrivateKey{}
	public := map[string]crypto.PublicKey{}
	for _, kid := range []string{"a", "b"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys[kid], public[kid] = key, &key.PublicKey
	}
	set := func(kids ...string) string {
		some := map[string]crypto.PublicKey{}
		for _, kid := range kids {
			some[kid] = public[kid]
		}
		return publicSet(t, some)
	}
	var mu sync.Mutex
	status, body, requests := 500, "", 0
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		requests++
		if status/100 == 3 {
			w.Header().Set("Location", "/elsewhere")
		}
		if r.URL.Path == "/elsewhere" {
			t.Error("a redirect was followed")
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // of which not all may be read
	}))
	defer provider.Close()
	asked := func() int { mu.Lock(); defer mu.Unlock(); return requests }
	gives := func(s int, b string) { mu.Lock(); defer mu.Unlock(); status, body = s, b }
	v := keysFrom(t, func(c *Config) { c.KeysURL = provider.URL + "/keys?secret=hidden" })
	fetched := func(ago time.Duration) { // as if it had been
		v.remote.mu.Lock()
		defer v.remote.mu.Unlock()
		v.remote.begun = time.Now().Add(-ago)
	}
	a, b := sign(t, jwt.SigningMethodES256, keys["a"], "a", jwt.MapClaims{}), sign(t, jwt.SigningMethodES256, keys["b"], "b", jwt.MapClaims{})

	if _, err := v.check(a); !errors.Is(err, socket.ErrUnavailable) || v.remote.Err() == nil {
		t.Errorf("with no keys yet: %v, %v", err, v.remote.Err())
	}
	gives(200, set("a"))
	fetched(time.Hour)
	if _, err := v.check(a); err != nil || v.remote.Err() != nil {
		t.Errorf("fetched for a token: %v, %v", err, v.remote.Err())
	}
	before := asked()
	fetched(-time.Hour) // just now, however slow the machine is
	gives(200, set("a", "b"))
	for range 100 { // they may be anybody's: they cost the provider nothing
		if _, err := v.check(b); !errors.Is(err, errNoKey) {
			t.Fatal(err)
		}
	}
	if asked() != before {
		t.Errorf("asked %d times more", asked()-before)
	}
	fetched(time.Hour)
	if _, err := v.check(b); err != nil || v.changes() != 1 {
		t.Errorf("a new key: %v, %d changes", err, v.changes())
	}
	for _, wrong := range []struct {
		status int
		body   string
		want   string
	}{
		{500, "", "status 500"},
		{302, "", "redirects are not followed"},
		{204, "", "status 204"},
		{200, "", "it is no"},
		{200, "<html>", "it is no"},
		{200, `{"keys":[]}`, "no key"},
		{200, `{"keys":[{"kty":"oct","kid":"a","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}]}`, "only secrets"},
		{200, set("a") + strings.Repeat(" ", maxKeySet), "more than"},
	} {
		gives(wrong.status, wrong.body)
		err := v.remote.fetch(t.Context(), 0)
		if err == nil || !strings.Contains(err.Error(), wrong.want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%d %.40q: %v", wrong.status, wrong.body, err)
		}
		if _, err := v.check(b); err != nil || v.changes() != 1 {
			t.Errorf("%d %.40q: what was in force is not: %v", wrong.status, wrong.body, err)
		}
	}
	provider.Config.SetKeepAlivesEnabled(false)
	gives(200, set("b"))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		v.remote.Run(ctx)
	}()
	for end := time.Now().Add(10 * time.Minute); v.changes() != 2; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not fetch by itself")
		}
	}
	stop()
	<-ended
	if _, err := v.check(a); !errors.Is(err, errNoKey) {
		t.Errorf("a key that is gone: %v", err)
	}
	for url, ok := range map[string]bool{
		"https://a.example/keys": true, "http://127.0.0.1:1/keys": true, "http://[::1]/": true, "http://localhost/": true,
		"http://a.example/keys": false, "http://10.0.0.1/": false, "http://localhost.example/": false, "keys": false, "file:///keys": false, "https://": false, "": false,
	} {
		if err := CheckKeysURL(url); (err == nil) != ok {
			t.Errorf("%q: %v", url, err)
		}
	}
}

// TestThePreviousSecretCountsUntilItsTime signs with the secret before.
func TestThePreviousSecretCountsUntilItsTime(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	const now, then = "the secret that is in force, of which", "the secret that was in force before, of"
	for until, counts := range map[time.Time]bool{time.Now().Add(time.Hour): true, time.Now().Add(-time.Hour): false} {
		v := keysFrom(t, func(c *Config) {
			c.SecretFile, c.PreviousSecretFile = write(t, filepath.Join(folder, "now"), now), write(t, filepath.Join(folder, "then"), then)
			c.PreviousUntil = until
		})
		granted, err := v.check(sign(t, jwt.SigningMethodHS256, []byte(then), "", jwt.MapClaims{}))
		if (err == nil) != counts || counts && !v.hasKeyOf(granted) || (v.changes() == 0) != counts {
			t.Errorf("until %v: %v, %d changes", until, err, v.changes())
		}
		if _, err := v.check(sign(t, jwt.SigningMethodHS256, []byte(now), "", jwt.MapClaims{})); err != nil {
			t.Errorf("until %v, the new one: %v", until, err)
		}
		if counts { // its time comes
			v.keys.Get()[1].until = time.Now()
			if v.hasKeyOf(granted) {
				t.Error("it holds what it let in, though its time is over")
			}
		}
	}
}
