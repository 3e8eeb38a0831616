package pgserver

import "syscall"

// stopWithParent asks for an immediate shutdown when the starting thread ends.
func stopWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGQUIT }
