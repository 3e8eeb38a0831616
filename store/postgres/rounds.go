package postgres

import (
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/sluicehq/sluice/store"
)

// tellPause is how often what keeps events from being sequenced is told, for as
// long as it lasts.
const tellPause = time.Minute

// rounds knows when the last one was committed, by whatever node, and why none is.
// A round moves all that can be moved, which may be nothing.
type rounds struct {
	logger *slog.Logger // immutable

	mu sync.Mutex
	// Guarded by mu.
	committed time.Time // the last one, as far as this node knows
	head      int64     // of the log, when somebody last asked whether rounds are committed
	waiting   time.Time // since when rows have been seen with no round committed; zero while there are none
	failing   time.Time // since when this node's rounds, or its sessions, fail; zero while they do not
	cause     error     // why
	lost      bool      // the session is
	telling   bool      // this was told

	// When causes were last told, by SQLSTATE or as sessionLost, for as long as that
	// counts: so there are no more of them than rounds can fail in that time.
	told map[string]time.Time
}

// sessionLost is what all causes are told as that take the session.
const sessionLost = "lost"

// succeed notes that a round was committed, or that the log needs none of this
// node. It tells that what was told is over. A session that is lost again is told
// again; rounds that are refused again, for the same reason, only after a while.
func (r *rounds) succeed(committed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if committed {
		r.committed = now
	}
	if r.failing.IsZero() {
		return
	}
	if r.telling {
		words := "events are sequenced again"
		if r.lost {
			words = "database is back"
		}
		r.logger.Info(words, "outage", now.Sub(r.failing).Round(time.Millisecond))
	}
	delete(r.told, sessionLost)
	r.failing, r.cause, r.lost, r.telling = time.Time{}, nil, false, false
}

// fail notes why events are not sequenced, and tells it, each reason once a while,
// in whatever order they come.
func (r *rounds) fail(err error, lost bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.failing.IsZero() {
		r.failing = now
	}
	r.cause, r.lost = err, lost
	words, kind := "events are not sequenced; trying until they are", code(err)
	if lost {
		words, kind = "database is lost; reconnecting until it is back", sessionLost
	}
	maps.DeleteFunc(r.told, func(_ string, at time.Time) bool { return now.Sub(at) >= tellPause })
	if _, told := r.told[kind]; told {
		return
	}
	if r.told == nil {
		r.told = map[string]time.Time{}
	}
	r.told[kind] = now
	r.telling = true
	r.logger.Error(words, "error", err, "for", now.Sub(r.failing).Round(time.Second))
}

// heard notes that another node has committed a round.
func (r *rounds) heard() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.committed = time.Now()
}

// maxQuiet is for how long no round need be committed before this node looks
// whether there is something to move, and maxStall for how long that may lie there.
var (
	maxQuiet = usualQuiet // tests change them
	maxStall = store.MaxStall
)

const usualQuiet = time.Second

// quiet takes in how far the log goes, and tells whether no round has been committed
// for a while. A node that hears of no round, behind a pooler or because the server
// takes no wake-ups, sees by the head that rows were moved, at some time since it
// last looked: those that it has seen may be among them, and it begins anew to wait.
// To look at a log for the first time tells nothing, nor does a head that falls.
func (r *rounds) quiet(head int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if head > r.head {
		r.waiting = time.Time{}
	}
	r.head = head
	if time.Since(r.committed) > maxQuiet {
		return true
	}
	r.waiting = time.Time{}
	return false
}

// saw notes whether there are rows to move, and returns for how long there have
// been with no round committed, and why as far as this node knows. Who could not
// see has seen nothing that ends the wait. Who is refused all rounds may be refused
// to see rows.
func (r *rounds) saw(rows bool, err error) (time.Duration, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	switch {
	case err == nil && !rows:
		r.waiting = time.Time{}
	case r.waiting.Before(r.committed):
		r.waiting = time.Time{}
	}
	if rows && r.waiting.IsZero() {
		r.waiting = now
	}
	var waiting time.Duration
	if !r.waiting.IsZero() {
		waiting = now.Sub(r.waiting)
	} else if !r.failing.IsZero() && !r.lost {
		waiting = now.Sub(r.failing)
	}
	return waiting, r.cause
}

// unheard is for how long no round has been heard of, if one ever was.
func (r *rounds) unheard() (d time.Duration, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Since(r.committed), !r.committed.IsZero()
}
