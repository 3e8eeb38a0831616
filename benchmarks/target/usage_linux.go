package target

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func usageOf(pid int) (u Usage) {
	u.CPU = cpuOf(pid)
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return u
	}
	u.RSS, u.Peak = kilobytes(string(status), "VmRSS:"), kilobytes(string(status), "VmHWM:")
	return u
}

// cpuOf reads the CPU-time clock of a process, to the nanosecond: what /proc
// tells is in hundredths of a second. The clock's number is made of the
// process's, see clock_getcpuclockid(3).
func cpuOf(pid int) time.Duration {
	const scheduled = 2 // CPUCLOCK_SCHED: user and system time as the scheduler counts it
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

func kilobytes(status, name string) (bytes int64) {
	_, rest, _ := strings.Cut(status, name)
	if _, err := fmt.Sscan(rest, &bytes); err != nil {
		return 0
	}
	return bytes << 10
}
