package benchmarks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/sluicehq/sluice"
)

// Slow compares what many clients of a topic get while one more reads nothing
// with what they get while there is no such one: in turns, in one run. The node
// is a process of its own, with the mailboxes that it has by default.
type Slow struct {
	// Program is the sluice binary that the node runs.
	Program string
	// DatabaseURL is a Postgres. Empty: the embedded store.
	DatabaseURL string
	// Sockets are the clients that read.
	Sockets int
	// For is how long one client reads nothing, over all rounds together.
	For time.Duration
	// Rounds is how many times each of both is measured.
	Rounds int
	// Events are inserted at once, to measure throughput, in each round, and
	// then Rate a second, to measure latency, until the round's time is over.
	Events  int64
	Rate    float64
	Payload int // bytes, about
	// Log is told what the node logs. Nil: nobody asks.
	Log io.Writer
}

// DefaultSlow is a minute of one client among 1,000.
func DefaultSlow() *Slow {
	return &Slow{Sockets: 1000, For: time.Minute, Rounds: 4, Events: 3000, Rate: 40, Payload: 1024}
}

// Name implements [Scenario].
func (*Slow) Name() string { return "slow" }

// Measures implements [Scenario].
func (*Slow) Measures() string {
	return "isolation: what a client that reads nothing costs the others of its topic"
}

// half is what was measured with the slow client, or without it.
type half struct {
	throughput []float64 // deliveries/s, by round
	latency    *Latencies
}

// Run implements [Scenario]. The result's rate and latency are those beside
// the slow client; the figures compare.
func (s *Slow) Run(ctx context.Context, progress Progress) (r Result, err error) {
	if s.Program == "" || s.Rounds < 1 || s.For <= 0 || s.Rate <= 0 || s.Events < 1 {
		return r, errors.New("benchmarks: slow takes a program, rounds, a time, a rate and events")
	}
	load := Load{Topics: 1, Sockets: s.Sockets, Payload: s.Payload}
	if err := load.validate(); err != nil {
		return r, err
	}
	n, process, err := s.serve(ctx)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, process.kill(), n.place.remove()) }()
	defer client.CloseIdleConnections()

	r = Result{Scenario: s.Name(), Params: append(load.params(),
		Param{"rounds", s.Rounds}, Param{"for", s.For.String()}, Param{"burst", s.Events}, Param{"rate", s.Rate})}
	alone, beside := half{latency: NewLatencies()}, half{latency: NewLatencies()}
	began := time.Now()
	for range s.Rounds {
		if err := s.round(ctx, n, load, &alone, &r, progress); err != nil {
			return r, err
		}
		idle, err := s.idle(ctx, n)
		if err != nil {
			return r, err
		}
		events := r.Events
		err = s.round(ctx, n, load, &beside, &r, progress)
		if err == nil {
			err = idle.awake(&r, r.Events-events)
		}
		idle.wire.close()
		if err != nil {
			return r, err
		}
	}
	r.Seconds = time.Since(began).Seconds()
	r.DeliveriesPerSecond = median(beside.throughput)
	r.EventsPerSecond = r.DeliveriesPerSecond / float64(s.Sockets)
	r.Latency = beside.latency.Percentiles()
	compare(&r, &alone, &beside)
	return r, process.stop()
}

// serve runs the node.
func (s *Slow) serve(ctx context.Context) (n *node, p *process, err error) {
	config := sluice.Config{DatabaseURL: s.DatabaseURL}
	place, err := newPlace(ctx, &config)
	if err != nil {
		return nil, nil, err
	}
	p, err = newProcess(s.Program, "slow", s.Log, "--heartbeat-timeout", "1h") // clients have no heart
	if err == nil {
		p.args = append(p.args, "--database-url", config.DatabaseURL, "--data-dir", config.DataDir)
		err = p.start()
	}
	if err == nil {
		err = p.ready(ctx)
	}
	if err != nil {
		if p != nil {
			err = errors.Join(err, p.kill())
		}
		return nil, nil, errors.Join(err, place.remove())
	}
	return &node{config: config, public: "ws://" + p.public + "/socket", admin: "http://" + p.admin, place: place}, p, nil
}

// round measures throughput and then latency once.
func (s *Slow) round(ctx context.Context, n *node, load Load, h *half, r *Result, progress Progress) error {
	began := time.Now()
	burst := &audience{load: load, events: s.Events}
	result, err := s.watch(ctx, n, burst, progress, func() error {
		inserter, err := n.newInserter(ctx)
		if err != nil {
			return err
		}
		return errors.Join(inserter.backlog(ctx, load, s.Events, false), inserter.close())
	})
	if err != nil {
		return err
	}
	h.throughput = append(h.throughput, result.DeliveriesPerSecond)
	r.add(&result)

	left := max(time.Second, s.For/time.Duration(s.Rounds)-time.Since(began))
	steady := &Steady{Load: load, Rate: s.Rate}
	events := max(1, int64(s.Rate*left.Seconds()))
	result, err = s.watch(ctx, n, &audience{load: load, events: events, latency: h.latency}, progress, func() error {
		return steady.insert(ctx, n, steady.schedule(events), progress)
	})
	if err != nil {
		return err
	}
	r.add(&result)
	return nil
}

// watch has an audience see what insert inserts.
func (s *Slow) watch(ctx context.Context, n *node, a *audience, progress Progress, insert func() error) (r Result, err error) {
	if err := a.gather(ctx, n.public); err != nil {
		return r, err
	}
	err = insert()
	inserted := time.Now()
	if err == nil {
		err = a.await(ctx, progress)
	}
	a.leave()
	if err != nil {
		return r, err
	}
	return a.report(inserted), nil
}

// add counts another part of a run.
func (r *Result) add(part *Result) {
	r.Events += part.Events
	r.Deliveries += part.Deliveries
	r.Check = r.plus(part.Check)
	if r.CutBecause == "" {
		r.CutBecause = part.CutBecause
	}
}

// idler is the client that reads nothing, until it is awake.
type idler struct {
	wire *socketWire
}

// idleHeld is how many bytes the kernel holds for the slow client: so few that
// it is behind for most of a round, and so many that it catches up quickly.
const idleHeld = 256 << 10

// idle joins the topic, and reads no further than the answer.
func (s *Slow) idle(ctx context.Context, n *node) (*idler, error) {
	w, err := openSocket(ctx, n.public[len("ws://"):len(n.public)-len("/socket")], "2.0.0", idleHeld)
	if err != nil {
		return nil, fmt.Errorf("connect the slow client: %w", err)
	}
	i := &idler{wire: w.(*socketWire)}
	err = i.wire.send(fmt.Appendf(nil, `["1","1",%q,"phx_join",{"after":null}]`, topicName(0)))
	if err == nil {
		_, err = i.wire.next()
	}
	if err != nil {
		i.wire.close()
		return nil, fmt.Errorf("join the slow client: %w", err)
	}
	return i, nil
}

// awake reads all that the client has missed: it must have everything too,
// once and in order, although not from what was queued for it.
func (i *idler) awake(r *Result, events int64) error {
	reader := chaosClient{temper: fastTemper}
	last := int64(0)
	for got := int64(0); got < events; got++ {
		if err := i.wire.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		text, err := i.wire.next()
		if err != nil { // cut, or silent
			r.Lost += events - got
			r.Cut++
			r.CutBecause = "the slow client: " + err.Error()
			return nil
		}
		m, err := reader.decode(text)
		if err != nil {
			return err
		}
		var event chaosEvent
		if err := json.Unmarshal(m.payload, &event); err != nil || event.Offset == nil {
			return fmt.Errorf("benchmarks: the slow client got %s %s", m.event, m.payload)
		}
		offset := *event.Offset
		switch {
		case offset == last:
			r.Twice++
		case offset < last:
			r.Disordered++
		}
		last = max(last, offset)
	}
	r.Deliveries += events
	return nil
}

// compare tells both halves' figures, and the ratio of the second to the first.
func compare(r *Result, alone, beside *half) {
	without, with := median(alone.throughput), median(beside.throughput)
	a, b := alone.latency.Percentiles(), beside.latency.Percentiles()
	tell := func(name, format string, values ...any) {
		r.Figures = append(r.Figures, Param{name, fmt.Sprintf(format, values...)})
	}
	tell("throughput without it", "%.0f deliveries/s (median of %.0f)", without, alone.throughput)
	tell("throughput beside it", "%.0f deliveries/s (median of %.0f)", with, beside.throughput)
	tell("ratio of throughputs", "%.3f", with/without)
	if a != nil && b != nil {
		tell("latency without it", "p50 %.2f ms, p99 %.2f ms", a.P50, a.P99)
		tell("latency beside it", "p50 %.2f ms, p99 %.2f ms", b.P50, b.P99)
		tell("ratio of p99", "%.3f", float64(b.P99/a.P99))
	}
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
