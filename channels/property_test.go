package channels

import (
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/channels/outbound"
)

// TestWhateverHappens plays everything that can happen to a topic's events and to
// those who watch it, in any order: see the model's commands. Whatever happens, each
// client gets what its join promised, once and in order, or is told that it does not;
// nobody waits for ever, no worker turns in place, every message is in one counter,
// and nothing is left at the end.
//
// For long: go test -race -run TestWhateverHappens -rapid.checks 20000 ./channels
func TestWhateverHappens(t *testing.T) {
	t.Parallel()
	for name, memory := range map[string]memorySizes{
		"nothing is remembered": {0, 0, 0},
		"little is remembered":  {1000, 3000, 300},
		"all is remembered":     {1 << 20, 1 << 20, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(r *rapid.T) {
				inBubble(t, r, func() {
					m := newModel(r, memory)
					defer m.stop()
					m.play(r)
					m.finish()
				})
			})
		})
	}
}

// memorySizes bound what a model remembers, drawn between least and most, and what
// replays may have under way; 0 for what is the default.
type memorySizes struct{ least, most, replays int }

// inBubble runs f in a bubble, and takes a panic, by which rapid ends a check too, out
// of it.
func inBubble(t *testing.T, r *rapid.T, f func()) {
	var panicked any
	synctest.Test(t, func(*testing.T) {
		defer func() { panicked = recover() }()
		f()
	})
	if found, ok := panicked.(fault); ok {
		r.Fatal(string(found))
	}
	if panicked != nil {
		panic(panicked)
	}
}

// play draws commands, and checks after each what can be known then.
func (m *model) play(r *rapid.T) {
	commands := map[string]func(*rapid.T){
		// The line, a step at a time, or all steps of one page.
		"append":  func(r *rapid.T) { m.append(r) },
		"fetch":   func(r *rapid.T) { m.fetch(rapid.IntRange(1, 30).Draw(r, "events")) },
		"encode":  func(r *rapid.T) { m.lane(r).encode(rapid.IntRange(1, 10).Draw(r, "events")) },
		"route":   func(r *rapid.T) { m.lane(r).route() },
		"publish": func(r *rapid.T) { m.append(r); m.publish() },
		"burst":   m.burst,

		// What happens to the log.
		"trim":    m.trim,
		"erase":   m.erase,
		"trouble": func(r *rapid.T) { m.log.trouble(r) },

		// The clients.
		"join":      m.join,
		"come back": m.comeBack,
		"read":      m.read,
		"channel":   m.channelCommand,
		"hang up":   m.hangUp,
		"swap":      m.comeAndGo,
		"broadcast": m.broadcast,
		"positions": m.positions,

		"time passes": func(r *rapid.T) {
			time.Sleep(rapid.SampledFrom([]time.Duration{time.Millisecond, 30 * time.Millisecond, replayPause, 2 * replayPatience}).Draw(r, "time")) // of the test's own clock
		},
		"settle": func(*rapid.T) { m.settle() },
	}
	// What the rest depends on comes more often.
	for name, more := range map[string]int{"publish": 3, "join": 2, "come back": 2, "read": 1, "burst": 2, "encode": 1, "route": 1} {
		for i := range more {
			commands[name+string(rune('2'+i))] = commands[name]
		}
	}
	for _, name := range slices.Sorted(maps.Keys(commands)) {
		do := commands[name]
		commands[name] = func(r *rapid.T) {
			m.newStep()
			do(r)
			m.attend()
		}
	}
	commands[""] = func(*rapid.T) { m.check() }
	for range 3 {
		r.Repeat(commands)
	}
}

// settle has the log answer again, brings to clients all that there is, and checks
// that each that reads has got it, but for those that collect for longer.
func (m *model) settle() {
	m.log.heal()
	m.publish()
	m.rest()
	for _, w := range m.watching() {
		if w.conn.eager && !w.conn.slow() && w.delivery.FlushInterval <= time.Second {
			w.checkComplete()
		}
	}
}

// rest lets time pass until nothing has come to anybody for longer than a client may
// hold others up who are behind.
func (m *model) rest() {
	const tick = 150 * time.Millisecond
	for quiet := time.Duration(0); quiet <= replayPatience+replayDeadline; quiet += tick {
		before := m.progress()
		time.Sleep(tick) // of the test's own clock
		m.attend()
		if m.progress() != before {
			quiet = 0
			m.newStep()
		}
		m.check()
	}
}

// finish has everybody read to the end, checks that all have all, and ends
// everything.
func (m *model) finish() {
	m.newStep()
	m.finishing = true
	m.settle()
	// What a channel is behind with may come to it after others have been collected, and
	// then is collected itself: as long as there is something, there may be more.
	for before := -1; before != m.progress(); {
		before = m.progress()
		time.Sleep(2 * collectLong) // of the test's own clock
		m.rest()
	}
	for _, w := range m.watching() {
		w.checkComplete()
		if boxOf(w.actor).catchingUp {
			m.fail("%s has all and is still behind", w)
		}
	}
	m.check()
	for _, c := range m.conns {
		c.hangUp(outbound.DropClosed)
	}
	for _, c := range m.conns {
		c.group.Wait()
		c.checkLeft()
	}
	for _, w := range m.joins {
		w.checkAccount()
	}
	m.checkLeft()
	m.check()
}
