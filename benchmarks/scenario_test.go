package benchmarks

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/benchmarks/swarm"
	"github.com/sluicehq/sluice/benchmarks/target"
)

// inProcess is the server of tests: the embedded store, or the Postgres that
// DATABASE_URL names.
func inProcess() target.Server {
	config := sluice.DefaultConfig()
	config.DatabaseURL = os.Getenv("DATABASE_URL")
	return &target.InProcess{Config: config}
}

// small makes a scenario take next to no time.
func small(s Scenario) {
	onServer, ok := s.(ServerScenario)
	if !ok {
		return
	}
	base := onServer.Common()
	base.Server = inProcess()
	if base.By == target.Insert && os.Getenv("DATABASE_URL") == "" {
		base.By = target.Append
	}
	base.Sockets, base.Topics = min(base.Sockets, 12), min(base.Topics, 5)
	switch s := s.(type) {
	case *Bulk:
		s.Events, s.For, s.WarmUp, s.Batch = 500, time.Hour, 50, min(s.Batch, 100)
	case *Backlog:
		s.Events = 1000
	case *Steady:
		s.Rate, s.For, s.WarmUp = 1000, 100*time.Millisecond, 50*time.Millisecond
	case *LongPoll:
		s.Rate, s.For, s.WarmUp = 500, 100*time.Millisecond, 50*time.Millisecond
	case *Idle:
		s.For = time.Millisecond
	case *Reconnect:
		s.Rounds = 2
	case *Slow:
		s.Rounds, s.Events = 2, 100
	}
}

// A little of each scenario goes all the way.
func TestScenariosRun(t *testing.T) {
	t.Parallel()
	for _, s := range Scenarios() {
		if _, ok := s.(ServerScenario); !ok {
			continue // it takes nodes
		}
		t.Run(s.Name(), func(t *testing.T) {
			t.Parallel()
			small(s)
			var phases []string
			r, err := s.Run(t.Context(), func(phase string, done, total int64) {
				if done > total {
					t.Errorf("%d of %d %s", done, total, phase)
				}
				phases = append(phases, phase)
			})
			if err != nil {
				t.Fatal(err)
			}
			if !r.Sound() || r.Scenario != s.Name() || r.Events == 0 || r.Deliveries < r.Events || len(r.Params) == 0 || len(phases) == 0 {
				t.Errorf("%+v, told of %q", r, phases)
			}
			switch s.(type) {
			case *Steady, *LongPoll:
				if r.Latency == nil || r.Latency.Samples == 0 {
					t.Error("no latency")
				}
			case *Reconnect:
				if r.Joins.Samples != 24 {
					t.Errorf("joined %d times", r.Joins.Samples)
				}
			case *Slow:
				if r.Ratio == nil || r.Ratio.N != 2 {
					t.Errorf("ratio %+v", r.Ratio)
				}
			case *Bulk:
				if r.DeliveriesPerSecond <= 0 || len(r.Series) == 0 || !r.Shared {
					t.Errorf("%+v", r)
				}
			}
			if r.Headline() == "" {
				t.Error("no headline")
			}
		})
	}
}

// Several sockets watch a topic, or a socket watches several.
func TestLoadsOfAllShapes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		load       swarm.Load
		events     int64
		deliveries int64
	}{
		"several sockets a topic": {swarm.Load{Topics: 3, Sockets: 7}, 1000, 334*3 + 333*2*2},
		"several topics a socket": {swarm.Load{Topics: 7, Sockets: 3}, 1000, 1000},
		"nothing for some":        {swarm.Load{Topics: 10, Sockets: 10}, 3, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := DefaultBacklog()
			b.Server, b.Load, b.Events = inProcess(), test.load, test.events
			r, err := b.Run(t.Context(), nil)
			if err != nil || !r.Sound() || r.Deliveries != test.deliveries {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// What a server swallows is told as lost, and ends the waiting.
func TestLossIsTold(t *testing.T) {
	t.Parallel()
	b := DefaultFanout()
	small(b)
	b.Server = &swallower{b.Server}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := b.Run(ctx, func(phase string, done, total int64) {
		if phase == "deliveries" {
			cancel() // it would wait for its patience to end
		}
	})
	if err == nil {
		t.Error("it did not wait for what never came")
	}
}

// swallower is a server whose admin listener takes everything and does nothing.
type swallower struct{ target.Server }

func (s *swallower) Start(ctx context.Context) (*target.Endpoint, error) {
	e, err := s.Server.Start(ctx)
	if err != nil {
		return nil, err
	}
	deaf, stop := deafListener()
	served := *e
	served.Admin = deaf
	return target.NewEndpoint(served, func() error {
		stop()
		return e.Stop()
	}), nil
}

// deafListener takes whatever is posted, and does nothing.
func deafListener() (url string, stop func()) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }))
	return server.URL, server.Close
}

func TestScenariosRefuse(t *testing.T) {
	t.Parallel()
	broken := sluice.DefaultConfig()
	broken.MaxDemand = -1
	for name, spoil := range map[string]func() Scenario{
		"no server":       func() Scenario { s := DefaultIdle(); s.Server = nil; return s },
		"no events":       func() Scenario { s := DefaultBacklog(); s.Events = 0; return s },
		"no topics":       func() Scenario { s := DefaultBacklog(); s.Topics = 0; return s },
		"a huge payload":  func() Scenario { s := DefaultReconnect(); s.Payload = swarm.MaxPayload + 1; return s },
		"a broken config": func() Scenario { s := DefaultFanout(); s.Server = &target.InProcess{Config: broken}; return s },
		"no batch":        func() Scenario { s := DefaultFanout(); s.Batch = 0; return s },
		"no rate":         func() Scenario { s := DefaultSteady(); s.Rate = 0; return s },
		"nobody polls":    func() Scenario { s := DefaultLongPoll(); s.Sockets = 0; return s },
		"no storm":        func() Scenario { s := DefaultReconnect(); s.Rounds = 0; return s },
		"no others":       func() Scenario { s := DefaultSlow(); s.Sockets = 1; return s },
		"no Postgres": func() Scenario {
			s := DefaultRow()
			s.Server = &target.InProcess{Config: sluice.DefaultConfig()}
			return s
		},
		"unwoken":  func() Scenario { s := DefaultSteady(); s.Unwoken = true; return s },
		"no admin": func() Scenario { s := DefaultFanout(); s.Server = &publicOnly{inProcess()}; return s },
		"nobody there": func() Scenario {
			s := DefaultFanout()
			s.Server = &target.Remote{Endpoint: target.Endpoint{Sockets: "ws://127.0.0.1:1"}}
			return s
		},
		"no program": func() Scenario { s := DefaultFanout(); s.Server = &target.Sluice{Program: "/nowhere/at/all"}; return s },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scenario := spoil()
			base := scenario.(ServerScenario).Common()
			base.Sockets = min(base.Sockets, 3)
			if _, isInProcess := base.Server.(*target.InProcess); base.Server == nil && !isInProcess && name != "no server" {
				base.Server = &target.InProcess{Config: sluice.DefaultConfig()}
			}
			if r, err := scenario.Run(t.Context(), nil); err == nil {
				t.Errorf("it ran: %+v", r)
			}
		})
	}
}

// publicOnly is a server whose admin listener is not known.
type publicOnly struct{ target.Server }

func (s *publicOnly) Start(ctx context.Context) (*target.Endpoint, error) {
	e, err := s.Server.Start(ctx)
	if err == nil {
		e.Admin = ""
	}
	return e, err
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
