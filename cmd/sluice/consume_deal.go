package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
)

// dealError says that a batch could not be dealt with this time.
type dealError struct{ err error }

func (e *dealError) Error() string { return e.err.Error() }

func (e *dealError) Unwrap() error { return e.err }

// dealer is what is done with each batch: it is printed, or a command is run with it.
func (c *consumeCmd) dealer(p process) func(context.Context, *eventBatch) error {
	if c.Exec != "" {
		return func(ctx context.Context, b *eventBatch) error { return b.runCommand(ctx, c.Exec, p) }
	}
	var out io.Writer = p.stdout
	if isTerminal(p.stdout) {
		out = terminalWriter{p.stdout}
	}
	sync := syncOf(p.stdout)
	return func(_ context.Context, b *eventBatch) error {
		lines, err := b.lines()
		if err != nil {
			return err
		}
		if _, err = out.Write(lines); err != nil {
			return fmt.Errorf("print: %w", err)
		}
		if err = sync(); err != nil {
			return fmt.Errorf("print: %w", err)
		}
		return nil
	}
}

// syncer is what can be told to keep what was written to it, as an [os.File] can.
type syncer interface {
	Stat() (fs.FileInfo, error)
	Sync() error
}

// syncOf has what was written outlast a crash of the host, where it is written to a regular file: the
// position that is committed then does.
func syncOf(out io.Writer) func() error {
	if file, ok := out.(syncer); ok {
		if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
			return file.Sync
		}
	}
	return func() error { return nil }
}

// lines are the events of a batch, each on one of its own.
func (b *eventBatch) lines() ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out) // makes payloads compact: they may have line breaks
	encoder.SetEscapeHTML(false)     // and leaves them else as they were written
	for i := range b.Events {
		if err := encoder.Encode(&b.Events[i]); err != nil {
			return nil, fmt.Errorf("print event %d: %w", b.Events[i].Offset, err)
		}
	}
	return out.Bytes(), nil
}

// runCommand has the shell run a command with a batch on its standard input. That the command has not
// read all of it is the command's affair, as long as it exits 0.
func (b *eventBatch) runCommand(ctx context.Context, command string, p process) error {
	lines, err := b.lines()
	if err != nil {
		return err
	}
	shell := exec.CommandContext(ctx, "sh", "-c", command)
	shell.Stdin, shell.Stdout, shell.Stderr = bytes.NewReader(lines), p.stdout, p.stderr
	shell.Env = append(os.Environ(), "CONSUMER_NAME="+b.Name, "CONSUMER_EPOCH="+b.Epoch)
	apart(shell)
	err = shell.Run()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("run --exec: %w; put sh into the PATH", err)
	}
	first, last := b.Events[0].Offset, b.Events[len(b.Events)-1].Offset
	return &dealError{fmt.Errorf("the command failed on offsets %d to %d: %w", first, last, err)}
}
