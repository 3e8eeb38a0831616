package main

import (
	"io"
	"log/slog"
)

// logFlags say how the service logs, on standard error.
type logFlags struct {
	LogLevel  string `group:"Logging" placeholder:"LEVEL" help:"Least severe that is logged: debug, info, warn or error."`
	LogFormat string `group:"Logging" placeholder:"FORMAT" help:"How it is logged: text, for people, or json, for machines, with durations in seconds."`
}

func defaultLog() logFlags { return logFlags{LogLevel: "info", LogFormat: "text"} }

func (l logFlags) logger(w io.Writer) (*slog.Logger, error) {
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}
	level, ok := levels[l.LogLevel]
	if !ok {
		return nil, &usageError{"--log-level", l.LogLevel, "debug, info, warn, error"}
	}
	options := &slog.HandlerOptions{Level: level}
	switch l.LogFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		options.ReplaceAttr = secondsOf
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, &usageError{"--log-format", l.LogFormat, "text, json"}
}

// secondsOf makes seconds of a duration, which JSON would have in nanoseconds.
func secondsOf(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.Float64Value(a.Value.Duration().Seconds())
	}
	return a
}
