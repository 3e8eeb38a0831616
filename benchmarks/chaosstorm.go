package benchmarks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/pgserver"
)

// storm is a run of [Chaos].
type storm struct {
	// Immutable after brew.
	*Chaos
	server  *pgserver.Server // the run's own database, nil if it belongs to others
	place   place
	doors   []*relay // between each node and the database
	desk    *relay   // between the writers and the database
	nodes   []*process
	writers []*chaosWriter
	clients []*chaosClient
	plan    *plan
	log     *tellTale

	committed atomic.Int64 // events

	ctx       context.Context
	fail      context.CancelCauseFunc // ends all, with the reason
	enough    chan struct{}           // closed by settle: nobody writes any more
	hurry     chan struct{}           // closed by settle: no client is slow any more
	over      chan struct{}           // closed by settle: no client connects any more
	writing   sync.WaitGroup
	reading   sync.WaitGroup
	measuring sync.WaitGroup

	// Owned by Run's goroutine.
	database string // URL of the schema, past the relays
	began    time.Time
	struck   map[faultKind]int64
	counted  map[string]int64 // by the nodes, by metric
	broken   []string         // promises of nodes
}

// measureEvery is how often the nodes' memory is looked at.
const measureEvery = 100 * time.Millisecond

// lookEvery is how often the run looks how far others have come.
const lookEvery = 20 * time.Millisecond

// brew sets everything up: nodes that are ready, clients that have joined, and
// writers that begin.
func brew(ctx context.Context, c *Chaos) (s *storm, err error) {
	s = &storm{
		Chaos: c, plan: newPlan(c.Seed, c.DatabaseURL == ""), log: &tellTale{out: c.Log}, struck: map[faultKind]int64{}, counted: map[string]int64{},
		enough: make(chan struct{}), hurry: make(chan struct{}), over: make(chan struct{}),
	}
	s.ctx, s.fail = context.WithCancelCause(ctx)
	if s.database, err = s.settleIn(ctx); err != nil {
		return nil, errors.Join(err, s.end())
	}
	whole := false
	defer func() {
		if !whole { // or the goroutine ends within, as a test's may
			err = errors.Join(err, s.end())
		}
	}()
	if err := s.raise(); err != nil {
		return nil, err
	}
	if err := s.gather(); err != nil {
		return nil, err
	}
	whole = true
	return s, nil
}

// settleIn returns the URL of a schema for the run, in a database of its own
// perhaps.
func (s *storm) settleIn(ctx context.Context) (database string, err error) {
	config := sluice.Config{DatabaseURL: s.DatabaseURL}
	if s.DatabaseURL == "" {
		if s.server, err = pgserver.New(); err != nil {
			return "", err
		}
		if err := s.server.Mirror(); err != nil {
			return "", err
		}
		config.DatabaseURL = s.server.URL()
	}
	place, err := newSchema(ctx, &config)
	if err == nil && s.server == nil { // else it goes with its server
		s.place = place
	}
	return config.DatabaseURL, err
}

// raise starts relays and nodes, and makes the writers.
func (s *storm) raise() error {
	address, err := hostPort(s.database)
	if err != nil {
		return err
	}
	for i := range s.Nodes {
		door, err := newRelay(address)
		if err != nil {
			return err
		}
		s.doors = append(s.doors, door)
		through, err := named(s.database, door.address(), nodesName)
		if err != nil {
			return err
		}
		node, err := newProcess(s.Program, fmt.Sprintf("node-%d", i+1), s.log,
			"--database-url", through,
			"--mailbox-size", fmt.Sprint(chaosMailboxSize), "--mailbox-bytes", fmt.Sprint(chaosMailboxBytes),
			"--recent", fmt.Sprint(chaosRecent), "--fetch-bytes", fmt.Sprint(chaosFetchBytes),
			"--lanes", fmt.Sprint(chaosLanes), "--max-demand", fmt.Sprint(chaosMaxDemand),
			"--max-connections", fmt.Sprint(s.maxConnections()))
		if err == nil {
			err = node.start()
		}
		if err != nil {
			return err
		}
		s.nodes = append(s.nodes, node)
	}
	for _, node := range s.nodes {
		if err := node.ready(s.ctx); err != nil {
			return err
		}
	}
	if s.desk, err = newRelay(address); err != nil {
		return err
	}
	through, err := named(s.database, s.desk.address(), writersName)
	if err != nil {
		return err
	}
	for i := range s.Writers {
		s.writers = append(s.writers, newChaosWriter(i, s.Seed, through, s.Topics, &s.committed))
	}
	return nil
}

// gather makes the clients, waits until those that watch from now on have
// joined, and has the writers begin.
func (s *storm) gather() error {
	for i := range s.Sockets {
		c := &chaosClient{
			temper: tempers[i%len(tempers)], nodes: s.nodes, random: rand.New(rand.NewPCG(s.Seed, 2000+uint64(i))),
			hurry: s.hurry, over: s.over, seated: make(chan struct{}), seats: map[string]*seat{},
		}
		for range min(3, s.Topics) {
			topic := c.random.IntN(s.Topics)
			c.seats[topicName(topic)] = &seat{topic: topic, receipts: receipts{seen: make([]numbers, s.Writers)}}
		}
		c.unseated = len(c.seats)
		if c.temper == lateTemper {
			for _, seat := range c.seats {
				seat.after = new(int64)
			}
		}
		s.clients = append(s.clients, c)
	}
	s.measuring.Go(s.measure)
	for _, c := range s.clients {
		if c.temper == lateTemper {
			continue // it comes with a fault, see strike
		}
		s.reading.Go(func() { c.run(s.ctx) })
	}
	for _, c := range s.clients {
		if c.temper == lateTemper {
			continue
		}
		select {
		case <-c.seated:
		case <-time.After(chaosPatience):
			return fmt.Errorf("benchmarks: a %s client has not joined within %v", c.temper, chaosPatience)
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
	}
	s.began = time.Now()
	for _, w := range s.writers {
		s.writing.Go(func() { w.run(s.ctx, s.enough) })
	}
	return nil
}

// measure looks at the nodes' memory until all is over, and whether one of
// them has ended by itself.
func (s *storm) measure() {
	look := time.NewTicker(measureEvery)
	defer look.Stop()
	for {
		for _, node := range s.nodes {
			node.measure()
		}
		select {
		case <-look.C:
		case <-s.ctx.Done():
			return
		}
	}
}

// end ends all that still runs, and removes what was made.
func (s *storm) end() (err error) {
	s.fail(nil)
	for _, node := range s.nodes {
		err = errors.Join(err, node.kill())
	}
	for _, door := range s.doors {
		err = errors.Join(err, door.close())
	}
	if s.desk != nil {
		err = errors.Join(err, s.desk.close())
	}
	s.writing.Wait()
	s.reading.Wait()
	s.measuring.Wait()
	if s.place.remove != nil {
		err = errors.Join(err, s.place.remove())
	}
	if s.server != nil {
		err = errors.Join(err, s.server.Remove())
	}
	return err
}

// Names that connections have in pg_stat_activity.
const (
	nodesName   = "sluice-chaos-node"
	writersName = "sluice-chaos-writer"
)

// hostPort is where a URL leads to.
func hostPort(database string) (string, error) {
	config, err := pgx.ParseConfig(database)
	if err != nil {
		return "", errors.New("benchmarks: the database's URL cannot be parsed") // without it: it may hold a password
	}
	return fmt.Sprintf("%s:%d", config.Host, config.Port), nil
}

// by is a database's URL by way of another address.
func by(database, address string) (string, error) {
	u, err := url.Parse(database)
	if err != nil {
		return "", errors.New("benchmarks: the database's URL cannot be parsed")
	}
	u.Host = address
	return u.String(), nil
}

// named is a database's URL by way of a relay, with a name for its connections.
func named(database, relay, name string) (string, error) {
	through, err := by(database, relay)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(through)
	if err != nil {
		return "", err
	}
	query := u.Query()
	query.Set("application_name", name)
	u.RawQuery = query.Encode()
	return u.String(), nil
}

// tellTale writes lines of several goroutines.
type tellTale struct {
	mu  sync.Mutex
	out io.Writer // nil for nobody asks; guarded by mu
}

// Write implements io.Writer.
func (t *tellTale) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.out == nil {
		return len(p), nil
	}
	return t.out.Write(p)
}
