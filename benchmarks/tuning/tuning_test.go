package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/benchmarks/report"
	"github.com/sluicehq/sluice/benchmarks/swarm"
	"github.com/sluicehq/sluice/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Main(m) }

func TestKnobsAreFlagsOfTheService(t *testing.T) {
	t.Parallel()
	standard := sluice.DefaultConfig()
	for _, k := range knobs() {
		found := false
		for _, s := range k.settings {
			config := sluice.DefaultConfig()
			s.apply(&config)
			if err := config.Validate(); err != nil {
				t.Errorf("--%s=%s: %v", k.flag, s.label, err)
			}
			changed := changes(standard, config)
			if len(changed) > 1 || len(changed) == 1 && kebab(changed[0]) != k.flag {
				t.Errorf("--%s=%s changes %v", k.flag, s.label, changed)
			}
			isDefault := len(changed) == 0 ||
				k.flag == "lanes" && s.label == k.standard || // zero stands for one per core
				k.flag == "min-demand" && config.MinDemand == standard.MaxDemand/2 // and for half
			if isDefault != (s.label == k.standard) {
				t.Errorf("--%s=%s: is it the default? The sweep says %s is", k.flag, s.label, k.standard)
			}
			found = found || isDefault
		}
		if !found {
			t.Errorf("--%s is not measured at its default", k.flag)
		}
	}
}

// changes are the names of the fields in which two configurations differ.
func changes(a, b sluice.Config) (names []string) {
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range va.NumField() {
		if field := va.Type().Field(i); field.Type.Kind() != reflect.Func && !reflect.DeepEqual(va.Field(i).Interface(), vb.Field(i).Interface()) {
			names = append(names, field.Name)
		}
	}
	return names
}

// kebab writes a field's name as its flag.
func kebab(field string) string {
	var b strings.Builder
	for i, r := range field {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('-')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}

func TestPlanInterleaves(t *testing.T) {
	t.Parallel()
	set := func(*sluice.Config) {}
	two := []knob{
		{flag: "a", settings: []setting{{"1", set, 0}, {"2", set, 0}}, measures: []measure{throughput, latency}},
		{flag: "b", settings: []setting{{"x", set, 0}, {"y", set, 0}, {"z", set, 0}}, measures: []measure{latency}},
	}
	var got []string
	for _, s := range plan(two, 2) {
		got = append(got, s.knob.flag+s.setting.label+string(s.measure)[:1])
	}
	want := "a1t a2t a1l a2l bxl byl bzl a2t a1t a2l a1l bzl byl bxl"
	if joined := strings.Join(got, " "); joined != want {
		t.Errorf("the order is %s, want %s", joined, want)
	}
}

func TestMedianAndRange(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		values []float64
		want   report.Point
	}{
		{nil, report.Point{}},
		{[]float64{3}, report.Point{Low: 3, Mid: 3, High: 3}},
		{[]float64{9, 1, 2}, report.Point{Low: 1, Mid: 2, High: 9}},
		{[]float64{4, 1, 3, 2}, report.Point{Low: 1, Mid: 2.5, High: 4}},
	} {
		if got := point(test.values); got != test.want {
			t.Errorf("%v gives %+v, want %+v", test.values, got, test.want)
		}
	}
}

func TestRatiosAreWithinARound(t *testing.T) {
	t.Parallel()
	// A machine at half speed in the second round: the ratio stays.
	if got := ratios([]float64{50, 25}, []float64{100, 50}); !slices.Equal(got, []float64{0.5, 0.5}) {
		t.Errorf("%v", got)
	}
	if got := ratios([]float64{1, 2, 3}, []float64{0, 1}); !slices.Equal(got, []float64{2}) {
		t.Errorf("%v", got)
	}
}

// invented is a sweep that never was: values grow with the setting.
func invented(knobs []knob) *results {
	r := &results{Machine: machine{2, "linux/amd64", "go", "embedded"}, Command: "none"}
	for i, s := range plan(knobs, 3) {
		result := report.Result{Scenario: "invented", Events: 100, EventsPerSecond: float64(1000 * (i + 1))}
		if s.measure != throughput {
			result.Latency = &swarm.Percentiles{Samples: 10, P50: swarm.Milliseconds(i + 1), P99: swarm.Milliseconds(10 * (i + 1))}
		}
		r.Runs = append(r.Runs, run{s.round, s.knob.flag, s.setting.label, s.measure, result})
	}
	return r
}

func TestResultsAreKeptAndRedrawn(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	o := options{Out: folder, Redraw: true, DatabaseURL: "unused"}
	kept := invented(knobs())
	if err := kept.write(o.results()); err != nil {
		t.Fatal(err)
	}
	if read, err := readResults(o.results()); err != nil || !reflect.DeepEqual(read, kept) {
		t.Fatalf("read %+v, %v; want %+v", read, err, kept)
	}
	var table bytes.Buffer
	if err := o.run(t.Context(), &table, &table); err != nil {
		t.Fatal(err)
	}
	for _, k := range knobs() {
		picture, err := os.ReadFile(filepath.Join(folder, k.flag+".svg"))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range append(k.labels(), "Latency", "default") {
			if !bytes.Contains(picture, []byte(">"+want+"</text>")) {
				t.Errorf("the picture of --%s does not say %q", k.flag, want)
			}
		}
		if !strings.Contains(table.String(), "--"+k.flag) {
			t.Errorf("the table does not tell of --%s:\n%s", k.flag, &table)
		}
	}
}

func (k *knob) labels() (labels []string) {
	for _, s := range k.settings {
		labels = append(labels, s.label)
	}
	return labels
}

// A few events on the embedded store, through all of the command.
func TestSweep(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "new")
	o := options{
		Only: []string{"batch-size"}, Rounds: 1, Topics: 3, Events: 500, Payload: 64,
		Rate: 500, Duration: 50 * time.Millisecond, Out: folder,
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	before := invented(knobs()) // with runs of batch-size, to be replaced, and of others
	if err := before.write(o.results()); err != nil {
		t.Fatal(err)
	}
	var table, progress bytes.Buffer
	if err := o.run(t.Context(), &table, &progress); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(progress.String(), "--batch-size="); lines != 12 {
		t.Errorf("%d runs, want 12:\n%s", lines, &progress)
	}
	kept, err := readResults(filepath.Join(folder, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	others := 0
	for _, r := range kept.Runs {
		switch {
		case r.Flag != "batch-size":
			others++
		case !r.Result.Sound() || r.Result.Deliveries == 0:
			t.Errorf("%+v", r)
		}
	}
	if want := len(before.Runs) - 3*12; others != want {
		t.Errorf("%d runs of other flags are left, want %d", others, want)
	}
	pictures, err := filepath.Glob(filepath.Join(folder, "*.svg"))
	if err != nil || len(pictures) != 1 {
		t.Errorf("pictures %v, %v", pictures, err)
	}
}

func TestUnknownFlag(t *testing.T) {
	t.Parallel()
	o := options{Only: []string{"lanes", "warp-speed"}}
	if err := o.run(t.Context(), nil, nil); err == nil || !strings.Contains(err.Error(), "warp-speed") {
		t.Errorf("%v", err)
	}
}
