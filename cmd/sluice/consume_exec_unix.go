//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// apart has a command not be told to end along with this program: it has its batch to finish.
func apart(command *exec.Cmd) { command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
