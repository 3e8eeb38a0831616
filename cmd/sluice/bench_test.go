package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/benchmarks"
)

func TestBenchList(t *testing.T) {
	t.Parallel()
	got := call{args: []string{"bench", "list"}}.run(t)
	for _, s := range benchmarks.Scenarios() {
		if !strings.Contains(got.stdout, s.Name()+" ") || !strings.Contains(got.stdout, s.Measures()+"\n") {
			t.Errorf("the list lacks %s:\n%s", s.Name(), got.stdout)
		}
	}
	if got.exit != exitOK || got.stderr != "" {
		t.Errorf("exit %d, %s", got.exit, got.stderr)
	}
}

// A small run of a scenario reports as a table and as JSON.
func TestBench(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "result.json")
	got := call{args: []string{"bench", "backlog", "--events", "100", "--sockets", "4", "--topics", "2", "--payload", "64", "--json", file}}.run(t)
	if got.exit != exitOK || !strings.Contains(got.stdout, "0 lost, 0 twice, 0 out of order") || !strings.Contains(got.stderr, "deliveries: ") {
		t.Errorf("%+v", got)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var result benchmarks.Result
	if err := json.Unmarshal(text, &result); err != nil || result.Scenario != "backlog" || result.Events != 100 || result.Deliveries != 200 {
		t.Errorf("%s: %v", text, err)
	}
}

// Each flag sets what it says, for the scenarios that have a use for it.
func TestBenchSettings(t *testing.T) {
	t.Parallel()
	command := call{args: []string{"bench", "chaos", "--for", "10m", "--seed", "7", "--faults", "5", "--nodes", "3", "--writers", "2", "--topics", "4", "--sockets", "9", "--database-url", "postgres://h/d"}}.parse(t).Bench
	chaos := benchmarks.DefaultChaos()
	if err := command.configure(chaos, nil); err != nil {
		t.Fatal(err)
	}
	want := &benchmarks.Chaos{
		Program: chaos.Program, DatabaseURL: "postgres://h/d", Seed: 7, For: 10 * time.Minute, Faults: 5,
		Nodes: 3, Topics: 4, Sockets: 9, Writers: 2,
	}
	if *chaos != *want || chaos.Program == "" {
		t.Errorf("configured %+v, want %+v", chaos, want)
	}
}

func TestBenchRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"havoc"}, `<scenario> is "havoc": allowed is list, backlog`},
		{[]string{"backlog", "--seed", "7"}, `--seed is "7": allowed is nothing: the scenario backlog has no use for it`},
		{[]string{"backlog", "--for", "10s"}, `--for is "10s": allowed is nothing`},
		{[]string{"steady", "--rate", "-1"}, `--rate is "-1": allowed is a number from 0`},
		{[]string{"steady", "--for", "soon"}, `--for is "soon": allowed is a duration`},
		{[]string{"steady", "--sockets", "1000000000"}, `--sockets is "1000000000": allowed is up to `},
		{[]string{"steady", "--log", "/nowhere/at/all"}, `--log is "/nowhere/at/all": allowed is a file that can be written`},
	} {
		got := call{args: append([]string{"bench"}, test.args...)}.run(t)
		if got.exit != exitUsage || !strings.Contains(got.stderr, test.want) {
			t.Errorf("%q: exit %d, %s", test.args, got.exit, got.stderr)
		}
	}
}

func TestBenchProgress(t *testing.T) {
	t.Parallel()
	var terminal, file strings.Builder
	for _, test := range []struct {
		out      *strings.Builder
		terminal bool
		want     string
	}{
		{&terminal, true, "\r\033[Krows: 1 of 2,000 \r\033[Kdeliveries: 0 of 2,000 \r\033[K"},
		{&file, false, "rows: 1 of 2,000\ndeliveries: 0 of 2,000\n"},
	} {
		p := &benchProgress{out: test.out, terminal: test.terminal}
		p.show("rows", 1, 2000)
		p.show("rows", 2, 2000) // too soon
		p.show("deliveries", 0, 2000)
		p.end()
		if got := test.out.String(); got != test.want {
			t.Errorf("terminal %v: %q, want %q", test.terminal, got, test.want)
		}
	}
}
