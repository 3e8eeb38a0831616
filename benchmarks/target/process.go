package target

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// Process is a server as a process of its own, on the same addresses whenever it
// is started again. Its methods are for one goroutine at a time, but for Measure
// and Peak.
type Process struct {
	// Immutable after NewProcess, but for Args while it is down.
	program string
	Args    []string
	Public  string // host:port of the sockets
	Admin   string // host:port of the admin listener
	leases  []*Lease
	log     *watchedLog

	command *exec.Cmd     // nil while it is down
	exited  chan struct{} // closed by start's goroutine when the process has ended

	mu sync.Mutex
	// Guarded by mu.
	pid  int   // of the process that runs
	most int64 // bytes of memory that any of its runs has had
}

// NewProcess prepares a process, and leases two addresses for it until Release;
// {listen} and {admin} in its arguments stand for them. Nothing is started. Its
// log lines are told by the name given; a nil log is told none.
func NewProcess(program, name string, log io.Writer, args ...string) (*Process, error) {
	p := &Process{program: program, log: &watchedLog{name: name, out: log}}
	for _, address := range []*string{&p.Public, &p.Admin} {
		lease, err := LeaseAddress()
		if err != nil {
			return nil, errors.Join(err, p.Release())
		}
		p.leases, *address = append(p.leases, lease), lease.Address
	}
	addresses := strings.NewReplacer("{listen}", p.Public, "{admin}", p.Admin)
	for _, arg := range args {
		p.Args = append(p.Args, addresses.Replace(arg))
	}
	return p, nil
}

// Release gives the addresses back. Call it once, when the process has ended for
// good.
func (p *Process) Release() (err error) {
	for _, lease := range p.leases {
		err = errors.Join(err, lease.Release())
	}
	return err
}

// Start starts the process, which must be down, and returns at once.
func (p *Process) Start() error {
	command := exec.Command(p.program, p.Args...)
	command.Stdout, command.Stderr = p.log, p.log
	command.Env = environment()
	if err := command.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.program, err)
	}
	p.command, p.exited = command, make(chan struct{})
	p.mu.Lock()
	p.pid = command.Process.Pid
	p.mu.Unlock()
	go func() {
		defer close(p.exited)
		_ = command.Wait() // its state tells
		p.mu.Lock()
		defer p.mu.Unlock()
		p.pid = 0
	}()
	return nil
}

// environment is this process's, without settings that were meant for it.
func environment() (kept []string) {
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		ours := strings.HasPrefix(name, "SLUICE_") && !strings.HasPrefix(name, "SLUICE_TEST_")
		if !ours && name != "DATABASE_URL" {
			kept = append(kept, variable)
		}
	}
	return kept
}

// Running tells whether a process that was started has not ended.
func (p *Process) Running() bool {
	if p.command == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Name is what it is called in logs.
func (p *Process) Name() string { return p.log.name }

// LastLine is the last line that it has logged.
func (p *Process) LastLine() string { return p.log.last() }

// Alarms are the first lines that it has logged and no service should have to.
func (p *Process) Alarms() []string { return p.log.alarm() }

// Hang has the process do nothing, until Continue.
func (p *Process) Hang() error { return p.signal(hang) }

// Continue has a process that hangs go on.
func (p *Process) Continue() error { return p.signal(goOn) }

// signal sends a signal; a process that has ended is left alone.
func (p *Process) signal(s os.Signal) error {
	if err := p.command.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %v: %w", s, err)
	}
	return nil
}

// stopTimeout is how long a process may take to end when it is asked to.
const stopTimeout = 60 * time.Second

// Stop asks the process to end, and waits for it: an error if it takes too
// long or ends badly.
func (p *Process) Stop() error {
	if err := p.signal(terminate); err != nil {
		return err
	}
	late := time.NewTimer(stopTimeout)
	defer late.Stop()
	select {
	case <-p.exited:
	case <-late.C:
		return errors.Join(fmt.Errorf("node %s has not ended %v after it was asked to", p.log.name, stopTimeout), p.Kill())
	}
	state := p.command.ProcessState
	p.command = nil
	if !state.Success() {
		return fmt.Errorf("node %s ended with %v", p.log.name, state)
	}
	return nil
}

// Kill ends the process, if there is one.
func (p *Process) Kill() error {
	if p.command == nil {
		return nil
	}
	err := p.signal(os.Kill)
	<-p.exited
	p.command = nil
	return err
}

// Ready waits until the process says that it is.
func (p *Process) Ready(ctx context.Context) error {
	look := time.NewTicker(readyPause)
	defer look.Stop()
	for {
		if _, err := p.Get(ctx, "/readyz"); err == nil {
			return nil
		}
		select {
		case <-look.C:
		case <-p.exited:
			return fmt.Errorf("node %s ended before it was ready: %s", p.log.name, p.log.last())
		case <-ctx.Done():
			return fmt.Errorf("wait until node %s is ready: %w", p.log.name, ctx.Err())
		}
	}
}

// asking keeps no connection, so that none outlives its process.
var asking = &http.Client{Timeout: stopTimeout, Transport: &http.Transport{DisableKeepAlives: true}}

// Get asks the admin listener; an answer other than 200 is an error.
func (p *Process) Get(ctx context.Context, path string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Admin+path, nil)
	if err != nil {
		return "", err
	}
	answer, err := asking.Do(request)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close() // it has been read
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("get %s of node %s: %d %s", path, p.log.name, answer.StatusCode, text)
	}
	return string(text), err
}

// Measure looks how much memory the process has needed. The system keeps the
// peak, so that nothing between two looks is missed, but for the last one
// before it is killed. It may be called concurrently.
func (p *Process) Measure() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pid != 0 {
		p.most = max(p.most, UsageOf(p.pid).Peak)
	}
}

// Peak is the most memory that any run of the process has had, 0 where the
// system does not tell.
func (p *Process) Peak() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.most
}

// watchedLog passes on what a process logs, each line with its name, and keeps
// what no service should have to say. It may be used concurrently.
type watchedLog struct {
	name string    // immutable
	out  io.Writer // nil for nobody asks; immutable

	mu sync.Mutex
	// Guarded by mu.
	rest   []byte   // a line whose end has not come
	latest string   // the last line
	alarms []string // the first of those lines
}

// alarming is how lines look that are always a bug.
var alarming = []string{"DATA RACE", "panic", "fatal error:"}

// maxAlarms bounds what is kept of them, maxLogLine what is kept of a line.
const maxAlarms, maxLogLine = 5, 16 << 10

// Write implements io.Writer.
func (l *watchedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		line, rest, whole := bytes.Cut(l.rest, []byte("\n"))
		if !whole {
			break
		}
		l.line(string(line))
		l.rest = rest
	}
	l.rest = append([]byte(nil), l.rest[:min(len(l.rest), maxLogLine)]...)
	return len(p), nil
}

func (l *watchedLog) line(line string) {
	l.latest = line
	for _, alarm := range alarming {
		if strings.Contains(line, alarm) && len(l.alarms) < maxAlarms {
			l.alarms = append(l.alarms, l.name+": "+line)
		}
	}
	if l.out != nil {
		fmt.Fprintf(l.out, "%s %s\n", l.name, line)
	}
}

func (l *watchedLog) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.latest
}

func (l *watchedLog) alarm() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.alarms
}
