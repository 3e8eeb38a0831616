package benchmarks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/benchmarks/report"
	"github.com/sluicehq/sluice/benchmarks/swarm"
	"github.com/sluicehq/sluice/benchmarks/target"
)

// LongPoll is Steady for clients that cannot have a WebSocket: each polls over
// HTTP, and has an answer as soon as there is an event. Its clients are those of
// net/http, with a goroutine and a connection or two each, so that the load may
// be the bound: the server's CPU time tells.
type LongPoll struct{ Steady }

// DefaultLongPoll is 10 events a second for 500 clients.
func DefaultLongPoll() *LongPoll {
	return &LongPoll{Steady{
		Base: Base{
			Called: "longpoll", About: "latency: events at an even rate, one topic to clients that poll over HTTP",
			By: target.Broadcast, Load: swarm.Load{Topics: 1, Sockets: 500, Payload: 128},
		},
		Rate: 10, For: 8 * time.Second, WarmUp: time.Second,
	}}
}

// Run implements [Scenario].
func (l *LongPoll) Run(ctx context.Context, progress report.Progress) (r report.Result, err error) {
	if err := l.validate(); err != nil {
		return r, err
	}
	s, err := newSession(ctx, l.Server, l.Load, progress)
	if err != nil {
		return r, err
	}
	p, err := newPollers(ctx, s)
	if err != nil {
		return r, errors.Join(err, s.endpoint.Stop())
	}
	m, err := l.poll(ctx, s, p)
	p.stop()
	if err := errors.Join(err, s.endpoint.Stop()); err != nil {
		return r, err
	}
	events, _ := l.events()
	r = report.Result{Scenario: l.Called, Server: s.name, Params: l.params(report.Param{Name: "rate", Value: l.Rate}), Events: events}
	m.report(&r, s.endpoint)
	p.report(&r, events)
	return r, nil
}

// poll publishes everything, and waits until it has arrived.
func (l *LongPoll) poll(ctx context.Context, s *session, p *pollers) (*meter, error) {
	events, warmUp := l.events()
	due := l.Deliveries(events)
	m := s.measure()
	schedule := l.schedule(events)
	err := l.pace(ctx, s, schedule, warmUp, func() (time.Time, error) { return m.began.Add(schedule[warmUp]), nil })
	look := time.NewTicker(lookPause)
	defer look.Stop()
	for seen, moved := int64(0), time.Now(); err == nil && p.arrived.Load() < due && time.Since(moved) < patience; {
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-look.C:
		}
		if arrived := p.arrived.Load(); arrived > seen {
			seen, moved = arrived, time.Now()
		}
		s.progress.Tell("deliveries", min(p.arrived.Load(), due), due)
	}
	m.stop()
	s.progress.Tell("deliveries", min(p.arrived.Load(), due), due)
	return m, err
}

// pollers are the clients.
type pollers struct {
	load    swarm.Load
	url     string
	prefix  string
	client  http.Client
	latency *swarm.Latencies
	arrived atomic.Int64

	cancel  context.CancelFunc
	running sync.WaitGroup
	all     []*poller
}

// poller is one of them.
type poller struct {
	token     string
	topics    []int
	sequences []swarm.SequenceCheck // owned by its goroutine until that has ended
	cause     error                 // why it ended before it was stopped
}

// newPollers has all clients join, and poll until stop.
func newPollers(ctx context.Context, s *session) (*pollers, error) {
	phoenix, ok := s.endpoint.Dialect.(swarm.Phoenix)
	if !ok {
		return nil, fmt.Errorf("benchmarks: longpoll takes a server that speaks as Phoenix does, not %T", s.endpoint.Dialect)
	}
	path, _, _ := strings.Cut(phoenix.Path(), "/websocket")
	p := &pollers{
		load:    s.load,
		url:     "http" + strings.TrimPrefix(s.endpoint.Sockets, "ws") + path + "/longpoll?vsn=2.0.0",
		prefix:  s.prefix,
		client:  http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: s.load.Sockets}},
		latency: swarm.NewLatencies(),
	}
	s.arrived = p.arrived.Load
	group, joining := errgroup.WithContext(ctx)
	group.SetLimit(maxJoining)
	for i := range s.load.Sockets {
		c := &poller{topics: s.load.Watched(i)}
		c.sequences = make([]swarm.SequenceCheck, len(c.topics))
		p.all = append(p.all, c)
		group.Go(func() error { return p.join(joining, c) })
	}
	err := group.Wait()
	life, cancel := context.WithCancel(ctx)
	p.cancel = cancel
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("join %d clients that poll: %w", s.load.Sockets, err)
	}
	for _, c := range p.all {
		p.running.Go(func() {
			if err := p.run(life, c); life.Err() == nil {
				c.cause = err
			}
		})
	}
	return p, nil
}

// maxJoining bounds the clients that join at the same time.
const maxJoining = 64

// pollAnswer is what a poll is answered.
type pollAnswer struct {
	Status   int      `json:"status"`
	Token    string   `json:"token"`
	Messages []string `json:"messages"`
}

func (p *pollers) ask(ctx context.Context, c *poller, method, body string) (answer pollAnswer, err error) {
	request, err := http.NewRequestWithContext(ctx, method, p.url, bytes.NewReader([]byte(body)))
	if err != nil {
		return answer, err
	}
	if c.token != "" {
		request.Header.Set("X-Phoenix-Longpoll-Token", c.token)
	}
	response, err := p.client.Do(request)
	if err != nil {
		return answer, err
	}
	err = json.NewDecoder(response.Body).Decode(&answer)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return answer, fmt.Errorf("%s %s: %d: %w", method, p.url, response.StatusCode, err)
	}
	return answer, nil
}

// join opens a session and joins its topics.
func (p *pollers) join(ctx context.Context, c *poller) error {
	answer, err := p.ask(ctx, c, http.MethodGet, "")
	if err != nil {
		return err
	}
	if c.token = answer.Token; c.token == "" {
		return fmt.Errorf("a new session was answered %d without a token", answer.Status)
	}
	dialect := swarm.Phoenix{}
	for _, topic := range c.topics {
		dialect.Greet(func(message []byte) {
			if err == nil {
				answer, err = p.ask(ctx, c, http.MethodPost, string(message))
			}
			if err == nil && answer.Status != http.StatusOK {
				err = fmt.Errorf("a join was answered %d", answer.Status)
			}
		}, []string{fmt.Sprintf("%s%d", p.prefix, topic)})
	}
	for joined := 0; joined < len(c.topics) && err == nil; {
		if answer, err = p.ask(ctx, c, http.MethodGet, ""); err != nil {
			return err
		}
		for _, message := range answer.Messages {
			n, err := dialect.Hear(nil, nil, []byte(message))
			if err != nil {
				return err
			}
			joined += n
		}
	}
	return err
}

// run polls until ctx ends, or polling fails.
func (p *pollers) run(ctx context.Context, c *poller) error {
	for {
		answer, err := p.ask(ctx, c, http.MethodGet, "")
		if err != nil {
			return err
		}
		switch answer.Status {
		case http.StatusOK, http.StatusNoContent:
		default:
			return fmt.Errorf("a poll was answered %d", answer.Status)
		}
		now := time.Now()
		for _, message := range answer.Messages {
			for e := range swarm.Events([]byte(message)) {
				p.note(c, e, now)
			}
		}
	}
}

func (p *pollers) note(c *poller, e swarm.Event, now time.Time) {
	subscription := (e.Topic - c.topics[0]) / p.load.Sockets
	if subscription < 0 || subscription >= len(c.topics) || c.topics[subscription] != e.Topic {
		return // lost where it was due
	}
	if e.At != 0 {
		p.latency.Record(now.Sub(time.Unix(0, e.At)))
	}
	if c.sequences[subscription].Note(e.Number) {
		p.arrived.Add(1)
	}
}

// stop ends the polling.
func (p *pollers) stop() {
	p.cancel()
	p.running.Wait()
	p.client.CloseIdleConnections()
}

// report tells what became of so many events.
func (p *pollers) report(r *report.Result, events int64) {
	for _, c := range p.all {
		var check swarm.Check
		for subscription, topic := range c.topics {
			check = check.Plus(c.sequences[subscription].Check(p.load.Share(topic, events)))
		}
		if c.cause != nil && check.Lost > 0 {
			check.Cut = 1
			if r.CutBecause == "" {
				r.CutBecause = c.cause.Error()
			}
		}
		r.Check = r.Plus(check)
	}
	r.Latency = p.latency.Percentiles()
}
