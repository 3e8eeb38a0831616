package logtail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

func logger(level slog.Level, also ...string) (*slog.Logger, *Tail, *bytes.Buffer) {
	var out bytes.Buffer
	tail := New(also...)
	return slog.New(tail.Handler(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level}))), tail, &out
}

func TestTailKeepsWhatMatters(t *testing.T) {
	t.Parallel()
	log, tail, out := logger(slog.LevelInfo, "connection refused")
	log.Debug("connection refused")
	log.Info("listening")
	log.Info("connection refused", "reason", "origin", "origin", "https://evil.example")
	log.With("node", "a").WithGroup("store").Warn("slow", "for", 3, slog.Group("at", "row", 7))
	log.Error("failed", "error", errors.New("away"))
	got := tail.Records()
	want := []string{
		"3 ERROR failed error=away",
		"2 WARN slow node=a store.for=3 store.at.row=7",
		"1 INFO connection refused reason=origin origin=https://evil.example",
	}
	if len(got) != len(want) {
		t.Fatalf("%d records are kept: %+v", len(got), got)
	}
	for i, r := range got {
		if text := fmt.Sprint(r.Serial, " ", r.Level, " ", r.Message, " ", r.Detail); text != want[i] || r.At.IsZero() {
			t.Errorf("record %d is %q at %v, want %q", i, text, r.At, want[i])
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 4 || strings.Contains(out.String(), "DEBUG") {
		t.Errorf("the handler behind it wrote %d lines:\n%s", n, out)
	}
}

// A log that is set to tell little tells no more because of the tail.
func TestTailLeavesTheLevelAlone(t *testing.T) {
	t.Parallel()
	log, tail, out := logger(slog.LevelError, "connection refused")
	log.Info("connection refused")
	log.Warn("slow")
	if out.Len() > 0 {
		t.Errorf("the log tells %s", out)
	}
	if n := len(tail.Records()); n != 2 {
		t.Errorf("%d records are kept, want both", n)
	}
	plain, _, _ := logger(slog.LevelError)
	if plain.Enabled(context.Background(), slog.LevelInfo) {
		t.Error("records are made that nobody wants")
	}
}

func TestTailIsBounded(t *testing.T) {
	t.Parallel()
	log, tail, _ := logger(slog.LevelError)
	long := strings.Repeat("ü", 3*MaxText)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range Kept {
				log.With("with", long).Warn(long, "a", long, "b", long)
			}
		})
	}
	group.Wait()
	records := tail.Records()
	if len(records) != Kept || records[0].Serial != 4*Kept || records[Kept-1].Serial != 3*Kept+1 {
		t.Fatalf("%d records, from %d to %d", len(records), records[len(records)-1].Serial, records[0].Serial)
	}
	for _, r := range records {
		if len(r.Message) > MaxText+3 || len(r.Detail) > MaxText+3 || strings.ContainsRune(r.Message+r.Detail, '�') {
			t.Fatalf("a record of %d and %d bytes", len(r.Message), len(r.Detail))
		}
	}
}
