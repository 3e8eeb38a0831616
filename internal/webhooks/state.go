package webhooks

import (
	"context"
	"time"

	"github.com/sluicehq/sluice/store"
)

// What a node does about a webhook.
const (
	Standby  = "standby"  // another node sends, or none has begun to
	Sending  = "sending"  // this one does
	Failing  = "failing"  // this one tries, and is not answered with 2xx
	Disabled = "disabled" // it has answered 410
)

// State is how a webhook does on a node.
type State struct {
	Name         string     `json:"name"`
	State        string     `json:"state"`
	Offset       int64      `json:"offset"` // its position; 0 on a node that stands by
	Lag          int64      `json:"lag"`    // events of the log behind it, matching or not; likewise
	FailingSince *time.Time `json:"failing_since,omitempty"`
	Error        string     `json:"error,omitempty"` // of the last request that failed
}

// now is how it does.
func (s *sender) now() State {
	head := s.config.Head()
	s.mu.Lock()
	defer s.mu.Unlock()
	state := State{Name: s.hook.Name, State: s.doing, Error: s.wrong}
	if !s.since.IsZero() {
		since := s.since
		state.FailingSince = &since
	}
	if s.doing != Standby {
		state.Offset = s.reached
		state.Lag = max(0, head-s.reached)
	}
	return state
}

// note keeps what it does.
func (s *sender) note(doing string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doing = doing
	if doing != Failing {
		s.since, s.wrong = time.Time{}, ""
	}
}

// reach keeps up to where it has come.
func (s *sender) reach(offset int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reached = offset
}

// fails keeps why it fails, and since when.
func (s *sender) fails(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		s.since = time.Now()
	}
	s.doing, s.wrong = Failing, why.Error()
}

// Names in the store, beside those of store.ConsumerCursors: of the cursors that say where a
// webhook was disabled, which no node's name begins with, and of the leases of who sends.
const (
	disabledPrefix = "disabled:"
	leasePrefix    = "webhook/"
)

// Enable has a webhook that was disabled be sent to again, from where it was, and tells
// whether it was disabled.
func Enable(ctx context.Context, cursors store.Cursors, name string) (was bool, err error) {
	return cursors.DeleteCursor(ctx, disabledPrefix+name)
}
