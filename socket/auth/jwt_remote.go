package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/sluicehq/sluice/internal/lograte"
)

const (
	// keysInterval is how often a key set is fetched, and retryInterval how often while that
	// fails. A token that names a key which is not there has it fetched sooner, at most once
	// in unknownInterval.
	keysInterval    = 5 * time.Minute
	retryInterval   = 10 * time.Second
	unknownInterval = 30 * time.Second

	// fetchTimeout bounds one fetch, and maxKeySet its answer, in bytes.
	fetchTimeout = 5 * time.Second
	maxKeySet    = 1 << 20

	// tellInterval is how often the log says that it fails.
	tellInterval = time.Minute
)

// errNotFetched says that there are no keys yet.
var errNotFetched = errors.New("the keys of --jwt-keys-url have not been fetched yet")

// CheckKeysURL returns an error for what keys may not be fetched from: whoever is between
// could give others.
func CheckKeysURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("it is no absolute URL of https")
	}
	ip := net.ParseIP(u.Hostname())
	if u.Scheme == "http" && u.Hostname() != "localhost" && !ip.IsLoopback() {
		return errors.New("http is for loopback alone: whoever is between could give other keys")
	}
	return nil
}

// remoteKeys are public keys that are fetched by HTTP, and stay as they are while that
// fails. Its methods may be called concurrently.
type remoteKeys struct {
	// Immutable.
	url      string
	client   *http.Client
	logger   *slog.Logger
	throttle *lograte.Throttle

	mu sync.Mutex
	// Guarded by mu.
	set    keySet        // nil: none has been fetched
	count  int           // how often it has become another, the first one not counted
	begun  time.Time     // of the last fetch
	flight chan struct{} // closed when the fetch under way ends; nil if none is
}

func newRemoteKeys(url string, logger *slog.Logger) *remoteKeys {
	return &remoteKeys{
		url: url, logger: logger, throttle: lograte.New(tellInterval),
		client: &http.Client{
			Timeout:       fetchTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10},
		},
	}
}

// Get returns the keys in force.
func (k *remoteKeys) Get() keySet {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.set
}

// Count is how often other keys came into force.
func (k *remoteKeys) Count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.count
}

// Err is why there are no keys at all, nil if there are.
func (k *remoteKeys) Err() error {
	if k.Get() == nil {
		return errNotFetched
	}
	return nil
}

// Reread has the keys fetched again. That they cannot be now is no fault of the
// configuration: those in force stay.
func (k *remoteKeys) Reread() (accept func(), err error) {
	return func() { _ = k.fetch(context.Background(), 0) }, nil
}

// Run keeps the keys fresh until ctx ends.
func (k *remoteKeys) Run(ctx context.Context) {
	for {
		wait := keysInterval
		if err := k.fetch(ctx, 0); err != nil {
			wait = retryInterval
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// fetch fetches the keys, unless that was begun less than so long ago: then it waits for the
// end of it. The error says that it failed, if it was this one.
func (k *remoteKeys) fetch(ctx context.Context, least time.Duration) error {
	k.mu.Lock()
	switch flight := k.flight; {
	case flight != nil:
		k.mu.Unlock()
		<-flight // within fetchTimeout
		return nil
	case !k.begun.IsZero() && time.Since(k.begun) < least:
		k.mu.Unlock()
		return nil
	}
	flight := make(chan struct{})
	k.begun, k.flight = time.Now(), flight
	k.mu.Unlock()
	set, err := k.get(ctx)
	k.mu.Lock()
	k.flight = nil
	if err == nil && !same(set, k.set) {
		if k.set != nil {
			k.count++
		}
		k.logger.Info("keys fetched", "keys", len(set))
		k.set = set
	}
	inForce := len(k.set)
	k.mu.Unlock()
	close(flight)
	if err != nil && ctx.Err() == nil {
		if withheld, ok := k.throttle.Allow("fetch"); ok {
			k.logger.Error("keys not fetched, those in force stay", "in_force", inForce, "error", err, "failed_since", withheld)
		}
	}
	return err
}

// get is one request.
func (k *remoteKeys) get(ctx context.Context) (keySet, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := k.client.Do(request)
	if err != nil {
		if failure := new(url.Error); errors.As(err, &failure) {
			err = failure.Err // without the URL, which may have a password in it
		}
		return nil, fmt.Errorf("fetch keys: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch keys: status %d, expected is 200; redirects are not followed", response.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxKeySet+1))
	if err != nil {
		return nil, fmt.Errorf("fetch keys: %w", err)
	}
	if len(text) > maxKeySet {
		return nil, fmt.Errorf("fetch keys: the answer has more than %d bytes", maxKeySet)
	}
	set, err := parseKeySet(text, k.logger)
	if err != nil {
		return nil, err
	}
	set = slices.DeleteFunc(set, func(key verifyKey) bool { _, secret := key.material.([]byte); return secret })
	if len(set) == 0 {
		return nil, errors.New("fetch keys: there are only secrets among them, which are none once they are to be had there")
	}
	return set, nil
}

// same tells whether two sets have the same keys, for the same use.
func same(a, b keySet) bool {
	return slices.EqualFunc(a, b, func(x, y verifyKey) bool { return x.id == y.id && x.kid == y.kid && x.alg == y.alg })
}
