package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/benchmarks"
	"github.com/sluicehq/sluice/benchmarks/baseline"
	"github.com/sluicehq/sluice/benchmarks/chaos"
	"github.com/sluicehq/sluice/benchmarks/report"
	"github.com/sluicehq/sluice/benchmarks/swarm"
	"github.com/sluicehq/sluice/benchmarks/target"
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
	got := call{args: []string{"bench", "backlog", "--in-process", "--events", "100", "--sockets", "4", "--topics", "2", "--payload", "64", "--json", file}}.run(t)
	if got.exit != exitOK || !strings.Contains(got.stdout, "0 lost, 0 twice, 0 out of order") || !strings.Contains(got.stderr, "deliveries: ") {
		t.Errorf("%+v", got)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var result report.Result
	if err := json.Unmarshal(text, &result); err != nil || result.Scenario != "backlog" || result.Events != 100 || result.Deliveries != 200 {
		t.Errorf("%s: %v", text, err)
	}
}

// A server is started for each run, on the floor and above it, at each value.
func TestBenchStartsServers(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file, log := filepath.Join(folder, "results.json"), filepath.Join(folder, "log")
	command := program(t, nil, "bench", "fanout", "--events", "300", "--topics", "2", "--batch", "50", "--for", "1h",
		"--floor", "--sweep", "sockets=2,4", "--json", file, "--plots", filepath.Join(folder, "plots"), "--log", log, "--with=--lanes 1", "--pin=false", "--repeat", "2")
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var results []report.Result
	if err := json.Unmarshal(text, &results); err != nil || len(results) != 8 {
		t.Fatalf("%d results, %v:\n%s", len(results), err, out)
	}
	for i, r := range results {
		server, deliveries := []string{"floor", "sluice"}[i%2], []int64{300, 600}[i/2%2]
		if r.Server != server || r.Deliveries != deliveries || !r.Sound() {
			t.Errorf("%+v", r)
		}
	}
	if _, err := os.Stat(filepath.Join(folder, "plots", "fanout-sockets.svg")); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(log); err != nil || !strings.Contains(string(text), "sluice {") {
		t.Errorf("the log says %s, %v", text, err)
	}
}

// The floor under rows is a process of its own too, on the database of the run.
func TestBenchFloorOfRows(t *testing.T) {
	t.Parallel()
	out, err := program(t, nil, "bench", "row", "--postgres", "--floor", "--rate", "200", "--for", "200ms").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "row       floor   p50 ") || !strings.Contains(string(out), "row       sluice  p50 ") {
		t.Errorf("%v: %s", err, out)
	}
}

// Where rows can be inserted, they have a floor among all.
func TestBenchFloors(t *testing.T) {
	t.Parallel()
	for database, want := range map[string][]string{
		"":               {"fanout", "single", "topics", "channels", "steady"},
		"postgres://h/d": {"fanout", "single", "topics", "channels", "row", "steady"},
	} {
		plan, err := call{args: []string{"bench", "all", "--floor", "--database-url", database}}.parse(t).Bench.plan(nil)
		if err != nil {
			t.Fatal(err)
		}
		var floors []string
		for i, run := range plan.runs {
			if !run.floor {
				continue
			}
			floors = append(floors, run.scenario.Name())
			base := run.scenario.(benchmarks.ServerScenario).Common()
			rows, ok := base.Server.(*baseline.Rows)
			if ok != (run.scenario.Name() == "row") || ok && rows.DatabaseURL != database {
				t.Errorf("%s is measured on %+v", run.scenario.Name(), base.Server)
			}
			if above := plan.runs[i+1]; above.floor || above.scenario.Name() != run.scenario.Name() {
				t.Errorf("%s comes after the floor of %s", above.scenario.Name(), run.scenario.Name())
			}
		}
		if !slices.Equal(floors, want) {
			t.Errorf("with the database %q there are floors of %q, want %q", database, floors, want)
		}
	}
}

// All scenarios run one after the other, each with the flags that it has a use for.
func TestBenchAll(t *testing.T) {
	t.Parallel()
	got := call{args: []string{"bench", "all", "--in-process", "--sockets", "4", "--topics", "1", "--events", "60", "--batch", "20",
		"--rounds", "1", "--rate", "500", "--for", "100ms"}}.run(t)
	if got.exit != exitOK || strings.Count(got.stdout, "\n") != len(benchmarks.Scenarios())-2 { // without chaos, cluster and presence, with a head
		t.Errorf("%+v", got)
	}
	if !strings.Contains(got.stderr, "1/12 fanout, sockets: 0 of 4\n") {
		t.Errorf("progress: %s", got.stderr)
	}
}

// A target that others run is measured where it is.
func TestBenchTarget(t *testing.T) {
	t.Parallel()
	server := &target.InProcess{Config: sluice.DefaultConfig()}
	e, err := server.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := call{args: []string{"bench", "steady", "--target", e.Sockets + "/socket", "--admin-url", e.Admin, "--target-pid", fmt.Sprint(os.Getpid()),
		"--by", "events", "--sockets", "3", "--rate", "1000", "--for", "100ms"}}.run(t)
	if got.exit != exitOK || !strings.Contains(got.stdout, "0 lost, 0 twice, 0 out of order") || !strings.Contains(got.stdout, e.Sockets) {
		t.Errorf("%+v", got)
	}
	if err := e.Stop(); err != nil {
		t.Error(err)
	}
}

// Each flag sets what it says, for the scenarios that have a use for it.
func TestBenchSettings(t *testing.T) {
	t.Parallel()
	command := call{args: []string{"bench", "chaos", "--for", "10m", "--seed", "7", "--faults", "5", "--nodes", "3", "--bus", "nats", "--inserters", "2", "--topics", "4", "--sockets", "9", "--database-url", "postgres://h/d"}}.parse(t).Bench
	got := chaos.Default()
	if err := command.configure(got, nil); err != nil {
		t.Fatal(err)
	}
	want := &chaos.Chaos{
		Program: got.Program, DatabaseURL: "postgres://h/d", Seed: 7, For: 10 * time.Minute, Faults: 5,
		Nodes: 3, Bus: chaos.BusNATS, Topics: 4, Sockets: 9, Writers: 2, Outage: chaos.Default().Outage, PresenceWithin: chaos.Default().PresenceWithin,
	}
	if !reflect.DeepEqual(got, want) || got.Program == "" {
		t.Errorf("configured %+v, want %+v", got, want)
	}
	command = call{args: []string{"bench", "cluster", "--for", "9s", "--nodes", "2", "--topics", "4", "--sockets", "9", "--payload", "77", "--rate", "5", "--database-url", "postgres://h/d"}}.parse(t).Bench
	nodes := benchmarks.DefaultCluster()
	if err := command.configure(nodes, nil); err != nil {
		t.Fatal(err)
	}
	if want := (benchmarks.Cluster{Program: nodes.Program, DatabaseURL: "postgres://h/d", Nodes: 2, Load: swarm.Load{Topics: 4, Sockets: 9, Payload: 77}, Rate: 5, For: 9 * time.Second}); *nodes != want || nodes.Program == "" {
		t.Errorf("configured %+v, want %+v", *nodes, want)
	}
	command = call{args: []string{"bench", "presence", "--nodes", "2", "--sockets", "9", "--database-url", "postgres://h/d"}}.parse(t).Bench
	present := benchmarks.DefaultPresence()
	if err := command.configure(present, nil); err != nil {
		t.Fatal(err)
	}
	if want := (benchmarks.Presence{Program: present.Program, DatabaseURL: "postgres://h/d", Nodes: 2, Sockets: 9}); *present != want || present.Program == "" {
		t.Errorf("configured %+v, want %+v", *present, want)
	}
	command = call{args: []string{"bench", "chaos", "--embedded"}}.parse(t).Bench
	if err := command.configure(got, nil); err != nil || !got.Embedded || got.Nodes != 1 || got.DatabaseURL != "" {
		t.Errorf("configured %+v, %v, want one node on the embedded store", got, err)
	}
}

func TestBenchRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"havoc"}, `<scenario> is "havoc": allowed is list, all, fanout`},
		{[]string{"backlog", "--seed", "7"}, `--seed is "7": allowed is nothing: the scenario backlog has no use for it`},
		{[]string{"backlog", "--for", "10s"}, `--for is "10s": allowed is nothing`},
		{[]string{"steady", "--by", "pigeon"}, `--by is "pigeon": allowed is [broadcast events sql]`},
		{[]string{"steady", "--by", "sql"}, `--by is "sql": allowed is sql together with --database-url`},
		{[]string{"cluster"}, `--database-url is "": allowed is a Postgres for cluster`},
		{[]string{"presence"}, `--database-url is "": allowed is a Postgres for presence`},
		{[]string{"chaos", "--bus", "train"}, `--bus is "train": allowed is routes, nats or none, for chaos`},
		{[]string{"steady", "--bus", "nats"}, `--bus is "nats": allowed is routes, nats or none, for chaos`},
		{[]string{"chaos", "--nodes", "1", "--bus", "nats"}, `--bus is "nats": allowed is none with one node`},
		{[]string{"steady", "--embedded"}, `--embedded is "true": allowed is true for chaos`},
		{[]string{"chaos", "--embedded", "--database-url", "postgres://h/d"}, `--embedded is "true": allowed is true for chaos, without --database-url`},
		{[]string{"chaos", "--embedded", "--nodes", "2"}, `--nodes is "2": allowed is 1 with --embedded`},
		{[]string{"steady", "--target", "localhost:4000"}, `--target is "localhost:4000": allowed is a URL such as`},
		{[]string{"steady", "--target", "ws://localhost:4000", "--in-process"}, `--in-process is "true": allowed is nothing beside --target`},
		{[]string{"row", "--floor"}, `--floor is "true": allowed is true for fanout, single, topics and channels, and for steady and row by broadcast or`},
		{[]string{"steady", "--by", "events", "--floor"}, `--floor is "true": allowed is true for `},
		{[]string{"storm", "--floor"}, `--floor is "true": allowed is true for `},
		{[]string{"steady", "--repeat", "0"}, `--repeat is "0": allowed is a number from 1`},
		{[]string{"fanout", "--sweep", "sockets"}, `--sweep is "sockets": allowed is a setting and its values`},
		{[]string{"fanout", "--sweep", "sockets=1,none"}, `--sweep is "sockets=1,none": allowed is a setting and its values`},
		{[]string{"fanout", "--sweep", "rounds=1,2"}, `--sweep is "rounds=1,2": allowed is a setting that the scenario fanout has a use for`},
		{[]string{"all", "--sweep", "sockets=1,2"}, `--sweep is "sockets=1,2": allowed is nothing with all`},
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
		{&terminal, true, "\r\033[K[                    ] rows: 1 of 2,000 \r\033[K[====================] deliveries: 2,000 of 2,000 \r\033[K"},
		{&file, false, "rows: 1 of 2,000\ndeliveries: 2,000 of 2,000\n"},
	} {
		p := &benchProgress{out: test.out, terminal: test.terminal}
		p.show("rows", 1, 2000)
		p.show("rows", 2, 2000) // too soon
		p.show("deliveries", 2000, 2000)
		p.end()
		if got := test.out.String(); got != test.want {
			t.Errorf("terminal %v: %q, want %q", test.terminal, got, test.want)
		}
	}
}
