//go:build unix

package main

import "syscall"

// raiseFileLimit lets this process, and those it starts, open as many files as
// they may, and tells how many that is; 0 if the system does not say.
func raiseFileLimit() int64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	raised := limit
	raised.Cur = raised.Max
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil {
		limit = raised
	}
	return int64(min(uint64(limit.Cur), 1<<40)) // its type varies between systems
}
