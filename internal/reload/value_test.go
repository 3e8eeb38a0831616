package reload

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestValueFollowsItsFile changes a file in every way, and asks for what it says.
func TestValueFollowsItsFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		reads := 0
		v, err := Read(slog.New(slog.NewTextHandler(&log, nil)), func() (string, error) {
			reads++
			text, err := os.ReadFile(path)
			if err == nil && len(text) == 0 {
				err = errors.New("it is empty")
			}
			return string(text), err
		}, path)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			name   string
			change func()
			want   string
			reads  int // so far
			count  int // of those, again and successful
		}{
			{"unchanged", func() {}, "first", 1, 0},
			{"changed", func() { write("the second") }, "the second", 2, 1},
			{"empty", func() { write("") }, "the second", 3, 1},
			{"empty still", func() {}, "the second", 3, 1},
			{"gone", func() { os.Remove(path) }, "the second", 4, 1},
			{"back", func() { write("third") }, "third", 5, 2},
		} {
			step.change()
			time.Sleep(Interval) // of the test's own clock
			if got := v.Get(); got != step.want || reads != step.reads || v.Count() != step.count {
				t.Errorf("%s: %q after %d reads, %d counted; want %q, %d and %d", step.name, got, reads, v.Count(), step.want, step.reads, step.count)
			}
		}
		write("too early")
		if got := v.Get(); got != "third" {
			t.Errorf("looked at before its time: %q", got)
		}
		if !strings.Contains(log.String(), "what it said before stays") {
			t.Errorf("not told:\n%s", &log)
		}
	})
}

// TestRereadTakesEffectOnceAccepted reads again at a word.
func TestRereadTakesEffectOnceAccepted(t *testing.T) {
	t.Parallel()
	says, failure := "a", error(nil)
	v, err := Read(slog.New(slog.DiscardHandler), func() (string, error) { return says, failure }, "the file")
	if err != nil {
		t.Fatal(err)
	}
	says = "b"
	accept, err := v.Reread()
	if err != nil || v.Get() != "a" {
		t.Fatalf("%q is in force, %v", v.Get(), err)
	}
	if accept(); v.Get() != "b" || v.Count() != 1 {
		t.Errorf("accepted, %q is in force, read again %d times", v.Get(), v.Count())
	}
	failure = errors.New("broken")
	if _, err := v.Reread(); !errors.Is(err, failure) || !strings.Contains(err.Error(), "the file") {
		t.Errorf("failed with %v", err)
	}
	var none *Value[string]
	if accept, err = none.Reread(); err != nil || none.Count() != 0 {
		t.Errorf("nothing to read: %v, %d", err, none.Count())
	}
	accept()
}
