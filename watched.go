package sluice

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// lookInterval is how often the files behind a watched value are looked at,
// at most.
const lookInterval = time.Second

// watched is a value that is read from files, and read again once they have
// changed: keys and certificates are renewed while the service runs. If they
// cannot be read then, the value stays what it was.
type watched[T any] struct {
	// Immutable after watch.
	paths  []string
	read   func() (T, error)
	logger *slog.Logger

	mu sync.Mutex
	// Guarded by mu.
	value  T
	reads  int       // how often it was read, the first time not counted
	stamps []stamp   // of the files when they were read
	looked time.Time // when they were last looked at
}

// stamp tells two states of a file apart. The zero stamp is that of no file.
type stamp struct {
	modified time.Time
	size     int64
}

// watch reads a value for the first time.
func watch[T any](logger *slog.Logger, read func() (T, error), paths ...string) (*watched[T], error) {
	w := &watched[T]{paths: paths, read: read, logger: logger, stamps: stampsOf(paths)}
	var err error
	w.value, err = read()
	return w, err
}

// get returns the value, after another look at the files if one is due.
func (w *watched[T]) get() T {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := time.Now(); now.Sub(w.looked) >= lookInterval {
		w.looked = now
		w.look()
	}
	return w.value
}

// count is how often the value has been read again, after another look at the
// files if one is due. Of a nil value it is 0.
func (w *watched[T]) count() int {
	if w == nil {
		return 0
	}
	w.get()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reads
}

// reread reads the value now, whether the files have changed or not, and
// returns what puts it in force. A nil value has nothing to read.
func (w *watched[T]) reread() (accept func(), err error) {
	if w == nil {
		return func() {}, nil
	}
	stamps := stampsOf(w.paths)
	value, err := w.read()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", w.paths[0], err)
	}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.value, w.stamps = value, stamps
		w.reads++
	}, nil
}

func (w *watched[T]) look() {
	seen := stampsOf(w.paths)
	same := true
	for i := range seen {
		same = same && seen[i].size == w.stamps[i].size && seen[i].modified.Equal(w.stamps[i].modified)
	}
	if same {
		return
	}
	w.stamps = seen // whether it can be read or not: until it changes once more
	value, err := w.read()
	if err != nil {
		w.logger.Error("file not read again, what it said before stays", "file", w.paths[0], "error", err)
		return
	}
	w.logger.Info("file read again", "file", w.paths[0])
	w.value = value
	w.reads++
}

func stampsOf(paths []string) []stamp {
	stamps := make([]stamp, len(paths))
	for i, path := range paths {
		if info, err := os.Stat(path); err == nil {
			stamps[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return stamps
}
