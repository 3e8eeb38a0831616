package webhooks

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluicehq/sluice/internal/hooks"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/store"
)

// Webhook is an endpoint, and what it is sent. All is required but GiveUpAfter and FromHead.
type Webhook struct {
	Name    string // of its cursor, among those of all consumers
	URL     string // absolute, http or https
	Match   string // a topic, or the beginning of topics and *
	Secrets *hooks.Secrets

	Batch      int           // events of a request at most
	BatchBytes int           // bytes of its body at most, unless one event alone has more
	Timeout    time.Duration // for an answer

	// GiveUpAfter is when events that are not accepted are left out, since they were first
	// sent. Zero: never.
	GiveUpAfter time.Duration

	// FromHead has a webhook with no position yet begin at the log's head, and not with the
	// first event that is kept.
	FromHead bool
}

// matches tells whether a topic's events are sent. Those of the service's own topics are to
// a pattern that begins as they do.
func (w *Webhook) matches(topic string) bool {
	prefix, wild := strings.CutSuffix(w.Match, "*")
	switch {
	case !wild:
		return topic == w.Match
	case strings.HasPrefix(topic, store.OwnTopics) && !strings.HasPrefix(prefix, store.OwnTopics):
		return false
	}
	return strings.HasPrefix(topic, prefix)
}

// Log is what webhooks need of a store.Log.
type Log interface {
	store.Leases
	store.Cursors
	Cursor(ctx context.Context, name string) (c store.Cursor, ok bool, err error)
	Extent(ctx context.Context) (store.Extent, error)
	Fetch(ctx context.Context, after int64, limit store.Limit) ([]store.Event, error)
	Wait(ctx context.Context, after int64) error
}

// Config is what all webhooks share.
type Config struct {
	Head    func() int64 // the log's last known offset, for how far behind they are
	Grace   time.Duration
	Metrics *metrics.Set
	Logger  *slog.Logger

	// Transport makes requests. Nil: HTTP, without following redirects.
	Transport http.RoundTripper
}

// Runner runs webhooks. Its methods may be called concurrently.
type Runner struct {
	config  Config        // immutable
	changed chan struct{} // Replace sends, Run receives; one says all that several would

	mu      sync.Mutex
	wanted  []Webhook          // guarded by mu
	senders map[string]*sender // likewise; written by Run alone
}

// New returns a runner of webhooks, none at first.
func New(config Config) *Runner {
	return &Runner{config: config, changed: make(chan struct{}, 1), senders: map[string]*sender{}}
}

// Replace puts other webhooks in force. Those that are as before go on undisturbed.
func (r *Runner) Replace(list []Webhook) {
	r.mu.Lock()
	r.wanted = slices.Clone(list)
	r.mu.Unlock()
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// Run sends until ctx ends. It returns nil.
func (r *Runner) Run(ctx context.Context, log Log) error {
	for {
		r.reconcile(ctx, log)
		select {
		case <-r.changed:
		case <-ctx.Done():
			r.Replace(nil)
			r.reconcile(ctx, log)
			return nil
		}
	}
}

// reconcile ends the senders of webhooks that are no longer wanted as they were, and begins
// those that are missing.
func (r *Runner) reconcile(ctx context.Context, log Log) {
	r.mu.Lock()
	wanted := r.wanted
	var over []*sender
	for name, s := range r.senders {
		if !slices.Contains(wanted, s.hook) {
			over = append(over, s)
			delete(r.senders, name)
		}
	}
	r.mu.Unlock()
	for _, s := range over {
		s.cancel()
	}
	for _, s := range over {
		<-s.ended
	}
	for _, hook := range wanted {
		r.mu.Lock()
		_, runs := r.senders[hook.Name]
		r.mu.Unlock()
		if runs || ctx.Err() != nil {
			continue
		}
		s := newSender(hook, log, r.config)
		r.measure(hook.Name)
		r.mu.Lock()
		r.senders[hook.Name] = s
		r.mu.Unlock()
		s.start(ctx)
	}
}

// measure has gauges tell of the webhook of a name, whichever it is.
func (r *Runner) measure(name string) {
	tag := metrics.Consumer(name)
	r.config.Metrics.GaugeFunc(metrics.ConsumerLag, func() int64 { return r.state(name).Lag }, tag)
	r.config.Metrics.GaugeFunc(metrics.WebhookFailing, func() int64 {
		since := r.state(name).FailingSince
		if since == nil {
			return 0
		}
		return int64(time.Since(*since).Seconds())
	}, tag)
	r.config.Metrics.GaugeFunc(metrics.WebhookDisabled, func() int64 {
		if r.state(name).State == Disabled {
			return 1
		}
		return 0
	}, tag)
}

func (r *Runner) state(name string) State {
	r.mu.Lock()
	s := r.senders[name]
	r.mu.Unlock()
	if s == nil {
		return State{}
	}
	return s.now()
}

// States are how the webhooks do on this node, by name.
func (r *Runner) States() []State {
	r.mu.Lock()
	list := make([]*sender, 0, len(r.senders))
	for _, s := range r.senders {
		list = append(list, s)
	}
	r.mu.Unlock()
	states := make([]State, 0, len(list))
	for _, s := range list {
		states = append(states, s.now())
	}
	slices.SortFunc(states, func(a, b State) int { return strings.Compare(a.Name, b.Name) })
	return states
}
