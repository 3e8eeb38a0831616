package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/benchmarks"
	"github.com/sluicehq/sluice/benchmarks/report"
	"github.com/sluicehq/sluice/benchmarks/swarm"
	"github.com/sluicehq/sluice/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Main(m) }

// TestVerdict gives it rates of six pairs, on a machine that gets slower by half meanwhile.
func TestVerdict(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		ratios []float64
		slower bool
		words  string
	}{
		{"the same", []float64{1, 1, 1, 1, 1, 1}, false, "no difference"},
		{"slower", []float64{0.9, 0.91, 0.92, 0.9, 0.93, 0.89}, true, "SLOWER"},
		{"slower but for once", []float64{0.9, 0.91, 0.92, 0.9, 0.93, 1.01}, false, "no difference"},
		{"hardly slower", []float64{0.98, 0.99, 0.985, 0.98, 0.99, 0.975}, false, "within the tolerance"},
		{"faster", []float64{1.1, 1.2, 1.1, 1.3, 1.1, 1.2}, false, "faster"},
		{"uneven", []float64{0.7, 1.3, 0.8, 1.2, 0.9, 1.1}, false, "no difference"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := options{Pairs: len(test.ratios), For: time.Second, Only: []string{"fanout"}, Tolerance: 0.03}
			chosen, err := o.chosen()
			if err != nil {
				t.Fatal(err)
			}
			var order []bool
			all, err := o.compare(chosen, func(s *benchmarks.Bulk, isNow bool) (report.Result, error) {
				pair := len(order) / 2
				order = append(order, isNow)
				rate := 1e6 / float64(2+pair)
				if isNow {
					rate *= test.ratios[pair]
				}
				return report.Result{DeliveriesPerCPUSecond: rate}, nil
			}, t.Output())
			if err != nil {
				t.Fatal(err)
			}
			for pair := range test.ratios {
				if first, second := order[2*pair], order[2*pair+1]; first == second || pair > 0 && first == order[2*pair-2] {
					t.Errorf("measured in the order %v", order)
				}
			}
			var out bytes.Buffer
			if err := o.judge(all, &out); (err != nil) != test.slower || err != nil && !strings.Contains(err.Error(), "fanout") {
				t.Errorf("it ends with %v", err)
			}
			if !strings.Contains(out.String(), test.words) {
				t.Errorf("it says %s", &out)
			}
		})
	}
}

// TestWhatCannotBeCompared is told, and no verdict made of it.
func TestWhatCannotBeCompared(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		result report.Result
		err    error
		words  string
	}{
		"failed":  {err: errors.New("out of files"), words: "out of files"},
		"lost":    {result: report.Result{DeliveriesPerCPUSecond: 1, Check: swarm.Check{Lost: 1}}, words: "not sound"},
		"no time": {words: "does not tell"},
	} {
		o := options{Pairs: 1, For: time.Second}
		if _, err := o.compare(scenarios(), func(*benchmarks.Bulk, bool) (report.Result, error) { return test.result, test.err }, t.Output()); err == nil || !strings.Contains(err.Error(), test.words) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, o := range []options{{Pairs: 0, For: 1}, {Pairs: 1}, {Pairs: 1, For: 1, Only: []string{"idle"}}} {
		if _, err := o.chosen(); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}

// TestBuildsACommit builds a program as it was, beside a working tree that has another one.
func TestBuildsACommit(t *testing.T) {
	folder := t.TempDir()
	t.Chdir(folder)
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module m\n")
	commit := []string{"git", "-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false", "commit", "-qam"}
	run("git", "init", "-q")
	for i, text := range []string{"old", "new"} {
		write("main.go", fmt.Sprintf("package main\n\nfunc main() { print(%q) }\n", text))
		run("git", "add", ".")
		run(append(commit, text)...)
		if i == 0 {
			if _, err := buildCommit(t.Context(), "", ".", "old"); err == nil || !strings.Contains(err.Error(), "--base") {
				t.Errorf("without a tag: %v", err)
			}
			run("git", "tag", "v1")
		}
	}
	write("main.go", "package main\n\nfunc main() { print(\"changed\") }\n")
	programs := t.TempDir()
	for _, test := range []struct{ commit, says string }{{"", "old"}, {"v1", "old"}, {"HEAD", "new"}} {
		program := filepath.Join(programs, test.says)
		name, err := buildCommit(t.Context(), test.commit, ".", program)
		if err != nil || !strings.HasSuffix(name, " "+test.says) {
			t.Fatalf("%q is %q, %v", test.commit, name, err)
		}
		if said := run(program); said != test.says {
			t.Errorf("the program of %q says %q", test.commit, said)
		}
	}
	program := filepath.Join(programs, "changed")
	if err := build(t.Context(), ".", ".", program); err != nil {
		t.Fatal(err)
	}
	if said := run(program); said != "changed" {
		t.Errorf("that of the working tree says %q", said)
	}
	for _, wrong := range []string{"none", "--all", "HEAD:main.go"} {
		if _, err := buildCommit(context.Background(), wrong, ".", program); err == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
	if trees := run("git", "worktree", "list"); strings.Count(trees, "\n") != 1 {
		t.Errorf("it leaves\n%s", trees)
	}
	if left := run("git", "status", "--short"); strings.TrimSpace(left) != "M main.go" {
		t.Errorf("it leaves changed\n%s", left)
	}
}
