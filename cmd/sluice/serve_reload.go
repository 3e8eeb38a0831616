package main

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/sluicehq/sluice"
)

// reloader puts what may change while the service runs in force when the
// process is sent SIGHUP: topic rules, hooks, webhooks, keys, tokens and certificates.
type reloader struct {
	// Immutable.
	process  process
	resolver *configResolver // of the start
	logger   *slog.Logger

	mu      sync.Mutex
	service *sluice.Service    // the one that runs now; guarded by mu
	topics  []sluice.TopicRule // in force; guarded by mu
	hooks   sluice.Hooks       // likewise
	sending []sluice.Webhook   // likewise
}

// start reloads at every signal until stop, which waits for the last one.
func (r *reloader) start() (stop func()) {
	hangups := make(chan os.Signal, 1) // the runtime sends, stop closes; one signal says all that several would
	signal.Notify(hangups, syscall.SIGHUP)
	var running sync.WaitGroup
	running.Go(func() {
		for range hangups {
			r.reload()
		}
	})
	return func() {
		signal.Stop(hangups)
		close(hangups)
		running.Wait()
	}
}

// next makes the service that runs from now on.
func (r *reloader) next(cfg sluice.Config) (*sluice.Service, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	cfg.Topics, cfg.Hooks, cfg.Webhooks = r.topics, r.hooks, r.sending
	var err error
	r.service, err = sluice.New(cfg)
	return r.service, err
}

func (r *reloader) reload() {
	file, fixed, err := r.reread()
	if err == nil {
		r.mu.Lock()
		if err = r.service.ReloadWith(file.topics, file.hooks, file.webhooks); err == nil {
			r.topics, r.hooks, r.sending = file.topics, file.hooks, file.webhooks
		}
		r.mu.Unlock()
	}
	if err != nil {
		r.logger.Error("not reloaded, all stays as it was", "error", err)
		return
	}
	if len(fixed) > 0 {
		r.logger.Warn("settings that have changed count from the next start on", "settings", strings.Join(fixed, ", "))
	}
	r.logger.Info("reloaded", "topic_rules", len(file.topics))
}

// reread reads all settings again, as at the start: a file in which anything is wrong
// is refused whole, with all that is wrong in it. It returns the file, and which of its
// settings have changed beside rules and hooks.
func (r *reloader) reread() (file configFile, changed []string, err error) {
	again := newConfigResolver(r.process.env)
	parser, err := newParser(context.Background(), r.process, again) // for commands that run: this one does not
	if err != nil {
		return file, nil, err
	}
	command, err := again.parse(parser, r.resolver.args)
	if err == nil {
		err = again.check(command)
	}
	if again.explain(err) || len(again.faults) > 0 {
		return file, nil, again.join()
	}
	before, now := r.resolver.file.settings, again.file.settings
	names := maps.Clone(before)
	if names == nil {
		names = map[string]fileValue{}
	}
	maps.Copy(names, now)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if text(before[name].value) != text(now[name].value) {
			changed = append(changed, name)
		}
	}
	return again.file, changed, err
}
