package channels

import "context"

// extras is what few channels have. The actor's mutex guards it.
type extras struct {
	timers map[*Timer]struct{} // nil until there was one
	asyncs int                 // functions that Async runs
	done   context.Context     // nil until somebody asks for it
	cancel context.CancelFunc
}

func (a *Actor) context() context.Context {
	a.mu.Lock()
	defer a.mu.Unlock()
	x := a.more()
	if x.done == nil {
		x.done, x.cancel = context.WithCancel(a.base)
		if a.over {
			x.cancel()
		}
	}
	return x.done
}

// more is the actor's extras, from now on. Called with mu held.
func (a *Actor) more() *extras {
	if a.extras == nil {
		a.extras = new(extras)
	}
	return a.extras
}

// end stops what is under way.
func (x *extras) end() {
	for t := range x.timers {
		t.timer.Stop()
	}
	x.timers = nil
	if x.cancel != nil {
		x.cancel()
	}
}
