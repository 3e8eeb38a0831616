//go:build !linux

package target

import "os"

// usageOf knows this process only.
func usageOf(pid int) (u Usage) {
	if pid == os.Getpid() {
		u.CPU = CPUTime()
	}
	return u
}
