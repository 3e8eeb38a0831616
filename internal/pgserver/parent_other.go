//go:build !linux

package pgserver

import "syscall"

// stopWithParent does nothing: only Linux can tie a child to its parent. A
// process that is killed leaves its server behind.
func stopWithParent(*syscall.SysProcAttr) {}
