package swarm

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Window is the way of a load's first events to all clients. It is announced before
// they are published: each client that is due some of them since the window before
// tells when it has them all.
type Window struct {
	events int64 // all events up to here
	// done is closed by the reader whose client was the last one, or by the
	// announcer if nobody is due anything.
	done chan struct{}
	left atomic.Int64 // clients that have not got there
	at   atomic.Int64 // when the last one did, Unix nanoseconds
}

// Done is closed when all clients have everything.
func (w *Window) Done() <-chan struct{} { return w.done }

// At is when the last client had everything. Call it when Done is closed.
func (w *Window) At() time.Time { return time.Unix(0, w.at.Load()) }

// Events is how many events, of all since the swarm was opened, the window ends with.
func (w *Window) Events() int64 { return w.events }

func (w *Window) pass(now int64) {
	if w.left.Add(-1) == 0 {
		w.at.Store(now)
		close(w.done)
	}
}

// windows are all that were announced. One goroutine at a time announces, while
// readers look.
type windows struct {
	mu   sync.Mutex // held by who announces
	list atomic.Pointer[[]*Window]
}

func (w *windows) announced() []*Window {
	if list := w.list.Load(); list != nil {
		return *list
	}
	return nil
}

func (w *windows) add(window *Window) {
	list := append(w.announced(), window) // beyond the length that readers know, if in place
	w.list.Store(&list)
}

// Announce adds a window of so many more events. Publish them only afterwards.
func (s *Swarm) Announce(events int64) *Window {
	s.windows.mu.Lock()
	defer s.windows.mu.Unlock()
	before := int64(0)
	if list := s.windows.announced(); len(list) > 0 {
		before = list[len(list)-1].events
	}
	window := &Window{events: before + events, done: make(chan struct{})}
	due := s.runners(before, window.events)
	window.left.Store(due)
	if due == 0 {
		window.at.Store(time.Now().UnixNano())
		close(window.done)
	}
	s.windows.add(window)
	return window
}

// runners is how many clients are due something between two numbers of events.
func (s *Swarm) runners(from, to int64) (n int64) {
	if to-from >= int64(s.config.Load.Topics) {
		return int64(len(s.clients) - s.config.Apart)
	}
	for _, c := range s.clients {
		if !c.apart && s.due(c, to) > s.due(c, from) {
			n++
		}
	}
	return n
}

// due is how many of the first events a client is due.
func (s *Swarm) due(c *client, events int64) (n int64) {
	for _, topic := range c.topics {
		n += s.config.Load.Share(int(topic), events)
	}
	return n
}

// arrivedAt notes how far a client has come. It is called by the client's reader
// after each read that brought something.
func (s *Swarm) arrivedAt(c *client, now int64) {
	list := s.windows.announced()
	for int(c.window) < len(list) {
		window := list[c.window]
		if c.goal < 0 {
			c.goal = s.due(c, window.events)
		}
		if c.arrived < c.goal {
			return
		}
		if c.goal > c.passed {
			window.pass(now)
		}
		c.passed, c.goal = c.goal, -1
		c.window++
	}
}

// Await waits until all clients have a window's events: then it is complete. It
// gives up once nothing has arrived for the patience given, or no client is
// left; what is missing then is lost, and no later window can be complete. tell, if
// there is one, is told a few times a second how many deliveries there were. An
// error is ctx's.
func (s *Swarm) Await(ctx context.Context, window *Window, patience time.Duration, tell func(arrived int64)) (complete bool, err error) {
	select { // without a timer, as closed loops wait for every event
	case <-window.done:
		return true, nil
	default:
	}
	look := time.NewTicker(glance)
	defer look.Stop()
	seen, moved := s.Arrived(), time.Now()
	for {
		select {
		case <-window.done:
			return true, nil
		case <-ctx.Done():
			return false, ctx.Err()
		case now := <-look.C:
			arrived := s.Arrived()
			if arrived > seen {
				seen, moved = arrived, now
			}
			if tell != nil {
				tell(arrived)
			}
			if now.Sub(moved) > patience || s.alive.Load() == 0 {
				return false, nil
			}
		}
	}
}

// glance is how often a swarm looks whether anything arrives.
const glance = 200 * time.Millisecond
