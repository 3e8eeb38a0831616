package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A process is a program that a test started: its lines are kept as they come,
// and a test waits for one of them or for the end.
type process struct {
	// Immutable after start.
	name   string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *journal
	stderr *journal
	exited chan struct{} // closed by the waiter once the process has ended
}

// start runs a program; the test's clean-up ends it.
func start(t testing.TB, name string, args ...string) *process {
	t.Helper()
	return startCommand(t, exec.Command(name, args...))
}

// startCommand is start for what needs more than arguments.
func startCommand(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p, err := launch(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.finish()
		if t.Failed() {
			t.Logf("%s %q ended with %v; it said:\n%s%s", p.name, cmd.Args[1:], p.cmd.ProcessState, p.stdout.text(), p.stderr.text())
		}
	})
	return p
}

// launch runs a program, for who will finish it.
func launch(cmd *exec.Cmd) (*process, error) {
	p := &process{name: cmd.Args[0], cmd: cmd, stdout: newJournal(), stderr: newJournal(), exited: make(chan struct{})}
	var err error
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = p.stdout, p.stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() {
		defer close(p.exited)
		cmd.Wait() // the state tells what came of it
		p.stdout.end()
		p.stderr.end()
	}()
	return p, nil
}

// finish ends the process, whatever it does.
func (p *process) finish() {
	p.stdin.Close()
	select {
	case <-p.exited:
	default:
		p.cmd.Process.Kill()
		<-p.exited
	}
}

// run runs a program to its end, gives it input and tells what it said.
func run(t testing.TB, input, name string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewBufferString(input), &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %s %q: %v", name, args, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// stop asks the process to end and tells its exit status.
func (p *process) stop(t testing.TB) int {
	t.Helper()
	p.terminate(t)
	return p.wait(t)
}

// terminate asks the process to end.
func (p *process) terminate(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatalf("stop %s: %v", p.name, err)
	}
}

// wait waits for the process to end and tells its exit status. Clean-ups call
// it too, when the test's own context is over.
func (p *process) wait(t testing.TB) int {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-late.C:
		t.Fatalf("%s has not ended", p.name)
		return -1
	}
}

// A journal keeps the lines that a process writes.
type journal struct {
	mu    sync.Mutex
	grown *sync.Cond // on mu: a line came, or the last one has

	// Guarded by mu.
	lines []string
	rest  []byte // a line whose end has not come
	ended bool
}

func newJournal() *journal {
	j := &journal{}
	j.grown = sync.NewCond(&j.mu)
	return j
}

// Write takes what the process writes, cut anywhere.
func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.rest = append(j.rest, p...)
	for {
		line, rest, whole := bytes.Cut(j.rest, []byte("\n"))
		if !whole {
			break
		}
		j.lines, j.rest = append(j.lines, string(line)), rest
	}
	j.grown.Broadcast()
	return len(p), nil
}

func (j *journal) end() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ended = true
	j.grown.Broadcast()
}

// next waits for the first line from at on that matches and tells its place;
// false when the process ended, or patience did, without one.
func (j *journal) next(ctx context.Context, at int, match func(line string) bool) (int, bool) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.grown.Broadcast()
	})()
	j.mu.Lock()
	defer j.mu.Unlock()
	for {
		for ; at < len(j.lines); at++ {
			if match(j.lines[at]) {
				return at, true
			}
		}
		if j.ended || ctx.Err() != nil {
			return at, false
		}
		j.grown.Wait()
	}
}

func (j *journal) line(at int) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lines[at]
}

// text is the end of what was written, for the log of a test that failed.
func (j *journal) text() string {
	const most = 64 << 10
	j.mu.Lock()
	defer j.mu.Unlock()
	text := strings.Join(j.lines, "\n") + "\n" + string(j.rest)
	return text[max(0, len(text)-most):]
}
