package lease

import (
	"errors"
	"os"
	"strings"
	"syscall"
)

// machine is what makes a process id mean the same: the kernel, which draws an id
// whenever it is started, and the namespace, whose number it gives to no other one
// while a process is left in it.
func machine() (boot, pids string, ok bool) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", "", false
	}
	pids, err = os.Readlink("/proc/self/ns/pid")
	boot = strings.TrimSpace(string(id))
	return boot, pids, err == nil && boot != "" && pids != ""
}

// exists tells whether a process, whoever's it is, has not ended.
func exists(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }
