package report

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/benchmarks/swarm"
)

func TestSpread(t *testing.T) {
	t.Parallel()
	// Tables of the sign test: 6 and 16 and 32 values leave out 0, 3 and 9 of
	// each end; 5 are too few to leave out anything.
	for n, want := range map[int]int{1: 0, 5: 0, 6: 0, 9: 1, 16: 3, 32: 9} {
		if got := rank(n); got != want {
			t.Errorf("of %d values %d are left out, want %d", n, got, want)
		}
	}
	if got := *SpreadOf([]float64{3, 1, 2}); got != (Spread{Low: 1, Mid: 2, High: 3, N: 3}) {
		t.Errorf("%+v", got)
	}
	for n, want := range map[int]string{3: "1.000 (range: 1.000 to 1.000, of 3)", 6: "1.000 (95 %: 1.000 to 1.000, of 6)"} {
		if got := SpreadOf(slices.Repeat([]float64{1}, n)).String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if SpreadOf(nil) != nil {
		t.Error("nothing has a spread")
	}
}

func TestPicturesAreDrawn(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	r := Result{Scenario: "steady", Server: "sluice", EventsPerSecond: 1, Deliveries: 1, CPUSeconds: 1, Latency: &swarm.Percentiles{Samples: 1, P50: 1, P90: 2, P99: 3, P999: 4, Max: 5}}
	for i := range 30 {
		r.Series = append(r.Series, Sample{Seconds: float64(i+1) / 10, Deliveries: int64(i * i)})
	}
	storm := Result{Scenario: "storm", SocketsPerCPUSecond: 1, Joins: r.Latency}
	files, err := Draw(folder, []Result{r, r, storm, {Scenario: "idle"}})
	if err != nil || len(files) != 3 {
		t.Fatalf("%q, %v", files, err)
	}
	drawn, err := DrawSweep(folder, "sockets", []string{"1", "2"}, []Result{{Scenario: "fanout", Server: "floor", Deliveries: 1}, r, r, r})
	if err != nil || len(drawn) != 1 {
		t.Fatalf("%q, %v", drawn, err)
	}
	for file, want := range map[string][]string{
		files[0]: {"throughput", "latency", "p99.9", "seconds", "3"}, files[2]: {"joining"}, drawn[0]: {"sockets", "floor", "sluice", "p50", "1", "2"},
	} {
		picture, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range want {
			if !strings.Contains(string(picture), text) {
				t.Errorf("%s does not say %q", filepath.Base(file), text)
			}
		}
	}
	if _, err := DrawSweep(folder, "sockets", []string{"1", "2"}, []Result{r}); err == nil {
		t.Error("one result of two values is drawn")
	}
}

func TestTables(t *testing.T) {
	t.Parallel()
	floor := Result{Scenario: "fanout", Server: "floor", DeliveriesPerCPUSecond: 100, Deliveries: 100, CPUSeconds: 1}
	on := Result{Scenario: "fanout", Server: "sluice", DeliveriesPerCPUSecond: 250, Deliveries: 250, CPUSeconds: 1, Check: swarm.Check{Lost: 7}}
	on.AgainstFloor(&floor)
	idle := Result{Scenario: "idle", BytesPerSocket: 4321}
	var out strings.Builder
	if err := WriteSummary(&out, []Result{floor, on, idle}); err != nil {
		t.Fatal(err)
	}
	if err := WriteSweep(&out, "sockets", []string{"10", "10"}, []Result{floor, on}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"250 deliveries per CPU second", "2.50", "4.32 KB a socket", "  7  ", "sockets", "10", "4000.000"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, &out)
		}
	}
}

func TestTypicalIsTheMedianRun(t *testing.T) {
	t.Parallel()
	floor := Result{DeliveriesPerCPUSecond: 10}
	var runs []Result
	for _, rate := range []float64{50, 30, 40} {
		r := Result{DeliveriesPerCPUSecond: rate, Check: swarm.Check{Lost: 1}}
		r.AgainstFloor(&floor)
		runs = append(runs, r)
	}
	got := Typical(runs)
	if got.DeliveriesPerCPUSecond != 40 || got.Lost != 3 || *got.OfFloor != (Spread{Low: 3, Mid: 4, High: 5, N: 3}) {
		t.Errorf("%+v, %v of the floor", got, got.OfFloor)
	}
	for name, pair := range map[string][2]Result{
		"memory":  {{BytesPerSocket: 2}, {BytesPerSocket: 1}},
		"latency": {{Latency: &swarm.Percentiles{P50: 2}}, {Latency: &swarm.Percentiles{P50: 1}}},
		"joins":   {{SocketsPerCPUSecond: 1}, {SocketsPerCPUSecond: 2}},
		"ratio":   {{Ratio: &Spread{Mid: 1}}, {Ratio: &Spread{Mid: 2}}},
		"speed":   {{DeliveriesPerSecond: 1}, {DeliveriesPerSecond: 2}},
	} {
		if pair[0].merit() >= pair[1].merit() {
			t.Errorf("%s: the worse one has merit", name)
		}
	}
}

func TestResultTellsWhatWentWrong(t *testing.T) {
	t.Parallel()
	r := Result{
		Scenario: "steady", Server: "sluice",
		Params: []Param{{"topics", 3}},
		Events: 10, Deliveries: 9, Seconds: 0.5, EventsPerSecond: 20, DeliveriesPerSecond: 18,
		CPUSeconds: 0.1, DeliveriesPerCPUSecond: 90, ClientCPUSeconds: 0.3,
		Latency: &swarm.Percentiles{Samples: 9, P50: 1, P90: 2, P99: 3, Max: 4.5},
		Check:   swarm.Check{Lost: 1, Twice: 2, Disordered: 3, Cut: 4}, CutBecause: "closed with 1008 too slow",
	}
	var table bytes.Buffer
	if err := r.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"topics", "9 in 0.5 s", "20 events/s", "0.1 s of the server, 0.3 s of the clients", "90 deliveries", "max 4.50 ms", "1 lost, 2 twice, 3 out of order, 4 sockets cut", "1008 too slow"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table does not say %q:\n%s", want, &table)
		}
	}
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{"events": 10, "seconds": 0.5, "lost": 1, "twice": 2, "disordered": 3, "cut": 4} {
		if fields[name] != want {
			t.Errorf("%s is %v in JSON, want %v", name, fields[name], want)
		}
	}
}
