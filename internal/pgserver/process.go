//go:build unix

package pgserver

import (
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// process is a child that does not outlive this process, on Linux.
type process struct {
	command *exec.Cmd
	ended   chan struct{} // closed by the goroutine of startProcess
}

// startProcess starts command so that the kernel stops it when this process
// dies. That is bound to the thread that starts it: the goroutine keeps its
// thread until the child has ended.
func startProcess(command *exec.Cmd) (*process, error) {
	p := &process{command: command, ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		stopWithParent(command.SysProcAttr)
		err := command.Start()
		started <- err
		if err == nil {
			command.Wait()
		}
		close(p.ended)
	}()
	return p, <-started
}

// stop signals the child and waits for its end; a child that ignores the
// signal for long is killed.
func (p *process) stop(signal syscall.Signal) {
	p.command.Process.Signal(signal)
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.command.Process.Kill()
		<-p.ended
	}
}

// unprivileged is who the server runs as when this process runs as root, which
// PostgreSQL refuses; nil otherwise.
func unprivileged() *syscall.Credential {
	if os.Getuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		account, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.ParseUint(account.Uid, 10, 32)
		gid, errGID := strconv.ParseUint(account.Gid, 10, 32)
		if errUID == nil && errGID == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	return &syscall.Credential{Uid: 65534, Gid: 65534}
}
