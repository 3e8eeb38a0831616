package revocation

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sluicehq/sluice/store"
)

const (
	// Interval is how often the store is asked for what has been revoked since: a
	// statement that finds nothing in an index, as a rule.
	Interval = time.Second
	// MaxAge is how old the copy may be that clients are judged by.
	MaxAge = 30 * time.Second

	// readTimeout bounds one read, of up to page revocations.
	readTimeout = 5 * time.Second
	page        = 1000

	// sweepInterval is how often what has ended is let go of, and tellInterval how
	// often the log is told that the copy is too old, for as long as it is.
	sweepInterval = time.Minute
	tellInterval  = time.Minute
)

// Config is what a list needs. All is optional.
type Config struct {
	Changed func()           // called once revocations have come, by one goroutine at a time
	Now     func() time.Time // nil: time.Now
	Logger  *slog.Logger     // nil: slog.Default
}

// List is a node's copy of the revocations in force. Its methods may be called
// concurrently.
type List struct {
	config Config        // immutable after New
	due    chan struct{} // sent to by Hasten, received from by Run; holds one

	// reading is held across a read: it makes one of reads that are asked for at a time.
	reading sync.Mutex
	after   int64     // number of the last that was read; guarded by reading
	swept   time.Time // guarded by reading

	mu sync.RWMutex
	// Guarded by mu.
	byName map[name]entry
	read   time.Time // when the last read that succeeded began; zero: none has
}

// name stands for the claim and the value of a revocation, whatever its length.
type name [sha256.Size]byte

func nameOf(kind store.ClaimName, value string) name {
	return sha256.Sum256(append(append([]byte(kind), ' '), value...))
}

// entry is what is known of one, in microseconds since 1970.
type entry struct{ issuedBefore, until int64 }

// New returns a list that has not been loaded.
func New(config Config) *List {
	if config.Changed == nil {
		config.Changed = func() {}
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	return &List{config: config, due: make(chan struct{}, 1), byName: map[name]entry{}}
}

// Check tells whether a token has been revoked that names its subject, itself and when it
// was issued, as far as it does: "", and zero. An error says that it is not known.
func (l *List) Check(subject, id string, issued time.Time) (revoked bool, err error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	now := l.config.Now()
	if err := l.errLocked(now); err != nil {
		return false, err
	}
	return l.has(store.ClaimSubject, subject, issued, now) || l.has(store.ClaimTokenID, id, issued, now), nil
}

// has tells whether a claim's value is revoked. Called with mu held.
func (l *List) has(kind store.ClaimName, value string, issued, now time.Time) bool {
	if value == "" || len(l.byName) == 0 {
		return false
	}
	e, ok := l.byName[nameOf(kind, value)]
	return ok && now.UnixMicro() < e.until && (issued.IsZero() || issued.UnixMicro() < e.issuedBefore)
}

// Count is how many are known, those included that have ended of late.
func (l *List) Count() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return len(l.byName)
}

// Age is for how long the copy has not been compared with the store; of one that was
// never loaded, 0.
func (l *List) Age() time.Duration {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.age(l.config.Now())
}

// age is Age, with mu held: by the clock that says longer, as one may have been set and
// the other does not count while the machine is asleep.
func (l *List) age(now time.Time) time.Duration {
	if l.read.IsZero() {
		return 0
	}
	return max(now.Sub(l.read), now.Round(0).Sub(l.read.Round(0)), 0)
}

// Err is an [*AgeError] while it is not known who is revoked.
func (l *List) Err() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.errLocked(l.config.Now())
}

// errLocked is Err, with mu held.
func (l *List) errLocked(now time.Time) error {
	if age := l.age(now); l.read.IsZero() || age > MaxAge {
		return &AgeError{age}
	}
	return nil
}

// AgeError says that a node has not seen the store's revocations for too long.
type AgeError struct{ Age time.Duration }

func (e *AgeError) Error() string {
	return fmt.Sprintf("the store's revocations have not been seen for %v: clients with tokens are refused", e.Age.Round(time.Second))
}

// Outline is the error without names.
func (e *AgeError) Outline() string { return e.Error() }

// Hasten has Run ask the store now.
func (l *List) Hasten() {
	select {
	case l.due <- struct{}{}:
	default: // it is due already
	}
}

// Refresh asks the store for what has come since it was last asked. If something has,
// it returns once [Config.Changed] has: also with an error, if that was not the first read.
func (l *List) Refresh(ctx context.Context, log store.Revocations) error {
	l.reading.Lock()
	defer l.reading.Unlock()
	changed := false
	defer func() {
		if changed {
			l.config.Changed()
		}
	}()
	for {
		began := l.config.Now()
		list, err := l.fetch(ctx, log)
		if err != nil {
			return err
		}
		l.note(list)
		if changed = changed || len(list) > 0; len(list) == page {
			continue
		}
		l.mu.Lock()
		l.read = began
		l.mu.Unlock()
		l.sweep(began)
		return nil
	}
}

func (l *List) fetch(ctx context.Context, log store.Revocations) ([]store.Revocation, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return log.Revocations(ctx, l.after, page)
}

// note takes in what has been read. Called with reading held.
func (l *List) note(list []store.Revocation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range list {
		n := nameOf(r.Kind, r.Value)
		e := l.byName[n]
		l.byName[n] = entry{max(e.issuedBefore, r.IssuedBefore.UnixMicro()), max(e.until, r.Until.UnixMicro())}
		l.after = max(l.after, r.Number)
	}
}

// sweep lets go of what has ended. Called with reading held.
func (l *List) sweep(now time.Time) {
	if now.Sub(l.swept) < sweepInterval {
		return
	}
	l.swept = now
	l.mu.Lock()
	defer l.mu.Unlock()
	for n, e := range l.byName {
		if e.until <= now.UnixMicro() {
			delete(l.byName, n)
		}
	}
}

// Run keeps the copy in step with the store until ctx ends, and returns nil then.
func (l *List) Run(ctx context.Context, log store.Revocations) error {
	ticker := time.NewTicker(Interval)
	defer ticker.Stop()
	var told time.Time // when it was last told that the copy is too old; zero when it is not
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-l.due:
		}
		err := l.Refresh(ctx, log)
		now := l.config.Now()
		stale := l.Err()
		switch {
		case ctx.Err() != nil:
			return nil
		case stale == nil && !told.IsZero():
			l.config.Logger.Info("the store's revocations are seen again")
			told = time.Time{}
		case stale != nil && now.Sub(told) >= tellInterval:
			l.config.Logger.Error("clients with tokens are refused: it is not known who is revoked", "error", err, "age", l.Age())
			told = now
		}
	}
}
