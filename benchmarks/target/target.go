package target

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// Server is what a scenario measures: [InProcess], [Sluice] as a process of its
// own, any [Child] that takes the same events, or a [Target] that others run.
type Server interface {
	// Name is what results call it.
	Name() string
	// Start brings the server up, and returns when it is ready.
	Start(ctx context.Context) (*Endpoint, error)
}

// Endpoint is where a server that runs is reached.
type Endpoint struct {
	Sockets string // ws://host:port
	Admin   string // http://host:port; empty if it has no such listener
	Token   string // bearer token of the admin listener; empty: none
	// Database is the Postgres whose outbox the server reads, as an URL or in
	// keywords. Empty: rows cannot be inserted.
	Database string
	// PID is the process to be measured. 0: it is unknown, or elsewhere.
	PID int
	// Dialect is what its clients speak.
	Dialect swarm.Dialect

	stop func() error // drains the server and removes what was made for it
}

// NewEndpoint is for servers of other packages; stop may be nil.
func NewEndpoint(e Endpoint, stop func() error) *Endpoint {
	e.stop = stop
	return &e
}

// Stop ends a server that was started for the run. Clients that are connected
// get what is queued for them first.
func (e *Endpoint) Stop() error {
	if e.stop == nil {
		return nil
	}
	return e.stop()
}

// Way is how events are published.
type Way string

// Ways to publish.
const (
	Broadcast Way = "broadcast" // POST /api/broadcast: to whoever is joined, not logged
	Append    Way = "events"    // POST /api/events: appended to the log
	Insert    Way = "sql"       // rows, inserted into the outbox in Postgres
)

// Ways lists them.
func Ways() []Way { return []Way{Broadcast, Append, Insert} }

// Publisher connects to a server.
func (e *Endpoint) Publisher(ctx context.Context, way Way, load swarm.Load, prefix string) (swarm.Publisher, error) {
	if way == Insert {
		if e.Database == "" {
			return nil, errors.New("benchmarks: rows are inserted into Postgres, and there is none: give --database-url, or publish by events")
		}
		return NewInserter(ctx, e.Database, load, prefix)
	}
	if e.Admin == "" {
		return nil, errors.New("benchmarks: the target's admin listener is not known: give --admin-url")
	}
	return &swarm.Poster{URL: e.Admin + "/api/" + string(way), Token: e.Token, Load: load, Prefix: prefix}, nil
}

// SharesProcess tells whether clients and server share a process.
func (e *Endpoint) SharesProcess() bool { return e.PID == os.Getpid() }

// Goroutines is how many a server says that it has; 0 if it doesn't.
func (e *Endpoint) Goroutines(ctx context.Context) (n int64) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.Admin+"/metrics", nil)
	if err != nil || e.Admin == "" {
		return 0
	}
	if e.Token != "" {
		request.Header.Set("Authorization", "Bearer "+e.Token)
	}
	answer, err := asking.Do(request)
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if value, found := strings.CutPrefix(lines.Text(), "go_goroutines "); found {
			if _, err := fmt.Sscan(value, &n); err == nil {
				return n
			}
		}
	}
	return 0
}
