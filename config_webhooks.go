package sluice

import (
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/sluicehq/sluice/internal/hooks"
	"github.com/sluicehq/sluice/internal/webhooks"
	"github.com/sluicehq/sluice/store"
)

// Webhook is an endpoint of your backend that events of the log are sent to: HTTP POSTs of
// JSON, signed as Standard Webhooks are, one after the other, each again until it is answered
// with 2xx. What they say is in docs/webhooks.md. One node sends; its position is kept in the
// store, and stays when the webhook is taken out of the configuration.
type Webhook struct {
	// Name is that of its position among those of all consumers, 1 to 64 letters, digits, -
	// and _.
	Name string `yaml:"name"`
	// URL is where to, absolute, of http or https. Redirects are not followed.
	URL string `yaml:"url"`
	// Match is a topic, or the beginning of topics followed by *. Of topics sluice:* it
	// matches those that it names alone.
	Match string `yaml:"match"`
	// SecretFile has the secrets that requests are signed with: see [Hooks].
	SecretFile string `yaml:"secret-file"`
	// Batch is how many events one request has at most. Zero: 100.
	Batch int `yaml:"batch"`
	// BatchBytes is how large its body is at most, unless it has one event alone. Zero: 1 MiB.
	BatchBytes ByteSize `yaml:"batch-bytes"`
	// Timeout is how long an answer may take. Zero: 10 s.
	Timeout time.Duration `yaml:"timeout"`
	// GiveUpAfter is for how long events are sent again that are not accepted: then they are
	// left out, and those behind them are sent. Zero: for ever.
	GiveUpAfter time.Duration `yaml:"give-up-after"`
	// Start says where one begins that has no position yet: "earliest" (with what the log
	// keeps) or "head". Empty: earliest.
	Start string `yaml:"start"`
}

// What a Webhook has where it is zero, and how many there may be.
const (
	defaultWebhookBatch      = 100
	defaultWebhookBatchBytes = 1 << 20
	defaultWebhookTimeout    = 10 * time.Second
	maxWebhooks              = 100
)

// consumerName is what a position may be called.
var consumerName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// validateWebhooks reports webhooks that could not be sent.
func (c *Config) validateWebhooks(f *faults) {
	names := map[string]int{}
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		var own faults
		w.validate(&own)
		if first, twice := names[w.Name]; twice {
			own.add("Name", w.Name, fmt.Sprintf("a name that no other webhook has, and webhook %d has it", first+1))
		} else {
			names[w.Name] = i
		}
		for _, fault := range own {
			f.add(fmt.Sprintf("Webhooks[%d].%s", i, fault.Field), fault.Given, fault.Allowed)
		}
	}
	if len(c.Webhooks) > maxWebhooks {
		f.add(fmt.Sprintf("Webhooks[%d].Name", maxWebhooks), c.Webhooks[maxWebhooks].Name, fmt.Sprintf("nothing: there are %d webhooks at most", maxWebhooks))
	}
}

func (w *Webhook) validate(f *faults) {
	if !consumerName.MatchString(w.Name) {
		f.add("Name", w.Name, "1 to 64 of A-Z, a-z, 0-9, _ and -")
	}
	if err := hooks.CheckURL(w.URL); err != nil {
		f.add("URL", schemeOf(w.URL), fmt.Sprintf("an absolute URL of http or https, such as https://app.example.org/sluice (%v)", err))
	}
	if !matchable(w.Match) {
		f.add("Match", w.Match, "a topic, or the beginning of topics and *, such as orders:*")
	}
	if w.SecretFile == "" {
		f.add("SecretFile", "", "a file with the secrets that requests are signed with, so that your backend knows who sends")
	}
	if w.Start != "" {
		oneOf(f, "Start", w.Start, "earliest", "head")
	}
	for _, each := range []bound{
		number("Batch", w.Batch, 1, 1000, "{least} to {most} events").orZero(fmt.Sprint(defaultWebhookBatch)),
		size("BatchBytes", w.BatchBytes, 1<<10, 64<<20, "{least} to {most}").orZero(writeBytes(defaultWebhookBatchBytes)),
		period("Timeout", w.Timeout, 10*time.Millisecond, 5*time.Minute, "{least} to {most}").orZero(defaultWebhookTimeout.String()),
		period("GiveUpAfter", w.GiveUpAfter, time.Second, 30*24*time.Hour, "{least} to {most}").orZero("never"),
	} {
		each.validate(f)
	}
}

// matchable tells whether a pattern is one that topics may match.
func matchable(pattern string) bool {
	if pattern == "*" {
		return true
	}
	if n := len(pattern); n > 1 && pattern[n-1] == '*' {
		pattern = pattern[:n-1]
	}
	return store.ValidTopic(pattern)
}

// runs is the webhook, which is valid, as it is run.
func (w *Webhook) runs(secrets *hooks.Secrets) webhooks.Webhook {
	run := webhooks.Webhook{
		Name: w.Name, URL: w.URL, Match: w.Match, Secrets: secrets,
		Batch: w.Batch, BatchBytes: int(w.BatchBytes), Timeout: w.Timeout, GiveUpAfter: w.GiveUpAfter, FromHead: w.Start == "head",
	}
	if run.Batch == 0 {
		run.Batch = defaultWebhookBatch
	}
	if run.BatchBytes == 0 {
		run.BatchBytes = defaultWebhookBatchBytes
	}
	if run.Timeout == 0 {
		run.Timeout = defaultWebhookTimeout
	}
	return run
}

// readWebhookSecrets reads the secrets of the configuration's webhooks, by file, but for those
// that are known.
func (c *Config) readWebhookSecrets(f *faults, known map[string]*hooks.Secrets, logger *slog.Logger) map[string]*hooks.Secrets {
	all := map[string]*hooks.Secrets{}
	for i, w := range c.Webhooks {
		if all[w.SecretFile] = known[w.SecretFile]; all[w.SecretFile] != nil || w.SecretFile == "" {
			continue
		}
		secrets, err := hooks.ReadSecrets(w.SecretFile, logger)
		if err != nil {
			f.add(fmt.Sprintf("Webhooks[%d].SecretFile", i), w.SecretFile, "a file with the secrets that requests are signed with: "+err.Error())
			continue
		}
		all[w.SecretFile] = secrets
	}
	delete(all, "")
	return all
}
