package sqlaccess

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicehq/sluice/internal/lograte"
	"github.com/sluicehq/sluice/internal/verdict"
	"github.com/sluicehq/sluice/metrics"
)

// Fault is what is wrong with a function, as metrics have it.
type Fault string

// The faults that there are.
const (
	Busy        Fault = "busy"        // too many questions wait
	Timeout     Fault = "timeout"     // it does not answer in time
	Unreachable Fault = "unreachable" // there is no connection to the database
	Missing     Fault = "missing"     // there is no such function, schema or role
	Forbidden   Fault = "forbidden"   // a right is missing
	Failed      Fault = "failed"      // it ends with an error, or is of another type
	Malformed   Fault = "malformed"   // the database cannot hold what it would be asked
)

// What is counted beside faults.
const (
	allowed    = "allowed"
	denied     = "denied"
	remembered = "remembered"
)

// Hook is what metrics call it, among the hooks of the application.
const Hook = "sql"

// Unavailable is the error where a function has given no answer.
type Unavailable struct {
	Fault Fault
	Err   error
}

func (e *Unavailable) Error() string { return fmt.Sprintf("function (%s): %v", e.Fault, e.Err) }

// Unwrap returns what is behind it.
func (e *Unavailable) Unwrap() error { return e.Err }

// ErrUnfit says that the database cannot hold a topic or claims, such as text with a NUL:
// nobody is asked about them.
var ErrUnfit = errors.New("the database cannot hold the topic or the claims")

// Config is what an Asker needs. All but Limits.Cache is required.
type Config struct {
	DatabaseURL string
	Role        string // that the function is called as
	// Limits bound what is asked. There are MaxInFlight connections.
	Limits  verdict.Limits
	Metrics *metrics.Set
	Logger  *slog.Logger
}

// Asker asks functions. Its methods may be called concurrently.
type Asker struct {
	// Immutable after New.
	config  Config
	server  *server
	asker   *verdict.Asker[struct{}]
	time    *metrics.Timing
	answers map[string]*metrics.Counter

	throttle *lograte.Throttle
	pool     atomic.Pointer[pgxpool.Pool] // nil: it is not open
}

// logEvery is how often the log tells of one fault of a function.
const logEvery = 10 * time.Second

// New returns an Asker that is not open yet.
func New(c Config) (*Asker, error) {
	if err := CheckRole(c.Role); err != nil {
		return nil, fmt.Errorf("role %q: %w", c.Role, err)
	}
	server, err := newServer(c.DatabaseURL, max(1, c.Limits.MaxInFlight))
	if err != nil {
		return nil, err
	}
	a := &Asker{
		config: c, server: server, asker: verdict.New[struct{}](c.Limits), throttle: lograte.New(logEvery),
		time: c.Metrics.Timing(metrics.HookTime, metrics.Hook(Hook)), answers: map[string]*metrics.Counter{},
	}
	for _, fault := range []Fault{Busy, Timeout, Unreachable, Missing, Forbidden, Failed, Malformed} {
		a.answers[string(fault)] = a.counter(string(fault))
	}
	for _, reason := range []string{allowed, denied, remembered} {
		a.answers[reason] = a.counter(reason)
	}
	return a, nil
}

func (a *Asker) counter(reason string) *metrics.Counter {
	return a.config.Metrics.Counter(metrics.HookAnswers, metrics.Hook(Hook), metrics.Reason(reason))
}

// Open makes the pool of connections; each is made once it is needed.
func (a *Asker) Open() error {
	pool, err := a.server.open()
	if err == nil && !a.pool.CompareAndSwap(nil, pool) {
		pool.Close()
	}
	return err
}

// Close closes the connections, and waits for those that are in use. Nobody is let in then.
func (a *Asker) Close() {
	if pool := a.pool.Swap(nil); pool != nil {
		pool.Close()
	}
}

// Load is how many questions are being asked, and how many wait: none of an Asker that is nil.
func (a *Asker) Load() (asked, waiting int) {
	if a == nil {
		return 0, 0
	}
	return a.asker.Load()
}

// Forget drops what is remembered of a group: see [verdict.Asker.Forget].
func (a *Asker) Forget(group string) { a.asker.Forget(group) }

// Ask tells whether a function lets somebody with these claims, a JSON object, join a topic.
// The error is [ErrUnfit], an [*Unavailable], or what ctx ended with.
func (a *Asker) Ask(ctx context.Context, q verdict.Question, f Function, topic string, claims []byte) (bool, error) {
	v, known, err := a.asker.Ask(ctx, q, func(ctx context.Context) (v verdict.Verdict[struct{}], err error) {
		v.Allowed, err = a.exchange(ctx, f, topic, claims)
		return v, err
	})
	switch {
	case errors.Is(err, verdict.ErrBusy):
		return false, a.failed(f, Busy, fmt.Errorf("%w; %d are asked at a time", err, a.config.Limits.MaxInFlight), "give it more connections (--access-connections), have yes remembered (--access-cache), or make the function faster")
	case err != nil: // it has been counted, or the client has gone
		return false, err
	case known:
		a.answers[remembered].Add(1)
	case v.Allowed:
		a.answers[allowed].Add(1)
	default:
		a.answers[denied].Add(1)
	}
	return v.Allowed, nil
}

// grace is how much longer than the timeout is waited for the database, so that a statement
// that it ends itself need not take a connection with it.
const grace = 500 * time.Millisecond

// exchange is one question and its answer. Once it has been asked it is heard out, though
// the client should leave: otherwise each that does would cost a connection.
func (a *Asker) exchange(ctx context.Context, f Function, topic string, claims []byte) (bool, error) {
	if err := ctx.Err(); err != nil && errors.Is(err, context.Canceled) {
		return false, err
	}
	pool := a.pool.Load()
	if pool == nil {
		return false, a.failed(f, Unreachable, errors.New("the database is not open"), "")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.config.Limits.Timeout+grace)
	defer cancel()
	start := time.Now()
	yes, err := question{a.config.Role, f, topic, claims, a.config.Limits.Timeout}.ask(ctx, pool)
	a.time.Observe(time.Since(start))
	if err == nil {
		return yes, nil
	}
	fault, next, why := a.server.explain(err, a.config, f)
	if fault == Malformed {
		return false, a.unfit(f, why)
	}
	return false, a.failed(f, fault, why, next)
}

// failed counts a fault, and tells the log of it once in a while.
func (a *Asker) failed(f Function, fault Fault, err error, next string) error {
	a.answers[string(fault)].Add(1)
	if withheld, ok := a.throttle.Allow(f.String() + " " + string(fault)); ok {
		attributes := []any{"function", f.String(), "role", a.config.Role, "fault", string(fault), "error", err, "failed_since", withheld}
		if next != "" {
			attributes = append(attributes, "next", next)
		}
		a.config.Logger.Error("function gives no answer, and nobody is let in by it", attributes...)
	}
	return &Unavailable{fault, err}
}

// unfit counts what the database cannot hold, and tells the log of it once in a while.
func (a *Asker) unfit(f Function, err error) error {
	a.answers[string(Malformed)].Add(1)
	if withheld, ok := a.throttle.Allow(f.String() + " " + string(Malformed)); ok {
		a.config.Logger.Warn("a client is not let in whose topic or claims the database cannot hold", "function", f.String(), "error", err, "refused_since", withheld)
	}
	return fmt.Errorf("%w: %w", ErrUnfit, err)
}
