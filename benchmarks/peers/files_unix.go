//go:build unix

package main

import (
	"math"
	"syscall"
)

// fileLimit is how many files a process may open: Go and Node.js raise the soft
// limit to the hard one by themselves. 0: it is unknown.
func fileLimit() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int(min(uint64(limit.Max), math.MaxInt32))
}
