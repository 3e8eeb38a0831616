package benchmarks

import (
	"context"
	"errors"
	"time"

	"github.com/sluicehq/sluice"
)

// measure runs a node with an audience, has insert give them something to
// see, and sums up once it has arrived and the node has been drained.
func measure(ctx context.Context, config sluice.Config, a *audience, progress Progress, insert func(context.Context, *node) error) (r Result, err error) {
	if err := a.load.validate(); err != nil {
		return r, err
	}
	n, err := startNode(ctx, config, a.load, a.events)
	if err != nil {
		return r, err
	}
	defer client.CloseIdleConnections()
	if err := a.gather(ctx, n.public); err != nil {
		return r, errors.Join(err, n.stop())
	}
	progress.tell("sockets", int64(a.load.Sockets), int64(a.load.Sockets))
	before := cpuTime()
	err = insert(ctx, n)
	inserted := time.Now()
	if err == nil {
		err = a.await(ctx, progress)
	}
	used := cpuTime() - before
	err = errors.Join(err, n.stop()) // the sockets are closed behind what is queued
	a.leave()
	if err != nil {
		return r, err
	}
	r = a.report(inserted)
	r.CPUSeconds = used.Seconds()
	return r, nil
}

// maxInserters bounds the connections that insert at the same time.
const maxInserters = 8
