package reload

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Interval is how often the files behind a value are looked at, at most.
const Interval = time.Second

// Value is one that is read from files, and read again once they have changed. If
// they cannot be read then, it stays what it was. It may be used concurrently.
type Value[T any] struct {
	// Immutable after Read.
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

// Read reads a value for the first time, by read, which says what is in the files
// at paths. With no paths it is read again by [Value.Reread] alone, which must not fail.
func Read[T any](logger *slog.Logger, read func() (T, error), paths ...string) (*Value[T], error) {
	v := &Value[T]{paths: paths, read: read, logger: logger, stamps: stampsOf(paths)}
	var err error
	v.value, err = read()
	return v, err
}

// Get returns the value, after another look at the files if one is due.
func (v *Value[T]) Get() T {
	v.mu.Lock()
	defer v.mu.Unlock()
	if now := time.Now(); now.Sub(v.looked) >= Interval {
		v.looked = now
		v.look()
	}
	return v.value
}

// Count is how often the value has been read again, after another look at the
// files if one is due. Of a nil value it is 0.
func (v *Value[T]) Count() int {
	if v == nil {
		return 0
	}
	v.Get()
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.reads
}

// Reread reads the value now, whether the files have changed or not, and
// returns what puts it in force. A nil value has nothing to read.
func (v *Value[T]) Reread() (accept func(), err error) {
	if v == nil {
		return func() {}, nil
	}
	stamps := stampsOf(v.paths)
	value, err := v.read()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", v.paths[0], err)
	}
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.value, v.stamps = value, stamps
		v.reads++
	}, nil
}

func (v *Value[T]) look() {
	seen := stampsOf(v.paths)
	same := true
	for i := range seen {
		same = same && seen[i].size == v.stamps[i].size && seen[i].modified.Equal(v.stamps[i].modified)
	}
	if same {
		return
	}
	v.stamps = seen // whether it can be read or not: until it changes once more
	value, err := v.read()
	if err != nil {
		v.logger.Error("file not read again, what it said before stays", "file", v.paths[0], "error", err)
		return
	}
	v.logger.Info("file read again", "file", v.paths[0])
	v.value = value
	v.reads++
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
