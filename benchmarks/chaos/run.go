package chaos

import (
	"cmp"
	"context"
	"database/sql"
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

// run is one of [Chaos].
type run struct {
	// Immutable after setUp.
	*Chaos
	server        *pgserver.Server // the run's own database, nil if it belongs to others
	scratch       target.Scratch
	nodeRelays    []*relay // between each node and the database
	standbyRelays []*relay // between some of the nodes and the database's standby
	writerRelay   *relay   // between the writers and the database
	nodes         []*node
	bus           *bus
	writers       []*writer
	bulk          *writer // one of them, whose rows are faults: Run's goroutine is it
	clients       []*client
	watchers      []*watcher     // of a cluster
	broadcasters  []*broadcaster // likewise, one for each node
	topics        []string
	hostiles      []*hostile
	folder        string          // with the nodes' files
	file          *sql.DB         // the embedded store's; nil on Postgres
	outbox        *embeddedOutbox // in that file
	plan          *plan
	log           *lineLog

	committed atomic.Int64 // events

	ctx       context.Context
	fail      context.CancelCauseFunc // ends all, with the reason
	enough    chan struct{}           // closed by verify: nobody writes any more
	hurry     chan struct{}           // closed by verify: no client is slow any more
	quiet     chan struct{}           // closed by verify: nobody broadcasts any more
	over      chan struct{}           // closed by verify: no client connects any more
	writing   sync.WaitGroup
	reading   sync.WaitGroup
	measuring sync.WaitGroup
	attacking sync.WaitGroup
	telling   sync.WaitGroup // broadcasters

	// Owned by Run's goroutine.
	database string // URL of the schema, past the relays
	began    time.Time
	applied  map[faultKind]int64
	counted  map[string]int64 // by the nodes, by metric
	broken   []string         // promises of nodes
	removed  time.Time        // when the log was first cut by hand
	erased   map[string]bool  // topics that events were erased of
	unready  int64            // times that nodes had to say so, and did
	settled  settled
}

// measureEvery is how often the nodes' memory is looked at.
const measureEvery = 100 * time.Millisecond

// lookEvery is how often the run looks how far others have come.
const lookEvery = 20 * time.Millisecond

// setUp sets everything up: nodes that are ready, clients that have joined, and
// writers that begin.
func setUp(ctx context.Context, c *Chaos) (r *run, err error) {
	r = &run{
		Chaos: c, topics: c.topicNames(), plan: newPlan(c.Seed, c.kinds(), c.Spared...), log: &lineLog{out: c.Log}, applied: map[faultKind]int64{}, counted: map[string]int64{}, erased: map[string]bool{},
		enough: make(chan struct{}), hurry: make(chan struct{}), quiet: make(chan struct{}), over: make(chan struct{}),
	}
	r.plan.latest = cmp.Or(c.Spacing, latest)
	r.ctx, r.fail = context.WithCancelCause(ctx)
	if r.folder, err = os.MkdirTemp("", "sluice-chaos-"); err == nil && !c.Embedded {
		r.database, err = r.createSchema(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, r.end())
	}
	whole, half := false, r
	defer func() {
		if !whole { // or the goroutine ends within, as a test's may
			err = errors.Join(err, half.end())
		}
	}()
	start := r.startNodes
	if c.Embedded {
		start = r.startEmbedded
	}
	if err := start(); err != nil {
		return nil, err
	}
	if err := r.startClients(); err != nil {
		return nil, err
	}
	whole = true
	return r, nil
}

// createSchema returns the URL of a schema for the run, in a database of its own
// perhaps.
func (r *run) createSchema(ctx context.Context) (database string, err error) {
	config := sluice.Config{DatabaseURL: r.DatabaseURL}
	if r.DatabaseURL == "" {
		if r.server, err = pgserver.New(); err != nil {
			return "", err
		}
		if err := r.server.Mirror(); err != nil {
			return "", err
		}
		config.DatabaseURL = r.server.URL()
	}
	scratch, err := target.NewSchema(ctx, &config)
	if err == nil && r.server == nil { // else it goes with its server
		r.scratch = scratch
	}
	return config.DatabaseURL, err
}

// startNodes starts relays and nodes, and makes the writers.
func (r *run) startNodes() error {
	address, err := hostPort(r.database)
	if err != nil {
		return err
	}
	if err := r.createRole(); err != nil {
		return err
	}
	if r.bus, err = startBus(r.busKind(), r.Nodes, r.folder); err != nil {
		return err
	}
	for i := range r.Nodes {
		nodeRelay, err := newRelay(address)
		if err != nil {
			return err
		}
		r.nodeRelays = append(r.nodeRelays, nodeRelay)
		addresses := nodeRelay.address()
		if r.server != nil && i%2 == 1 { // its URL names the standby too
			standby, err := hostPort(r.server.StandbyURL())
			if err != nil {
				return err
			}
			standbyRelay, err := newRelay(standby)
			if err != nil {
				return err
			}
			r.standbyRelays = append(r.standbyRelays, standbyRelay)
			addresses += "," + standbyRelay.address()
		}
		through, err := named(r.database, addresses, nodeName(i), r.role())
		if err != nil {
			return err
		}
		node, err := r.newNode(i, through)
		if err != nil {
			return err
		}
		r.nodes = append(r.nodes, node)
		if err := node.Start(); err != nil {
			return err
		}
		if i == 0 { // the tables are there once, and the book with them
			if err := node.Ready(r.ctx); err != nil {
				return err
			}
			if err := r.direct(func(conn *pgx.Conn) error {
				_, err := conn.Exec(r.ctx, auditSQL)
				return err
			}); err != nil {
				return fmt.Errorf("begin the audit: %w", err)
			}
		}
	}
	for _, node := range r.nodes {
		if err := node.Ready(r.ctx); err != nil {
			return err
		}
	}
	if r.writerRelay, err = newRelay(address); err != nil {
		return err
	}
	through, err := named(r.database, r.writerRelay.address(), writersName, nil)
	if err != nil {
		return err
	}
	r.makeWriters(postgresOutbox(through))
	return nil
}

// makeWriters makes those who write to an outbox, and the one whose rows are
// faults.
func (r *run) makeWriters(to outbox) {
	for i := range r.Writers {
		w := newWriter(i, r.Seed, to, r.topics, &r.committed)
		if r.Pause > 0 {
			w.pause = r.Pause
		}
		r.writers = append(r.writers, w)
	}
	r.bulk = newWriter(r.Writers, r.Seed, nil, r.topics, &r.committed)
	r.writers = append(r.writers, r.bulk)
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
func (r *run) newNode(i int, database string) (*node, error) {
	name := processName(i)
	if i%2 == 0 {
		return r.newServe(i, append(r.bus.nodes[i].flags(), "--database-url", database)...)
	}
	process, err := target.NewProcess(r.Program, name, r.log)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(application{
		Node: name, Listen: process.Public, AdminListen: process.Admin, DatabaseURL: database,
		Retention: retention, DrainTimeout: hastyDrain,
		MailboxSize: mailboxSize, MaxDemand: maxDemand, Lanes: lanes,
		MailboxBytes: mailboxBytes, InboundBytes: inboundBytes, MaxMessageBytes: messageBytes, Recent: recentBytes, FetchBytes: fetchBytes,
		MaxConnections: r.maxConnections(), Topics: r.rules(), busSettings: r.bus.nodes[i],
	})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(r.folder, name+".json")
	process.Args = []string{"bench", applicationName, "--target", file}
	return &node{process, true}, os.WriteFile(file, text, 0o600)
}

// processName is what a node is called in its log and the report.
func processName(i int) string { return fmt.Sprintf("node-%d", i+1) }

// newServe prepares a node that is `sluice serve`, with these flags more.
func (r *run) newServe(i int, flags ...string) (*node, error) {
	rules := filepath.Join(r.folder, "rules.yaml")
	if err := os.WriteFile(rules, []byte(r.rulesFile()), 0o600); err != nil {
		return nil, err
	}
	process, err := target.NewProcess(r.Program, processName(i), r.log, append([]string{
		"serve", "--node", processName(i), "--listen", "{listen}", "--admin-listen", "{admin}", "--log-format", "json",
		"--config", rules, "--retention", retention.String(),
		"--mailbox-size", fmt.Sprint(mailboxSize), "--mailbox-bytes", fmt.Sprint(mailboxBytes), "--inbound-bytes", fmt.Sprint(inboundBytes), "--max-message-bytes", fmt.Sprint(messageBytes),
		"--recent", fmt.Sprint(recentBytes), "--fetch-bytes", fmt.Sprint(fetchBytes),
		"--lanes", fmt.Sprint(lanes), "--max-demand", fmt.Sprint(maxDemand),
		"--max-connections", fmt.Sprint(r.maxConnections()), "--relay-bytes", fmt.Sprint(relayBytes),
	}, flags...)...)
	if err != nil {
		return nil, err
	}
	return &node{Process: process}, nil
}

// startClients makes the clients, waits until those that watch from now on have
// joined, and has the writers begin.
func (r *run) startClients() error {
	for i := range r.Sockets {
		c := &client{
			profile: profiles[i%len(profiles)], nodes: r.nodes, anyNode: r.clustered(), random: rand.New(rand.NewPCG(r.Seed, 2000+uint64(i))),
			erasures: r.Embedded, hurry: r.hurry, over: r.over, joinedAll: make(chan struct{}), subscriptions: map[string]*subscription{},
		}
		for _, topic := range r.choose(c, i) {
			c.subscriptions[topic] = &subscription{receipts: receipts{seen: make([]numbers, r.Writers+1)}}
		}
		c.unjoined = len(c.subscriptions)
		if c.profile == lateProfile {
			for _, sub := range c.subscriptions {
				sub.after, sub.started = new(int64), true // from the beginning
			}
		}
		r.clients = append(r.clients, c)
	}
	r.measuring.Go(r.measure)
	for _, c := range r.clients {
		if c.profile == lateProfile {
			continue // it comes with a fault, see apply
		}
		r.reading.Go(func() { c.run(r.ctx) })
	}
	for _, c := range r.clients {
		if c.profile == lateProfile {
			continue
		}
		select {
		case <-c.joinedAll:
		case <-time.After(standstill):
			return fmt.Errorf("benchmarks: a %s client has not joined within %v", c.profile, standstill)
		case <-r.ctx.Done():
			return context.Cause(r.ctx)
		}
	}
	if err := r.startWatchers(); err != nil {
		return err
	}
	r.began = time.Now()
	r.startHostiles()
	r.startBroadcasters()
	for _, w := range r.writers[:r.Writers] {
		r.writing.Go(func() { w.run(r.ctx, r.enough) })
	}
	return nil
}

// choose says what a client watches.
func (r *run) choose(c *client, i int) (topics []string) {
	switch c.profile {
	case lonelyProfile:
		return []string{topicName(lonelyTopic, i)}
	case siblingsProfile:
		for _, kind := range topicKinds {
			if some := ofKind(r.topics[:r.Topics], kind); len(some) > 0 {
				topics = append(topics, some[c.random.IntN(len(some))])
			}
		}
		return topics
	}
	for range min(3, r.Topics) {
		topics = append(topics, r.topics[c.random.IntN(r.Topics)])
	}
	return topics
}

// measure looks at the nodes' memory until all is over, and whether one of
// them has ended by itself.
func (r *run) measure() {
	look := time.NewTicker(measureEvery)
	defer look.Stop()
	for {
		for _, node := range r.nodes {
			node.Measure()
		}
		select {
		case <-look.C:
		case <-r.ctx.Done():
			return
		}
	}
}

// end ends all that still runs, and removes what was made.
func (r *run) end() (err error) {
	r.fail(nil)
	for _, node := range r.nodes {
		err = errors.Join(err, node.Kill(), node.Release())
	}
	for _, nodeRelay := range slices.Concat(r.nodeRelays, r.standbyRelays) {
		err = errors.Join(err, nodeRelay.close())
	}
	if r.writerRelay != nil {
		err = errors.Join(err, r.writerRelay.close())
	}
	r.writing.Wait()
	r.reading.Wait()
	r.measuring.Wait()
	r.attacking.Wait()
	r.telling.Wait()
	if r.bus != nil {
		err = errors.Join(err, r.bus.close())
	}
	err = errors.Join(err, r.closeFile())
	if r.folder != "" {
		err = errors.Join(err, os.RemoveAll(r.folder))
	}
	if r.scratch.Remove != nil {
		err = errors.Join(err, r.scratch.Remove())
	}
	if r.server != nil {
		err = errors.Join(err, r.server.Remove())
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

// lineLog writes lines of several goroutines.
type lineLog struct {
	mu  sync.Mutex
	out io.Writer // nil for nobody asks; guarded by mu
}

// Write implements io.Writer.
func (t *lineLog) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.out == nil {
		return len(p), nil
	}
	return t.out.Write(p)
}
