package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/benchmarks/target"
	"github.com/sluicehq/sluice/internal/pgserver"
)

// storm is a run of [Chaos].
type storm struct {
	// Immutable after brew.
	*Chaos
	server   *pgserver.Server // the run's own database, nil if it belongs to others
	scratch  target.Scratch
	doors    []*relay // between each node and the database
	sides    []*relay // between some of the nodes and the database's standby
	desk     *relay   // between the writers and the database
	nodes    []*node
	writers  []*chaosWriter
	bulk     *chaosWriter // one of them, whose rows are faults: Run's goroutine is it
	clients  []*chaosClient
	topics   []string
	hostiles []*hostile
	folder   string // with the nodes' files
	plan     *plan
	log      *tellTale

	committed atomic.Int64 // events

	ctx       context.Context
	fail      context.CancelCauseFunc // ends all, with the reason
	enough    chan struct{}           // closed by settle: nobody writes any more
	hurry     chan struct{}           // closed by settle: no client is slow any more
	over      chan struct{}           // closed by settle: no client connects any more
	writing   sync.WaitGroup
	reading   sync.WaitGroup
	measuring sync.WaitGroup
	besieging sync.WaitGroup

	// Owned by Run's goroutine.
	database string // URL of the schema, past the relays
	began    time.Time
	struck   map[faultKind]int64
	counted  map[string]int64 // by the nodes, by metric
	broken   []string         // promises of nodes
	removed  time.Time        // when the log was first cut by hand
	unready  int64            // times that nodes had to say so, and did
}

// measureEvery is how often the nodes' memory is looked at.
const measureEvery = 100 * time.Millisecond

// lookEvery is how often the run looks how far others have come.
const lookEvery = 20 * time.Millisecond

// brew sets everything up: nodes that are ready, clients that have joined, and
// writers that begin.
func brew(ctx context.Context, c *Chaos) (s *storm, err error) {
	s = &storm{
		Chaos: c, topics: c.chaosTopics(), plan: newPlan(c.Seed, c.DatabaseURL == "", c.Spared...), log: &tellTale{out: c.Log}, struck: map[faultKind]int64{}, counted: map[string]int64{},
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
	if s.folder, err = os.MkdirTemp("", "sluice-chaos-"); err != nil {
		return "", err
	}
	if s.DatabaseURL == "" {
		if s.server, err = pgserver.New(); err != nil {
			return "", err
		}
		if err := s.server.Mirror(); err != nil {
			return "", err
		}
		config.DatabaseURL = s.server.URL()
	}
	scratch, err := target.NewSchema(ctx, &config)
	if err == nil && s.server == nil { // else it goes with its server
		s.scratch = scratch
	}
	return config.DatabaseURL, err
}

// raise starts relays and nodes, and makes the writers.
func (s *storm) raise() error {
	address, err := hostPort(s.database)
	if err != nil {
		return err
	}
	if err := s.employ(); err != nil {
		return err
	}
	for i := range s.Nodes {
		door, err := newRelay(address)
		if err != nil {
			return err
		}
		s.doors = append(s.doors, door)
		addresses := door.address()
		if s.server != nil && i%2 == 1 { // its URL names the standby too
			standby, err := hostPort(s.server.StandbyURL())
			if err != nil {
				return err
			}
			side, err := newRelay(standby)
			if err != nil {
				return err
			}
			s.sides = append(s.sides, side)
			addresses += "," + side.address()
		}
		through, err := named(s.database, addresses, nodeName(i), s.role())
		if err != nil {
			return err
		}
		node, err := s.newNode(i, through)
		if err == nil {
			err = node.Start()
		}
		if err != nil {
			return err
		}
		s.nodes = append(s.nodes, node)
		if i == 0 { // the tables are there once, and the book with them
			if err := node.Ready(s.ctx); err != nil {
				return err
			}
			if err := s.direct(func(conn *pgx.Conn) error {
				_, err := conn.Exec(s.ctx, auditSQL)
				return err
			}); err != nil {
				return fmt.Errorf("begin the audit: %w", err)
			}
		}
	}
	for _, node := range s.nodes {
		if err := node.Ready(s.ctx); err != nil {
			return err
		}
	}
	if s.desk, err = newRelay(address); err != nil {
		return err
	}
	through, err := named(s.database, s.desk.address(), writersName, nil)
	if err != nil {
		return err
	}
	for i := range s.Writers {
		s.writers = append(s.writers, newChaosWriter(i, s.Seed, through, s.topics, &s.committed))
	}
	s.bulk = newChaosWriter(s.Writers, s.Seed, "", s.topics, &s.committed)
	s.writers = append(s.writers, s.bulk)
	return nil
}

// nodeName is what a node's connections are called.
func nodeName(i int) string { return fmt.Sprintf("%s-%d", nodesName, i+1) }

// node is one of the run's.
type node struct {
	*target.Process
	hasty bool // its drain is given too little time, and may end it badly
}

// newNode prepares a node: serve, or every second time an application's own
// program, whose drains are given too little time.
func (s *storm) newNode(i int, database string) (*node, error) {
	name := fmt.Sprintf("node-%d", i+1)
	if i%2 == 0 {
		rules := filepath.Join(s.folder, "rules.yaml")
		if err := os.WriteFile(rules, []byte(s.rulesFile()), 0o600); err != nil {
			return nil, err
		}
		process, err := target.NewProcess(s.Program, name, s.log,
			"--config", rules, "--database-url", database, "--retention", chaosRetention.String(),
			"--mailbox-size", fmt.Sprint(chaosMailboxSize), "--mailbox-bytes", fmt.Sprint(chaosMailboxBytes), "--inbound-bytes", fmt.Sprint(chaosInboundBytes), "--max-message-bytes", fmt.Sprint(chaosMessageBytes),
			"--recent", fmt.Sprint(chaosRecent), "--fetch-bytes", fmt.Sprint(chaosFetchBytes),
			"--lanes", fmt.Sprint(chaosLanes), "--max-demand", fmt.Sprint(chaosMaxDemand),
			"--max-connections", fmt.Sprint(s.maxConnections()))
		return &node{Process: process}, err
	}
	process, err := target.NewProcess(s.Program, name, s.log)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(application{
		Node: name, Listen: process.Public, AdminListen: process.Admin, DatabaseURL: database,
		Retention: chaosRetention, DrainTimeout: chaosHaste,
		MailboxSize: chaosMailboxSize, MaxDemand: chaosMaxDemand, Lanes: chaosLanes,
		MailboxBytes: chaosMailboxBytes, InboundBytes: chaosInboundBytes, MaxMessageBytes: chaosMessageBytes, Recent: chaosRecent, FetchBytes: chaosFetchBytes,
		MaxConnections: s.maxConnections(), Topics: s.rules(),
	})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(s.folder, name+".json")
	process.Args = []string{"bench", applicationName, "--target", file}
	return &node{process, true}, os.WriteFile(file, text, 0o600)
}

// gather makes the clients, waits until those that watch from now on have
// joined, and has the writers begin.
func (s *storm) gather() error {
	for i := range s.Sockets {
		c := &chaosClient{
			temper: tempers[i%len(tempers)], nodes: s.nodes, random: rand.New(rand.NewPCG(s.Seed, 2000+uint64(i))),
			hurry: s.hurry, over: s.over, seated: make(chan struct{}), seats: map[string]*seat{},
		}
		for _, topic := range s.choose(c, i) {
			c.seats[topic] = &seat{receipts: receipts{seen: make([]numbers, s.Writers+1)}}
		}
		c.unseated = len(c.seats)
		if c.temper == lateTemper {
			for _, seat := range c.seats {
				seat.after, seat.started = new(int64), true // from the beginning
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
	s.besiege()
	for _, w := range s.writers[:s.Writers] {
		s.writing.Go(func() { w.run(s.ctx, s.enough) })
	}
	return nil
}

// choose says what a client watches.
func (s *storm) choose(c *chaosClient, i int) (topics []string) {
	switch c.temper {
	case lonelyTemper:
		return []string{chaosTopic(lonelyTopic, i)}
	case siblingsTemper:
		for _, kind := range topicKinds {
			if some := ofKind(s.topics[:s.Topics], kind); len(some) > 0 {
				topics = append(topics, some[c.random.IntN(len(some))])
			}
		}
		return topics
	}
	for range min(3, s.Topics) {
		topics = append(topics, s.topics[c.random.IntN(s.Topics)])
	}
	return topics
}

// measure looks at the nodes' memory until all is over, and whether one of
// them has ended by itself.
func (s *storm) measure() {
	look := time.NewTicker(measureEvery)
	defer look.Stop()
	for {
		for _, node := range s.nodes {
			node.Measure()
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
		err = errors.Join(err, node.Kill())
	}
	for _, door := range slices.Concat(s.doors, s.sides) {
		err = errors.Join(err, door.close())
	}
	if s.desk != nil {
		err = errors.Join(err, s.desk.close())
	}
	s.writing.Wait()
	s.reading.Wait()
	s.measuring.Wait()
	s.besieging.Wait()
	if s.folder != "" {
		err = errors.Join(err, os.RemoveAll(s.folder))
	}
	if s.scratch.Remove != nil {
		err = errors.Join(err, s.scratch.Remove())
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

// named is a database's URL by way of a relay, or several, with a name for its
// connections. A role that is nil is the database's own.
func named(database, relay, name string, role *url.Userinfo) (string, error) {
	through, err := by(database, relay)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(through)
	if err != nil {
		return "", err
	}
	if role != nil {
		u.User = role
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
