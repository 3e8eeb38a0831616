package socket

import (
	"strconv"
	"strings"

	"github.com/sluicehq/sluice/channels/outbound"
)

// Review judges all connections again, once something has changed that let them
// in: one that it would not let in any more is closed, and of the others every
// channel judges its client. See Config.Holds and channels.Reviewer.
func (e *Endpoint) Review() {
	for _, c := range e.snapshot() {
		if s, _ := c.about(); e.confirm(c) {
			s.review()
		}
	}
}

// Confirm is Review of connections alone, and not of their channels.
func (e *Endpoint) Confirm() {
	for _, c := range e.snapshot() {
		e.confirm(c)
	}
}

// confirm closes a connection that would not be let in any more. It is also
// asked once for a new one, and a renewed one: what let that in may have gone before
// Review could see it.
func (e *Endpoint) confirm(c connection) bool {
	s, _ := c.about()
	return s.confirm(c)
}

// confirm closes the session's connection if it would not be let in any more: its
// channels end at once, and nothing that is queued is sent.
func (s *session) confirm(c connection) bool {
	if s.config.Holds(s.current()) {
		return true
	}
	if c.shut(expired, outbound.DropClosed) {
		s.endChannels()
	}
	return false
}

// idOf names a connection that the connect hook did not name. It costs nothing
// until somebody asks, and is another after a restart and on another node.
func (e *Endpoint) idOf(serial uint64) string { return e.name + strconv.FormatUint(serial, 36) }

// serialOf is the serial number that an id was made of, 0 if it was not.
func (e *Endpoint) serialOf(id string) uint64 {
	text, ours := strings.CutPrefix(id, e.name)
	serial, err := strconv.ParseUint(text, 36, 64)
	if !ours || err != nil {
		return 0
	}
	return serial
}
