package sluice

import (
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/sluicehq/sluice/internal/hooks"
	"github.com/sluicehq/sluice/internal/verdict"
)

// Hooks are endpoints of your own backend that Sluice asks: HTTP POSTs of JSON, signed as
// Standard Webhooks are. What they may answer is in docs/hooks.md. Where one does not
// answer, nobody is let in: clients are told "unavailable", and try again.
type Hooks struct {
	// SecretFile has the secrets that requests are signed with, one a line, each whsec_ and
	// the base64 of 24 to 64 bytes: with several of them each request is signed by all. It
	// is read again once it has changed. Required where there is a hook.
	SecretFile string `yaml:"secret-file"`
	// Connect says who may connect without a token, and what they may. With it nobody is
	// anonymous. Whether there is one is settled at start.
	Connect Hook `yaml:"connect"`
	// Join says who may join topics whose rule has AccessHook.
	Join Hook `yaml:"join"`
	// Push says what becomes of events that clients push where the rule has PublishHook.
	Push Hook `yaml:"push"`
}

// Hook is one endpoint. The zero Hook is none.
type Hook struct {
	// URL is where to, absolute, of http or https. Redirects are not followed.
	URL string `yaml:"url"`
	// Headers names what of a client's request Connect is told, such as Cookie.
	Headers []string `yaml:"headers"`
	// Timeout is how long an answer may take, and how long a request may wait for its turn
	// before: a client that connects waits for 10 s at most in all. Zero: 1 s.
	Timeout time.Duration `yaml:"timeout"`
	// Cache is how long Join's yes is remembered for a user, a topic and what it was joined
	// with: a reconnect is no request then. A renewed or revoked token ends it. Zero: it is
	// not.
	Cache time.Duration `yaml:"cache"`
	// MaxInFlight is how many requests there may be at a time. Some more wait, and beyond
	// these clients are told "unavailable" at once. Zero: 64.
	MaxInFlight int `yaml:"max-in-flight"`
}

// What a Hook has where it is zero.
const (
	defaultHookTimeout     = time.Second
	defaultHookMaxInFlight = 64
)

// limits are what the hook, which is valid, says of how much it is asked.
func (h *Hook) limits() verdict.Limits {
	limits := verdict.Limits{MaxInFlight: h.MaxInFlight, Timeout: h.Timeout, Cache: h.Cache}
	if limits.MaxInFlight == 0 {
		limits.MaxInFlight = defaultHookMaxInFlight
	}
	if limits.Timeout == 0 {
		limits.Timeout = defaultHookTimeout
	}
	return limits
}

// headerName is what a header of HTTP may be called (RFC 9110, section 5.6.2).
var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")

// validateHooks reports hooks that could not be asked.
func (c *Config) validateHooks(f *faults) {
	any := false
	for _, each := range []struct {
		name string
		hook *Hook
	}{{"Connect", &c.Hooks.Connect}, {"Join", &c.Hooks.Join}, {"Push", &c.Hooks.Push}} {
		any = any || each.hook.URL != ""
		var own faults
		each.hook.validate(&own, each.name)
		for _, fault := range own {
			f.add("Hooks."+each.name+"."+fault.Field, fault.Given, fault.Allowed)
		}
	}
	switch {
	case any && c.Hooks.SecretFile == "":
		f.add("Hooks.SecretFile", "", "a file with the secrets that requests are signed with, so that your backend knows who asks")
	case !any && c.Hooks.SecretFile != "":
		f.add("Hooks.SecretFile", c.Hooks.SecretFile, "nothing, since there is no hook that has a url")
	}
}

func (h *Hook) validate(f *faults, name string) {
	given := h.Headers != nil || h.Timeout != 0 || h.Cache != 0 || h.MaxInFlight != 0
	if h.URL == "" && given {
		f.add("URL", "", "an absolute URL of http or https, such as https://app.example.org/sluice")
	} else if h.URL != "" {
		if err := hooks.CheckURL(h.URL); err != nil {
			f.add("URL", schemeOf(h.URL), fmt.Sprintf("an absolute URL of http or https, such as https://app.example.org/sluice (%v)", err))
		}
	}
	for _, each := range h.Headers {
		if name != "Connect" {
			f.add("Headers", each, "nothing: only connect is told headers, for only a connection has them")
		} else if !headerName.MatchString(each) {
			f.add("Headers", each, "names of headers, such as [Cookie, X-Forwarded-For]")
		}
	}
	if h.Cache != 0 && name != "Join" {
		f.add("Cache", h.Cache.String(), "nothing: only what join allows is remembered")
	}
	for _, each := range []bound{
		period("Timeout", h.Timeout, 10*time.Millisecond, time.Minute, "{least} to {most}").orZero(defaultHookTimeout.String()),
		period("Cache", h.Cache, 0, time.Hour, "0 (never) to {most}"),
		number("MaxInFlight", h.MaxInFlight, 1, 10_000, "{least} to {most} requests").orZero(fmt.Sprint(defaultHookMaxInFlight)),
	} {
		each.validate(f)
	}
}

// validateAsked reports a rule that nobody is there for to ask.
func (r *TopicRule) validateAsked(f *faults, c *Config) {
	if r.Access == AccessHook && c.Hooks.Join.URL == "" {
		f.add("Access", string(r.Access), "another one, or hook with a hook join: see hooks in the file")
	}
	if r.Publish == PublishHook && c.Hooks.Push.URL == "" {
		f.add("Publish", string(r.Publish), "another one, or hook with a hook push: see hooks in the file")
	}
	r.validateFunction(f, c)
}

// readHookSecrets reads the secrets that the configuration names, nil where it names none.
func (c *Config) readHookSecrets(f *faults, logger *slog.Logger) *hooks.Secrets {
	if c.Hooks.SecretFile == "" {
		return nil
	}
	secrets, err := hooks.ReadSecrets(c.Hooks.SecretFile, logger)
	if err != nil {
		f.add("Hooks.SecretFile", c.Hooks.SecretFile, "a file with the secrets that requests are signed with: "+err.Error())
	}
	return secrets
}
