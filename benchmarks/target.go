package benchmarks

import (
	"context"

	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// Target is a server that others run.
type Target struct {
	Endpoint Endpoint
}

// Name implements [Server].
func (t *Target) Name() string { return t.Endpoint.Sockets }

// Start implements [Server].
func (t *Target) Start(context.Context) (*Endpoint, error) {
	e := t.Endpoint
	if e.Dialect == nil {
		e.Dialect = swarm.Phoenix{}
	}
	return &e, nil
}
