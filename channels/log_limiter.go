package channels

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// LogLimiter keeps what fails at the pace of clients, while something is broken, from
// filling the log: of a period the first lines are written, and the next one after
// says how many were not. The zero value is ready.
type LogLimiter struct {
	mu sync.Mutex

	// Guarded by mu.
	since  time.Time // when the period began
	lines  int       // in it
	untold int       // that have not been written
}

const (
	logPeriod = 10 * time.Second
	logLines  = 10
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
	untold, write := l.admit(time.Now())
	if !write {
		return
	}
	if untold > 0 {
		attrs = append(attrs, "not_logged_before", untold)
	}
	logger.Log(context.Background(), level, message, attrs...)
}

func (l *LogLimiter) admit(now time.Time) (untold int, write bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since.IsZero() || now.Sub(l.since) >= logPeriod {
		l.since, l.lines = now, 0
	}
	if l.lines == logLines {
		l.untold++
		return 0, false
	}
	l.lines++
	untold, l.untold = l.untold, 0
	return untold, true
}
