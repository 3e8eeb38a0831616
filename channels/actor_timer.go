package channels

import "time"

// Send sends the channel a message, which its HandleInfo gets in turn. It
// returns ErrOverloaded if too many are waiting already, and ErrClosed if the
// channel has ended.
func (c *Context) Send(message any) error {
	return c.actor.post(task{kind: toSelf, message: message})
}

// SendAfter sends the channel a message after some time. Timers end with the
// channel. It returns ErrOverloaded if the channel has too many of them.
func (c *Context) SendAfter(d time.Duration, message any) (*Timer, error) {
	return c.actor.newTimer(d, 0, message)
}

// Every sends the channel a message at intervals, the first after one interval.
// If the last one has not been handled yet, the next is left out.
func (c *Context) Every(interval time.Duration, message any) (*Timer, error) {
	return c.actor.newTimer(interval, interval, message)
}

// Timer is a message that is going to be sent.
type Timer struct {
	actor    *Actor
	message  any
	interval time.Duration // 0: once
	timer    *time.Timer

	pending bool // the message is in the inbox; guarded by actor.mu
}

func (a *Actor) newTimer(d, interval time.Duration, message any) (*Timer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	x := a.rareState()
	switch {
	case a.over:
		return nil, ErrClosed
	case len(x.timers) >= InboxSize:
		return nil, ErrOverloaded
	}
	t := &Timer{actor: a, message: message, interval: interval}
	t.timer = time.AfterFunc(d, t.fire)
	if x.timers == nil {
		x.timers = make(map[*Timer]struct{})
	}
	x.timers[t] = struct{}{}
	return t, nil
}

// Stop keeps a message that has not been sent yet from being sent.
func (t *Timer) Stop() {
	t.actor.mu.Lock()
	defer t.actor.mu.Unlock()
	t.timer.Stop()
	delete(t.actor.rare.timers, t)
}

// fire queues the message. It waits for nothing, and starts the actor if need
// be.
func (t *Timer) fire() {
	a := t.actor
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, live := a.rare.timers[t]; !live {
		return
	}
	if t.interval > 0 {
		t.timer.Reset(t.interval)
	}
	if t.pending {
		return
	}
	t.pending = true
	a.inbox = append(a.inbox, task{kind: toSelf, message: t.message, timer: t})
	a.waiting[toSelf]++
	a.start()
}

// taken notes that the message has left the inbox. Called with actor.mu held.
func (t *Timer) taken() {
	t.pending = false
	if t.interval == 0 {
		delete(t.actor.rare.timers, t)
	}
}

// inform hands the channel a message of its own.
func (a *Actor) inform(message any) {
	handler, ok := a.channel.(InfoHandler)
	if !ok {
		return
	}
	var result Result
	err := a.guard(func() { result = handler.HandleInfo(&a.ctx, message) })
	a.conclude(err, result, "info")
}
