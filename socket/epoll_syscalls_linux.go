package socket

import (
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of an epollConn never wait. So the scheduler of Go need not
// hear of them (RawSyscall): on a busy machine it would take the processor away
// from under many of them. They allocate nothing.

// neverWait are the flags of all of them. Without a signal, writing to a
// connection that has ended is an error like any other.
const neverWait = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL

// duplicate returns a descriptor of the connection that is the caller's.
func duplicate(tcp *net.TCPConn) (fd int, err error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Control(func(of uintptr) {
		fd, failed = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err != nil {
		return 0, err
	}
	return fd, failed
}

// readNow reads what has come. It returns 0 if the client's side has ended.
func readNow(fd int, buffer []byte) (n int, err syscall.Errno) {
	got, _, err := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&buffer[0])), uintptr(len(buffer)), neverWait, 0, 0)
	if err != 0 {
		return -1, err
	}
	return int(got), 0
}

// isWritable tells whether the kernel would take something now.
func isWritable(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(fds, 0)
	return n == 1 && err == nil && fds[0].Revents&unix.POLLOUT != 0
}

// vector is what one system call writes. Small pieces are copied together.
type vector struct {
	pieces [turnPieces]unix.Iovec
	n      int // pieces
	bytes  int
	joined [turnBytes]byte // the memory of those that have been copied
	header unix.Msghdr     // of the call
}

// smallPiece is what is cheaper to copy than to point to, the more so the more
// pieces there are.
const smallPiece = 512

// fill points to the beginning of what is unsent: at most turnBytes, as far as
// there is room.
func (v *vector) fill(u *unsent) {
	v.n, v.bytes = 0, 0
	joined, joining := 0, false // joining: the last piece is in joined, and ends where that does
	offset := u.offset
	for _, frame := range u.batch.Frames[u.frame:] {
		frame = frame[offset:]
		offset = 0
		frame = frame[:min(len(frame), turnBytes-v.bytes)]
		small := len(frame) <= smallPiece
		switch {
		case len(frame) == 0:
			continue
		case small && joining:
			last := &v.pieces[v.n-1]
			last.SetLen(int(last.Len) + len(frame))
		case v.n == len(v.pieces):
			return
		case small:
			v.point(&v.joined[joined], len(frame))
		default:
			v.point(&frame[0], len(frame))
		}
		if joining = small; small {
			joined += copy(v.joined[joined:], frame)
		}
		v.bytes += len(frame)
	}
}

func (v *vector) point(at *byte, n int) {
	v.pieces[v.n].Base = at
	v.pieces[v.n].SetLen(n)
	v.n++
}

// send writes it, or as much of it as there is room for.
func (v *vector) send(fd int) (n int, err syscall.Errno) {
	var wrote uintptr
	if v.n == 1 {
		wrote, _, err = syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(v.pieces[0].Base)), uintptr(v.bytes), neverWait, 0, 0)
	} else {
		v.header.Iov = &v.pieces[0]
		v.header.SetIovlen(v.n)
		wrote, _, err = syscall.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&v.header)), neverWait)
	}
	if err != 0 {
		return 0, err
	}
	return int(wrote), 0
}
