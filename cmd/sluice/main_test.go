package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/internal/testmain"
)

// asProgram makes the test binary the program itself: that is how exit
// statuses and signals are tested with a process of its own.
const asProgram = "TEST_AS_SLUICE"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	testmain.AtOnce(4)
	testmain.Main(m)
}

// program is the program as a process of its own, with no environment but the
// one given.
func program(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), self, args...)
	command.Env = append([]string{asProgram + "=1"}, env...)
	command.Dir = t.TempDir()
	return command
}

// call is a run of the program in memory.
type call struct {
	args  []string
	env   map[string]string
	stdin io.Reader // nil: the null device, which counts as a terminal
	file  string    // content of sluice.yaml, named by --config when not empty
}

type outcome struct {
	exit           int
	stdout, stderr string
}

func (c call) run(t *testing.T) outcome {
	t.Helper()
	return c.runUntil(t.Context(), t)
}

func (c call) runUntil(ctx context.Context, t *testing.T) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	p, path := c.process(t, &stdout, &stderr)
	exit := p.run(ctx, c.args)
	return outcome{exit, stdout.String(), strings.ReplaceAll(stderr.String(), path, "sluice.yaml")}
}

// process is what c runs in. Its file is named by the environment, the weakest
// way to name it.
func (c call) process(t *testing.T, stdout, stderr io.Writer) (p process, path string) {
	t.Helper()
	env := map[string]string{}
	for name, value := range c.env {
		env[name] = value
	}
	path = filepath.Join(t.TempDir(), "sluice.yaml")
	if c.file != "" {
		if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		env["SLUICE_CONFIG"] = path
	}
	stdin := c.stdin
	if stdin == nil {
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { null.Close() })
		stdin = null
	}
	return process{stdin, stdout, stderr, func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	}, func() (all []string) {
		for name, value := range env {
			all = append(all, name+"="+value)
		}
		return all
	}}, path
}

// parse reads a command line that has to be right.
func (c call) parse(t *testing.T) *cli {
	t.Helper()
	p, _ := c.process(t, io.Discard, io.Discard)
	resolver := newConfigResolver(p.env)
	parser, err := newParser(t.Context(), p, resolver)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := resolver.parse(parser, c.args); err != nil || len(resolver.faults) > 0 {
		t.Fatalf("parse %q: %v, %v", c.args, err, resolver.faults)
	}
	return parser.Model.Target.Addr().Interface().(*cli)
}

func writeFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExitStatus(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		args []string
		exit int
	}{
		{"nothing asked for", nil, exitOK},
		{"help", []string{"serve", "--help"}, exitOK},
		{"version", []string{"version"}, exitOK},
		{"unknown command", []string{"swerve"}, exitUsage},
		{"unknown flag", []string{"serve", "--max-demnad", "1"}, exitUsage},
		{"value out of range", []string{"serve", "--max-demand", "0"}, exitUsage},
		{"nobody to publish to", []string{"publish", "--admin-url", "http://127.0.0.1:1", "demo", "greeted"}, exitFailure},
		{"nobody to watch", []string{"watch", "--url", "ws://127.0.0.1:1/socket", "demo"}, exitFailure},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			command := program(t, nil, test.args...)
			out, _ := command.CombinedOutput()
			if got := command.ProcessState.ExitCode(); got != test.exit {
				t.Errorf("exit status %d, want %d; output:\n%s", got, test.exit, out)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	got := call{args: []string{"version"}}.run(t)
	if got.exit != exitOK || !strings.HasPrefix(got.stdout, "sluice ") || !strings.Contains(got.stdout, ", go1.") {
		t.Errorf("version: %+v", got)
	}
}

// TestReaderGone prints to who has stopped reading.
func TestReaderGone(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"--help", "serve --help", "bench list", "version"} {
		reader, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		reader.Close()
		command := program(t, nil, strings.Fields(args)...)
		var stderr bytes.Buffer
		command.Stdout, command.Stderr = writer, &stderr
		if err := command.Run(); err != nil || stderr.Len() > 0 {
			t.Errorf("%s: %v, %s", args, err, &stderr)
		}
		writer.Close()
	}
}
