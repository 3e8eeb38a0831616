package cluster

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// NodeLease is how the lease begins that a node keeps of its name, for as long as it
// serves: see package lease.
const NodeLease = "node:"

// MissingConfig says whom a [Missing] compares.
type MissingConfig struct {
	Bus Bus // required

	// Held returns the names of the leases that are held and begin so: a
	// store.Leases' Held. An error that says that it cannot be known leaves it at what
	// was known before. Required.
	Held func(ctx context.Context, prefix string) ([]string, error)

	// Interval is how often Held is asked. Zero means DefaultHeldInterval.
	Interval time.Duration

	Logger *slog.Logger // nil: slog.Default
}

// DefaultHeldInterval is what a zero MissingConfig.Interval means.
const DefaultHeldInterval = 2 * time.Second

// heldTimeout bounds one question to the store.
const heldTimeout = 2 * time.Second

// Missing knows which nodes serve the log without being heard on the bus: those whose
// name has a lease, and which are not among [Bus.Nodes]. What is told to all nodes does
// not reach them. A node that has crashed is one of them until its lease has passed; one
// that leaves in peace for an interval at most. Its methods may be called concurrently.
type Missing struct {
	config MissingConfig

	changed chan struct{}            // the bus's watcher sends, without waiting; Run receives; nobody closes; one is enough to look anew
	leased  atomic.Pointer[[]string] // nil: nobody has looked yet
}

// NewMissing returns a Missing that knows nothing yet. Call it before the bus runs, and
// [Missing.Look] before anybody relies on it.
func NewMissing(config MissingConfig) *Missing {
	if config.Interval <= 0 {
		config.Interval = DefaultHeldInterval
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	m := &Missing{config: config, changed: make(chan struct{}, 1)}
	config.Bus.Watch(func([]Node) {
		select {
		case m.changed <- struct{}{}:
		default:
		}
	})
	return m
}

// UnreachedError names nodes that could not be told, or have not answered, where all
// others were told.
type UnreachedError struct{ Nodes []string }

func (e *UnreachedError) Error() string {
	return "not reached: the nodes " + strings.Join(e.Nodes, ", ") + "; GET /api/nodes shows who is heard"
}

// Any tells whether another node has a lease, heard or not; also while nobody knows.
func (m *Missing) Any() bool {
	leased := m.leased.Load()
	return leased == nil || len(*leased) > 0
}

// held are the names of the other nodes that have a lease, as last looked.
func (m *Missing) held() []string {
	if leased := m.leased.Load(); leased != nil {
		return *leased
	}
	return nil
}

// Names are the missing nodes' names, sorted.
func (m *Missing) Names() []string {
	leased := m.held()
	if len(leased) == 0 {
		return nil
	}
	var names []string
	nodes := m.config.Bus.Nodes()
	for _, name := range leased {
		if !slices.ContainsFunc(nodes, func(n Node) bool { return n.Name == name }) {
			names = append(names, name)
		}
	}
	return names
}

// All are the names of all other nodes, heard or missing, sorted: those whom nothing
// reaches where the bus takes nothing.
func (m *Missing) All() []string {
	names := slices.Clone(m.held())
	for _, n := range m.config.Bus.Nodes() {
		names = append(names, n.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Run follows the leases until ctx ends, and returns nil then: it looks at intervals, and
// whenever a node comes or goes.
func (m *Missing) Run(ctx context.Context) error {
	ticker := time.NewTicker(m.config.Interval)
	defer ticker.Stop()
	for told := false; ; {
		err := m.Look(ctx)
		if failed := err != nil && ctx.Err() == nil; failed != told {
			if told = failed; failed {
				m.config.Logger.Warn("cannot tell which nodes serve: what is said to be unreached may be out of date", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-m.changed:
		}
	}
}

// Look reads who has a lease.
func (m *Missing) Look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, heldTimeout)
	defer cancel()
	held, err := m.config.Held(ctx, NodeLease)
	if err != nil {
		return err
	}
	leased := make([]string, 0, len(held))
	for _, lease := range held {
		if name := strings.TrimPrefix(lease, NodeLease); name != m.config.Bus.Self().Name {
			leased = append(leased, name)
		}
	}
	slices.Sort(leased)
	m.leased.Store(&leased)
	return nil
}
