package benchmarks

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// deafListener takes whatever is posted, and does nothing.
func deafListener() (url string, stop func()) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }))
	return server.URL, server.Close
}

// onTheFloor is the floor in this process.
type onTheFloor struct{ database string }

func (onTheFloor) Name() string { return "floor" }

func (f onTheFloor) Start(context.Context) (*Endpoint, error) {
	var addresses [2]string
	for i := range addresses {
		var err error
		if addresses[i], err = freeAddress(); err != nil {
			return nil, err
		}
	}
	e := Endpoint{Sockets: "ws://" + addresses[0], Admin: "http://" + addresses[1], Database: f.database, Dialect: floorDialect{}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1) // sent once, its capacity
	go func() { ended <- ServeFloor(ctx, e.Sockets, e.Admin, f.database) }()
	stop := func() error {
		cancel()
		return <-ended
	}
	for {
		answer, err := asking.Get(e.Admin + "/readyz")
		if err == nil {
			answer.Body.Close()
			return NewEndpoint(e, stop), nil
		}
		select {
		case err := <-ended:
			return nil, err
		default:
		}
	}
}

// The floor serves what the scenarios that it is a floor of ask for.
func TestFloor(t *testing.T) {
	t.Parallel()
	for _, b := range []*Bulk{DefaultFanout(), DefaultSingle(), DefaultTopics()} {
		small(b)
		b.Server = onTheFloor{}
		for _, payload := range []int{64, 1000, 70_000} {
			b.Payload, b.Events, b.WarmUp, b.Batch = payload, 30, 3, min(b.Batch, 10)
			r, err := b.Run(t.Context(), nil)
			if err != nil || !r.Sound() || r.Events != b.Events {
				t.Errorf("%s of %d bytes: %+v, %v", b.Called, payload, r, err)
			}
		}
	}
}

func TestFloorNeedsItsAddresses(t *testing.T) {
	t.Parallel()
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	for _, addresses := range [][2]string{{"ws://127.0.0.1:-1", "http://" + address}, {"ws://" + address, "http://127.0.0.1:-1"}} {
		if err := ServeFloor(t.Context(), addresses[0], addresses[1], ""); err == nil {
			t.Errorf("%v are served", addresses)
		}
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for pid, known := range map[int]bool{os.Getpid(): true, 0: false, -1: false, 1 << 22: false} {
		if u := UsageOf(pid); (u.CPU > 0) != known {
			t.Errorf("process %d has used %+v", pid, u)
		}
	}
}

// A child that ends, or never gets ready, is an error that says what it said.
func TestChildThatDoesNotServe(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho \"no, not at $1\" >&2\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	child := &Child{Called: "child", Program: program, Args: []string{"{listen}"}, Dialect: swarm.Phoenix{}}
	if _, err := child.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "no, not at 127.0.0.1:") {
		t.Errorf("%v", err)
	}
}

func TestSearchPath(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"postgres://u:p@h/db":                   "postgres://u:p@h/db?search_path=s",
		"postgresql://h/db?sslmode=disable":     "postgresql://h/db?search_path=s&sslmode=disable",
		"postgres://h/db?search_path=elsewhere": "postgres://h/db?search_path=s",
		"host=h dbname=db":                      "host=h dbname=db search_path=s",
	} {
		if got, err := withSearchPath(given, "s"); err != nil || got != want {
			t.Errorf("%q becomes %q, %v; want %q", given, got, err, want)
		}
	}
	if _, err := withSearchPath("postgres://h:port/", "s"); err == nil || strings.Contains(err.Error(), "h:port") {
		t.Errorf("a URL that is none gives %v", err)
	}
}

func TestSpread(t *testing.T) {
	t.Parallel()
	// Tables of the sign test: 6 and 16 and 32 values leave out 0, 3 and 9 of
	// each end; 5 are too few to leave out anything.
	for n, want := range map[int]int{1: 0, 5: 0, 6: 0, 9: 1, 16: 3, 32: 9} {
		if got := rank(n); got != want {
			t.Errorf("of %d values %d are left out, want %d", n, got, want)
		}
	}
	if got := *spreadOf([]float64{3, 1, 2}); got != (Spread{Low: 1, Mid: 2, High: 3, N: 3}) {
		t.Errorf("%+v", got)
	}
	for n, want := range map[int]string{3: "1.000 (range: 1.000 to 1.000, of 3)", 6: "1.000 (95 %: 1.000 to 1.000, of 6)"} {
		if got := spreadOf(slices.Repeat([]float64{1}, n)).String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if spreadOf(nil) != nil {
		t.Error("nothing has a spread")
	}
}

func TestPicturesAreDrawn(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	r := Result{Scenario: "steady", Server: "sluice", EventsPerSecond: 1, Deliveries: 1, CPUSeconds: 1, Latency: &Percentiles{Samples: 1, P50: 1, P90: 2, P99: 3, P999: 4, Max: 5}}
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
	on := Result{Scenario: "fanout", Server: "sluice", DeliveriesPerCPUSecond: 250, Deliveries: 250, CPUSeconds: 1, Check: Check{Lost: 7}}
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
		r := Result{DeliveriesPerCPUSecond: rate, Check: Check{Lost: 1}}
		r.AgainstFloor(&floor)
		runs = append(runs, r)
	}
	got := Typical(runs)
	if got.DeliveriesPerCPUSecond != 40 || got.Lost != 3 || *got.OfFloor != (Spread{Low: 3, Mid: 4, High: 5, N: 3}) {
		t.Errorf("%+v, %v of the floor", got, got.OfFloor)
	}
	for name, pair := range map[string][2]Result{
		"memory":  {{BytesPerSocket: 2}, {BytesPerSocket: 1}},
		"latency": {{Latency: &Percentiles{P50: 2}}, {Latency: &Percentiles{P50: 1}}},
		"joins":   {{SocketsPerCPUSecond: 1}, {SocketsPerCPUSecond: 2}},
		"ratio":   {{Ratio: &Spread{Mid: 1}}, {Ratio: &Spread{Mid: 2}}},
		"speed":   {{DeliveriesPerSecond: 1}, {DeliveriesPerSecond: 2}},
	} {
		if pair[0].merit() >= pair[1].merit() {
			t.Errorf("%s: the worse one has merit", name)
		}
	}
}

// With events without end, a run ends with its time.
func TestBulkEndsInTime(t *testing.T) {
	t.Parallel()
	b := DefaultFanout()
	small(b)
	b.Events, b.For = 1<<40, 50*time.Millisecond
	r, err := b.Run(t.Context(), nil)
	if err != nil || !r.Sound() || r.Events == b.Events {
		t.Errorf("%+v, %v", r, err)
	}
}
