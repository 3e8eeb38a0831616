package benchmarks

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/benchmarks/baseline"
	"github.com/sluicehq/sluice/benchmarks/swarm"
	"github.com/sluicehq/sluice/benchmarks/target"
	"github.com/sluicehq/sluice/internal/pgtest"
)

// asking keeps no connection, so that none outlives its server.
var asking = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// inProcessBaseline is the baseline in this process.
type inProcessBaseline struct{ database string }

func (inProcessBaseline) Name() string { return "floor" }

func (f inProcessBaseline) Start(context.Context) (*target.Endpoint, error) {
	var leases [2]*target.Lease
	for i := range leases {
		var err error
		if leases[i], err = target.LeaseAddress(); err != nil {
			return nil, err
		}
	}
	e := target.Endpoint{Sockets: "ws://" + leases[0].Address, Admin: "http://" + leases[1].Address, Database: f.database, Dialect: baseline.New("", false, nil).Dialect}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1) // sent once, its capacity
	go func() { ended <- baseline.Serve(ctx, e.Sockets, e.Admin, f.database) }()
	stop := func() error {
		cancel()
		return errors.Join(<-ended, leases[0].Release(), leases[1].Release())
	}
	for {
		answer, err := asking.Get(e.Admin + "/readyz")
		if err == nil {
			answer.Body.Close()
			return target.NewEndpoint(e, stop), nil
		}
		select {
		case err := <-ended:
			return nil, err
		case <-time.After(time.Millisecond): // in which it runs
		}
	}
}

// The floor serves what the scenarios that it is a floor of ask for.
func TestFloor(t *testing.T) {
	t.Parallel()
	for _, b := range []*Bulk{DefaultFanout(), DefaultSingle(), DefaultTopics()} {
		small(b)
		b.Server = inProcessBaseline{}
		for _, payload := range []int{64, 1000, 70_000} {
			b.Payload, b.Events, b.WarmUp, b.Batch = payload, 30, 3, min(b.Batch, 10)
			r, err := b.Run(t.Context(), nil)
			if err != nil || !r.Sound() || r.Events != b.Events {
				t.Errorf("%s of %d bytes: %+v, %v", b.Called, payload, r, err)
			}
		}
	}
}

// Each row that is inserted arrives once at each socket of its topic, in order.
func TestRowFloor(t *testing.T) {
	t.Parallel()
	for _, payload := range []int{64, 1000, 70_000} {
		s := DefaultRow()
		s.Server, s.Load = inProcessBaseline{database: pgtest.Schema(t)}, swarm.Load{Topics: 3, Sockets: 5, Payload: payload}
		s.Rate, s.For, s.WarmUp = 1000, 60*time.Millisecond, 6*time.Millisecond
		r, err := s.Run(t.Context(), nil)
		if err != nil || !r.Sound() || r.Latency == nil || r.Latency.Samples != s.Deliveries(60)-s.Deliveries(6) {
			t.Errorf("rows of %d bytes: %+v, %v", payload, r, err)
		}
	}
}

// Without its database the floor ends.
func TestRowFloorThatLosesItsDatabase(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	e, err := inProcessBaseline{database: url + "&application_name=floor_to_cut"}.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := target.Execute(t.Context(), url, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'floor_to_cut'`); err != nil {
		t.Fatal(err)
	}
	for {
		answer, err := asking.Get(e.Admin + "/readyz")
		if err != nil {
			break // it has ended by itself
		}
		answer.Body.Close()
		time.Sleep(time.Millisecond) // in which it runs
	}
	if err := e.Stop(); err == nil || !strings.Contains(err.Error(), "take rows") {
		t.Errorf("it ends with %v", err)
	}
}
