package chaos

import (
	"math/rand/v2"
	"slices"
	"time"
)

// faultKind is what can go wrong.
type faultKind string

const (
	nodeKilled        faultKind = "node killed"
	nodeRestarted     faultKind = "node restarted"
	nodeHung          faultKind = "node hung"
	databaseCut       faultKind = "database connections cut"
	databaseStalled   faultKind = "database connections stalled"
	databaseRefused   faultKind = "database connections refused"
	backendTerminated faultKind = "database backend terminated"
	snapshotHeld      faultKind = "snapshot held"
	writersCut        faultKind = "writers cut"
	clientsCut        faultKind = "clients cut"
	clientsStalled    faultKind = "clients stalled"
	databaseKilled    faultKind = "database killed"
	databaseRestarted faultKind = "database restarted"
	databaseFailsOver faultKind = "database fails over to its standby"

	// Whoever is away for longer than the log is kept.
	nodeLeftBehind faultKind = "node hung for longer than the retention"
	clientsAway    faultKind = "clients away for longer than the retention"
	clientsReturn  faultKind = "all clients cut at once"
	logEmptied     faultKind = "log emptied by hand"
	logShortened   faultKind = "log's beginning removed by hand"

	// What rows are like, and what is done to them.
	rowsLarge   faultKind = "rows of a megabyte"
	rowsMany    faultKind = "many rows at once"
	rowsSlow    faultKind = "rows that take their time"
	rowsLocked  faultKind = "row locked in the outbox"
	rowsChanged faultKind = "rows changed in the outbox"
	idsCached   faultKind = "ids drawn from a cache"

	// Surroundings of the sequencer.
	logLocked      faultKind = "log locked"
	rightsRevoked  faultKind = "rights revoked"
	rowsHidden     faultKind = "rows hidden by row-level security"
	serverReadOnly faultKind = "server read-only"
	notifiesHeld   faultKind = "notifications held up"
	standbyLags    faultKind = "standby lags while the primary refuses"

	// What strikes a cluster.
	busCut        faultKind = "bus cut between nodes"
	busStalled    faultKind = "bus stalled between nodes"
	busAway       faultKind = "bus away"
	nodeAlone     faultKind = "node cut off from bus and database"
	nodesRolled   faultKind = "nodes restarted one after the other"
	leadersKilled faultKind = "leaders killed one after the other"
	leaderHung    faultKind = "leader hung"

	// What is the embedded store's alone.
	fileLocked   faultKind = "embedded store's file locked"
	topicsErased faultKind = "topics erased"
)

// Bounds of what the plan draws.
const (
	shortest, longest = 50 * time.Millisecond, 1500 * time.Millisecond // that a fault lasts
	soonest, latest   = 20, 600                                        // events committed between two faults, unless Spacing says otherwise
	stallLonger       = 3                                              // that clients stall, times as long: their mailboxes have to fill
)

// outsideFaults need nothing but the database's URL, ownFaults a server that
// is the run's own.
var (
	outsideFaults = []faultKind{
		nodeKilled, nodeRestarted, nodeHung, databaseCut, databaseStalled, databaseRefused, backendTerminated,
		snapshotHeld, writersCut, clientsCut, clientsStalled,
		nodeLeftBehind, clientsAway, clientsReturn, logEmptied, logShortened,
		rowsLarge, rowsMany, rowsSlow, rowsLocked, rowsChanged, idsCached, logLocked,
	}
	ownFaults = []faultKind{
		databaseKilled, databaseRestarted, databaseFailsOver,
		rightsRevoked, rowsHidden, serverReadOnly, notifiesHeld, standbyLags,
	}
)

// Kinds is how many kinds of faults strike a database of the run's own, and nodes that
// share nothing else.
var Kinds = len(outsideFaults) + len(ownFaults)

// fault is one of the plan.
type fault struct {
	kind  faultKind
	after int64         // events committed since the fault before
	lasts time.Duration // for those that last
	whom  uint64        // a node, a backend or clients: what it means is the fault's business
}

// plan deals faults without end: each kind once, then each kind once more, in
// an order that its seed decides.
type plan struct {
	random *rand.Rand
	kinds  []faultKind
	deck   []faultKind // what is left of this round
	latest int64       // how many events are committed between two faults, at most
}

// nodeAndClientFaults are those that are the same on any store.
var nodeAndClientFaults = []faultKind{
	nodeKilled, nodeRestarted, nodeHung, nodeLeftBehind, clientsCut, clientsStalled, clientsAway, clientsReturn,
}

// kinds are the faults of a run: those that its store and its nodes are open to, and of
// them the ones that were asked for.
func (c *Chaos) kinds() (kinds []faultKind) {
	kinds = outsideFaults
	switch {
	case c.Embedded:
		kinds = embeddedFaults
	case c.DatabaseURL == "":
		kinds = slices.Concat(outsideFaults, ownFaults)
	}
	if c.clustered() {
		kinds = slices.Concat(kinds, clusterFaults)
	}
	if len(c.Only) == 0 {
		return kinds
	}
	return slices.DeleteFunc(slices.Clone(kinds), func(kind faultKind) bool { return !slices.Contains(c.Only, string(kind)) })
}

func newPlan(seed uint64, kinds []faultKind, spared ...string) *plan {
	p := &plan{random: rand.New(rand.NewPCG(seed, 0)), kinds: slices.Clone(kinds), latest: latest}
	p.kinds = slices.DeleteFunc(p.kinds, func(kind faultKind) bool { return slices.Contains(spared, string(kind)) })
	return p
}

func (p *plan) next() fault {
	if len(p.deck) == 0 {
		p.deck = append(p.deck, p.kinds...)
		p.random.Shuffle(len(p.deck), func(i, j int) { p.deck[i], p.deck[j] = p.deck[j], p.deck[i] })
	}
	f := fault{
		kind:  p.deck[0],
		after: soonest + p.random.Int64N(latest-soonest)*(p.latest-soonest)/(latest-soonest), // so that the rest does not depend on it
		lasts: shortest + time.Duration(p.random.Int64N(int64(longest-shortest))),
		whom:  p.random.Uint64(),
	}
	p.deck = p.deck[1:]
	return f
}
