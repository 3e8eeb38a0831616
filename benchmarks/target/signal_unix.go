//go:build unix

package target

import (
	"os"
	"syscall"
)

// Signals: to ask a process to end, to hang it, and to have it go on.
var (
	terminate os.Signal = syscall.SIGTERM
	hang      os.Signal = syscall.SIGSTOP
	goOn      os.Signal = syscall.SIGCONT
)
