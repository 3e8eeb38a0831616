package target

import (
	"context"

	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// Remote is a server that others run.
type Remote struct {
	Endpoint Endpoint
}

// Name implements [Server].
func (t *Remote) Name() string { return t.Endpoint.Sockets }

// Start implements [Server].
func (t *Remote) Start(context.Context) (*Endpoint, error) {
	e := t.Endpoint
	if e.Dialect == nil {
		e.Dialect = swarm.Phoenix{}
	}
	return &e, nil
}
