package sluice

import (
	"context"
	"fmt"
)

// part is something that runs for as long as the service does, in a goroutine
// that start begins and stop joins.
type part struct {
	name   string
	cancel context.CancelFunc
	ended  chan struct{} // closed by the goroutine when run has returned
	err    error         // what run returned; read after ended
}

// start runs a part until stop. The end of ctx does not stop it: the service
// stops its parts in an order. A part that ends by itself calls fail.
func start(ctx context.Context, name string, run func(context.Context) error, fail context.CancelCauseFunc) *part {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &part{name: name, cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		p.err = run(ctx)
		switch {
		case p.err != nil:
			p.err = fmt.Errorf("%s: %w", name, p.err)
			fail(p.err)
		case ctx.Err() == nil:
			fail(fmt.Errorf("%s: ended by itself", name))
		}
	}()
	return p
}

// stop ends the part and waits for it. Stopping a nil part, or one that has
// been stopped, does nothing.
func (p *part) stop() error {
	if p == nil {
		return nil
	}
	p.cancel()
	<-p.ended
	return p.err
}
