package postgres

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestWaitsAreAsLongAsWakeUpsAreProven tells for how long a reader waits where nothing comes.
func TestWaitsAreAsLongAsWakeUpsAreProven(t *testing.T) {
	t.Parallel()
	const poll = 100 * time.Millisecond
	for _, test := range []struct {
		name    string
		prepare func(*Log)
		during  func(*Log) // at the same time
		want    time.Duration
	}{
		{"not proven", func(*Log) {}, nil, poll},
		{"proven", listens, nil, readerRest},
		{"heard nothing", func(l *Log) { l.wakeUps.asked(true) }, nil, poll},
		{"the trigger is disabled", func(l *Log) { listens(l); l.wakeUps.asked(false) }, nil, poll},
		{"rows came without", func(l *Log) { listens(l); l.wakeUps.distrust(time.Now()) }, nil, poll},
		{"long ago", func(l *Log) { listens(l); time.Sleep(proofAge) }, nil, poll},
		{"no rests", func(l *Log) { listens(l); l.rest = 0 }, nil, poll},
		{"the head is asked for", listens, func(l *Log) {
			for range 3 {
				time.Sleep(time.Second)
				l.asked.Store(int64(l.now()))
			}
		}, 3*time.Second + readerRest},
		{"the session is lost", listens, func(l *Log) { time.Sleep(poll * 5 / 2); l.wakeUps.end() }, 3 * poll},
		{"an event comes", listens, func(l *Log) { time.Sleep(poll / 2); l.head.Advance(8) }, poll / 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := &Log{opened: time.Now(), poll: poll, rest: usualRest}
				l.head.Advance(7)
				test.prepare(l)
				began := time.Now()
				if test.during != nil {
					go test.during(l)
				}
				if err := l.Wait(t.Context(), 7); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took < test.want || took >= test.want+poll {
					t.Errorf("waited %v, want %v", took, test.want)
				}
			})
		})
	}
}

func listens(l *Log) {
	l.wakeUps.asked(true)
	l.wakeUps.hear()
}

// TestWhoMayRest tells of sessions when they have last heard of rows, and who had something
// to commit.
func TestWhoMayRest(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, test := range []struct {
		name string
		s    session
		want bool
	}{
		{"a leader that has looked since", session{leads: true, restful: restfulness{sign: ago(2), clear: ago(1)}}, true},
		{"a leader that has not", session{leads: true, restful: restfulness{sign: ago(1), clear: ago(2)}}, false},
		{"a leader whose writers never end", session{leads: true, restful: restfulness{sign: ago(time.Hour)}}, false},
		{"a row is locked", session{leads: true, restful: restfulness{sign: ago(2), clear: ago(1)}, held: held{id: 7}}, false},
		{"wake-ups are held back", session{leads: true, restful: restfulness{sign: ago(2), clear: ago(1)}, held: held{look: hushedPoll}}, false},
		{"wake-ups are not sent", session{leads: true, restful: restfulness{sign: ago(2), clear: ago(1)}, quiet: true}, false},
		{"another, of which nothing was heard", session{}, true},
		{"another, just after rows were moved", session{restful: restfulness{sign: ago(settling / 2)}}, false},
		{"another, later", session{restful: restfulness{sign: ago(settling)}}, true},
		{"another, of rows that nobody moves", session{restful: restfulness{sign: ago(settling), unanswered: true}}, false},
		{"another, of rows that nobody ever moves", session{restful: restfulness{sign: ago(unsettled), unanswered: true}}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, proven := range []bool{true, false} {
				s := test.s
				s.log = &Log{rest: usualRest}
				if proven {
					listens(s.log)
				}
				if got := s.mayRest(now); got != (test.want && proven) {
					t.Errorf("proven: %v; may rest: %v", proven, got)
				}
			}
		})
	}
}
