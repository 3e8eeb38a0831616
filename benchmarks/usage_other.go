//go:build !linux

package benchmarks

import "os"

// usageOf knows this process only.
func usageOf(pid int) (u Usage) {
	if pid == os.Getpid() {
		u.CPU = cpuTime()
	}
	return u
}
