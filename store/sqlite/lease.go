package sqlite

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluicehq/sluice/store"
)

// leases are kept in memory: who serves from the folder has locked it (see [Lock]),
// and so whoever might want a lease is in this process. They end with the log. Their
// times are those of a clock that nobody sets.
type leases struct {
	mu   sync.Mutex
	held map[string]held // guarded by mu
}

type held struct {
	store.Lease           // without a holder: it was given back
	until       time.Time // with a monotonic reading
}

func (h *held) seen(now time.Time) *store.HeldError {
	return &store.HeldError{Name: h.Name, Holder: h.Holder, Fence: h.Fence, Since: h.Since, Until: h.until, Left: h.until.Sub(now)}
}

// Acquire implements [store.Leases].
func (l *Log) Acquire(_ context.Context, claim store.Claim) (store.Lease, error) {
	if l.closed.Load() {
		return store.Lease{}, fmt.Errorf("sqlite: acquire lease %q: %w", claim.Name, store.ErrClosed)
	}
	l.leases.mu.Lock()
	defer l.leases.mu.Unlock()
	now := time.Now()
	was, ok := l.leases.held[claim.Name]
	if seen := was.seen(now); ok && was.Holder != "" && was.Holder != claim.Holder && seen.Left > 0 && !seen.Same(claim.Over) {
		return store.Lease{}, seen
	}
	lease := store.Lease{Name: claim.Name, Holder: claim.Holder, Term: claim.Term, Since: now, Fence: max(was.Fence+1, now.UnixMicro())}
	l.leases.put(lease, now)
	return lease, nil
}

// Renew implements [store.Leases].
func (l *Log) Renew(_ context.Context, lease store.Lease) error {
	if l.closed.Load() {
		return fmt.Errorf("sqlite: renew lease %q: %w", lease.Name, store.ErrClosed)
	}
	l.leases.mu.Lock()
	defer l.leases.mu.Unlock()
	now := time.Now()
	if is := l.leases.held[lease.Name]; is.Fence > lease.Fence || is.Fence == lease.Fence && is.Holder != lease.Holder {
		return is.seen(now)
	}
	l.leases.put(lease, now)
	return nil
}

// Release implements [store.Leases].
func (l *Log) Release(_ context.Context, lease store.Lease) error {
	if l.closed.Load() {
		return fmt.Errorf("sqlite: release lease %q: %w", lease.Name, store.ErrClosed)
	}
	l.leases.mu.Lock()
	defer l.leases.mu.Unlock()
	if is := l.leases.held[lease.Name]; is.Fence == lease.Fence && is.Holder == lease.Holder {
		is.Holder = ""
		is.Fence++
		is.Term = 0
		l.leases.put(is.Lease, time.Now())
	}
	return nil
}

// Held implements [store.Leases].
func (l *Log) Held(_ context.Context, prefix string) ([]string, error) {
	if l.closed.Load() {
		return nil, fmt.Errorf("sqlite: list leases %q: %w", prefix, store.ErrClosed)
	}
	l.leases.mu.Lock()
	defer l.leases.mu.Unlock()
	now := time.Now()
	var names []string
	for name, h := range l.leases.held {
		if strings.HasPrefix(name, prefix) && h.Holder != "" && h.until.After(now) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// put notes a lease whose term begins now. Call it with mu locked.
func (l *leases) put(lease store.Lease, now time.Time) {
	if l.held == nil {
		l.held = map[string]held{}
	}
	l.held[lease.Name] = held{lease, now.Add(lease.Term)}
}
