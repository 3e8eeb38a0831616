package sluice

import (
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
