package target

import "time"

// Usage is what a process uses.
type Usage struct {
	CPU  time.Duration // so far, in user and system mode
	RSS  int64         // bytes resident now
	Peak int64         // bytes resident at most, so far
}

// UsageOf asks the system about a process. It is zero where the system does not
// tell, or there is no such process.
func UsageOf(pid int) Usage {
	if pid <= 0 {
		return Usage{}
	}
	return usageOf(pid)
}
