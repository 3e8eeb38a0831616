package benchmarks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/benchmarks/report"
	"github.com/sluicehq/sluice/benchmarks/swarm"
	"github.com/sluicehq/sluice/benchmarks/target"
)

// Reconnect has all sockets connect and join at the same time, again and again, as
// they do when a node or a load balancer has gone. After each storm each topic
// has an event, which all its sockets must get.
type Reconnect struct {
	Base
	Rounds int
}

// DefaultReconnect is 5,000 sockets, three times.
func DefaultReconnect() *Reconnect {
	return &Reconnect{
		Base:   Base{Called: "storm", About: "connecting: all sockets connect and join at the same time", By: target.Broadcast, Load: swarm.Load{Topics: 100, Sockets: 5000, Payload: 128}},
		Rounds: 3,
	}
}

// Settings implements [ServerScenario].
func (st *Reconnect) Settings() Settings {
	return st.settings(nil, map[string]Setter{"rounds": Number(&st.Rounds)})
}

// Run implements [Scenario]. The result's rate is that of sockets.
func (st *Reconnect) Run(ctx context.Context, progress report.Progress) (r report.Result, err error) {
	if st.Rounds < 1 {
		return r, fmt.Errorf("benchmarks: a storm of %d rounds: want 1 or more", st.Rounds)
	}
	e, err := startServer(ctx, st.Server, st.Load)
	if err != nil {
		return r, err
	}
	r = report.Result{Scenario: st.Called, Server: st.Server.Name(), Params: st.params(report.Param{Name: "rounds", Value: st.Rounds})}
	joins := swarm.NewLatencies()
	var seconds, cpu []float64
	for range st.Rounds {
		took, used, err := st.round(ctx, e, &r, joins, progress)
		if err != nil {
			return r, errors.Join(err, e.Stop())
		}
		seconds, cpu = append(seconds, took.Seconds()), append(cpu, used.Seconds())
	}
	r.Joins = joins.Percentiles()
	r.Addf("sockets", "%.0f a second (median of %.2g s)", float64(st.Sockets)/report.Median(seconds), seconds)
	if used := report.Median(cpu); used > 0 && !e.SharesProcess() {
		r.CPUSeconds = used
		r.SocketsPerCPUSecond = float64(st.Sockets) / used
		r.Addf("sockets per cpu second", "%.0f", r.SocketsPerCPUSecond)
	}
	return r, e.Stop()
}

// round has all sockets connect once.
func (st *Reconnect) round(ctx context.Context, e *target.Endpoint, r *report.Result, joins *swarm.Latencies, progress report.Progress) (took, used time.Duration, err error) {
	s := &session{endpoint: e, load: st.Load, prefix: newPrefix(), progress: progress}
	before, began := target.UsageOf(e.PID), time.Now()
	if err := s.join(ctx, swarm.Config{Load: st.Load, Connecting: st.Sockets}); err != nil {
		return 0, 0, err
	}
	took, used = time.Since(began), target.UsageOf(e.PID).CPU-before.CPU
	idle := Idle{Base: st.Base}
	if err := errors.Join(idle.wake(ctx, s), s.swarm.Close()); err != nil {
		return 0, 0, err
	}
	tally := s.swarm.Tally()
	r.Events += int64(st.Topics)
	r.Deliveries += tally.Deliveries
	r.Seconds += took.Seconds()
	r.Check = r.Plus(tally.Check)
	if r.CutBecause == "" {
		r.CutBecause = tally.CutBecause
	}
	joins.Merge(s.swarm.Joins())
	return took, used, nil
}
