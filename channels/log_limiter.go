package channels

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/sluicehq/sluice/store"
)

// LogLimiter keeps what fails at the pace of clients, while something is broken, from
// filling the log: of a period the first lines are written, and the next one after
// says how many were not. That the store is away is one line a minute, whomever it
// meets. The zero value is ready.
type LogLimiter struct {
	mu sync.Mutex

	// Guarded by mu.
	faults, outages logPeriod
}

// logPeriod is what has been written of lines of one kind.
type logPeriod struct {
	since  time.Time // when the period began
	lines  int       // in it
	untold int       // that have not been written
}

// How many lines are written in how long.
const (
	faultPeriod  = 10 * time.Second
	faultLines   = 10
	outagePeriod = time.Minute
	outageLines  = 1
)

// Error logs an error, or counts it.
func (l *LogLimiter) Error(logger *slog.Logger, message string, attrs ...any) {
	l.log(logger, slog.LevelError, message, attrs)
}

// Warn logs a warning, or counts it.
func (l *LogLimiter) Warn(logger *slog.Logger, message string, attrs ...any) {
	l.log(logger, slog.LevelWarn, message, attrs)
}

func (l *LogLimiter) log(logger *slog.Logger, level slog.Level, message string, attrs []any) {
	untold, write := l.admit(time.Now(), isOutage(attrs))
	if !write {
		return
	}
	if untold > 0 {
		attrs = append(attrs, "not_logged_before", untold)
	}
	logger.Log(context.Background(), level, message, attrs...)
}

func (l *LogLimiter) admit(now time.Time, outage bool) (untold int, write bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if outage {
		return l.outages.admit(now, outagePeriod, outageLines)
	}
	return l.faults.admit(now, faultPeriod, faultLines)
}

func (p *logPeriod) admit(now time.Time, length time.Duration, lines int) (untold int, write bool) {
	if p.since.IsZero() || now.Sub(p.since) >= length {
		p.since, p.lines = now, 0
	}
	if p.lines == lines {
		p.untold++
		return 0, false
	}
	p.lines++
	untold, p.untold = p.untold, 0
	return untold, true
}

// isOutage tells whether a line is of an error that says that the store is away.
func isOutage(attrs []any) bool {
	return slices.ContainsFunc(attrs, func(value any) bool {
		err, ok := value.(error)
		unavailable := new(store.UnavailableError)
		return ok && errors.As(err, &unavailable)
	})
}
