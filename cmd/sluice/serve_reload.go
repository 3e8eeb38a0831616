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
// process is sent SIGHUP: topic rules, keys, tokens and certificates.
type reloader struct {
	// Immutable.
	process  process
	resolver *configResolver // of the start
	logger   *slog.Logger

	mu      sync.Mutex
	service *sluice.Service    // the one that runs now; guarded by mu
	topics  []sluice.TopicRule // in force; guarded by mu
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
	cfg.Topics = r.topics
	var err error
	r.service, err = sluice.New(cfg)
	return r.service, err
}

func (r *reloader) reload() {
	topics, fixed, err := r.reread()
	if err == nil {
		r.mu.Lock()
		if err = r.service.Reload(topics); err == nil {
			r.topics = topics
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
	r.logger.Info("reloaded", "topic_rules", len(topics))
}

// reread reads all settings again, as at the start: a file in which anything is wrong
// is refused whole, with all that is wrong in it. It returns the rules for topics, and
// which other settings of the file have changed.
func (r *reloader) reread() (topics []sluice.TopicRule, changed []string, err error) {
	again := newConfigResolver(r.process.env)
	parser, err := newParser(context.Background(), r.process, again) // for commands that run: this one does not
	if err != nil {
		return nil, nil, err
	}
	command, err := again.parse(parser, r.resolver.args)
	if err == nil {
		err = again.check(command)
	}
	if again.explain(err) || len(again.faults) > 0 {
		return nil, nil, again.join()
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
	return again.file.topics, changed, err
}
