package target

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// pinned starts a process on the first core of those that this one may use, and
// has this process keep to the others until unpin. With one core only, nothing
// is pinned.
func pinned(start func() error) (unpin func() error, err error) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return nil, fmt.Errorf("ask for the cores: %w", err)
	}
	if all.Count() < 2 {
		return func() error { return nil }, start()
	}
	server, load := all, all
	for core, found := 0, false; core < len(all)*64; core++ {
		if !all.IsSet(core) {
			continue
		}
		if found {
			server.Clear(core)
		} else {
			load.Clear(core)
			found = true
		}
	}
	runtime.LockOSThread() // a process inherits from the thread that starts it
	defer runtime.UnlockOSThread()
	err = unix.SchedSetaffinity(0, &server)
	if err == nil {
		err = start()
	}
	if err = errors.Join(err, keepTo(&load)); err != nil {
		return nil, err
	}
	procs := runtime.GOMAXPROCS(load.Count())
	return func() error {
		runtime.GOMAXPROCS(procs)
		return keepTo(&all)
	}, nil
}

// keepTo has all threads of this process run on some cores. Those that come
// later inherit it.
func keepTo(cores *unix.CPUSet) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("list the threads: %w", err)
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, cores); err != nil && !errors.Is(err, unix.ESRCH) { // it has ended
			return fmt.Errorf("keep a thread to some cores: %w", err)
		}
	}
	return nil
}
