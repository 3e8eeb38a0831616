package benchmarks

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice"
)

// Few events of each scenario go all the way, on the embedded store.
func TestScenariosRun(t *testing.T) {
	t.Parallel()
	wider, deeper := *DefaultBacklog(), *DefaultBacklog()
	wider.Topics, wider.Sockets, wider.Events = 3, 7, 1000
	deeper.Topics, deeper.Sockets, deeper.Events = 7, 3, 1000
	sparse := *DefaultBacklog()
	sparse.Topics, sparse.Sockets, sparse.Events = 10, 10, 3
	steady := *DefaultSteady()
	steady.Topics, steady.Sockets, steady.Rate = 5, 10, 1000
	steady.Duration, steady.WarmUp = 100*time.Millisecond, 50*time.Millisecond

	for name, test := range map[string]struct {
		scenario           Scenario
		events, deliveries int64
		samples            int64
	}{
		"several sockets a topic": {&wider, 1000, 334*3 + 333*2*2, 0},
		"several topics a socket": {&deeper, 1000, 1000, 0},
		"nothing for some":        {&sparse, 3, 3, 0},
		"steady":                  {&steady, 100, 200, 100},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var phases []string
			result, err := test.scenario.Run(t.Context(), func(phase string, done, total int64) {
				if done > total {
					t.Errorf("%d of %d %s", done, total, phase)
				}
				if done == total {
					phases = append(phases, phase)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if !result.Sound() || result.Events != test.events || result.Deliveries != test.deliveries {
				t.Errorf("%+v", result)
			}
			if got := strings.Join(phases, " "); got != "sockets rows deliveries" {
				t.Errorf("progress of %s", got)
			}
			if test.samples > 0 && (result.Latency == nil || result.Latency.Samples != test.samples) {
				t.Errorf("latency %+v, want %d samples", result.Latency, test.samples)
			}
		})
	}
}

func TestScheduleKeepsTheRate(t *testing.T) {
	t.Parallel()
	for _, uneven := range []bool{false, true} {
		s := Steady{Rate: 100, Uneven: uneven}
		due := s.schedule(10_000)
		if again := s.schedule(10_000); !slices.Equal(due, again) {
			t.Errorf("uneven %v: two runs differ", uneven)
		}
		if !slices.IsSorted(due) || due[0] != 0 {
			t.Errorf("uneven %v: begins at %v, or goes back", uneven, due[0])
		}
		if last := due[len(due)-1].Seconds(); last < 95 || last > 105 {
			t.Errorf("uneven %v: 10,000 events at 100/s in %v s", uneven, last)
		}
		if even := due[1] == 10*time.Millisecond && due[9999] == 99990*time.Millisecond; even == uneven {
			t.Errorf("uneven %v: event 1 at %v, 9999 at %v", uneven, due[1], due[9999])
		}
	}
}

func TestScenariosRefuse(t *testing.T) {
	t.Parallel()
	load := Load{Topics: 1, Sockets: 1}
	config := sluice.DefaultConfig()
	broken := config
	broken.MaxDemand = 0
	for name, scenario := range map[string]Scenario{
		"no events":       &Backlog{Service: config, Load: load},
		"no topics":       &Backlog{Service: config, Load: Load{Sockets: 1}, Events: 1},
		"a huge payload":  &Backlog{Service: config, Load: Load{Topics: 1, Sockets: 1, Payload: 1 << 20}, Events: 1},
		"a broken config": &Backlog{Service: broken, Load: load, Events: 1},
		"no rate":         &Steady{Service: config, Load: load, Duration: time.Second},
		"only warming up": &Steady{Service: config, Load: load, Rate: 100, Duration: time.Second, WarmUp: time.Second},
		"unwoken":         &Steady{Service: config, Load: load, Rate: 100, Duration: time.Second, Unwoken: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := scenario.Run(t.Context(), nil); err == nil {
				t.Error("it ran")
			}
		})
	}
}

func TestScenariosAreListed(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, s := range Scenarios() {
		if s.Name() == "" || seen[s.Name()] || s.Measures() == "" {
			t.Errorf("%T is called %q and measures %q", s, s.Name(), s.Measures())
		}
		seen[s.Name()] = true
	}
}

func TestResultTellsWhatWentWrong(t *testing.T) {
	t.Parallel()
	r := Result{
		Scenario: "steady",
		Params:   []Param{{"topics", 3}},
		Events:   10, Deliveries: 9, Seconds: 0.5, EventsPerSecond: 20, DeliveriesPerSecond: 18,
		Latency: &Percentiles{Samples: 9, P50: 1, P90: 2, P99: 3, Max: 4.5},
		Check:   Check{Lost: 1, Twice: 2, Disordered: 3, Cut: 4}, CutBecause: "closed with 1008 too slow",
	}
	var table bytes.Buffer
	if err := r.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"topics", "9 in 0.5 s", "20 events/s", "max 4.50 ms", "1 lost, 2 twice, 3 out of order, 4 sockets cut", "1008 too slow"} {
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
