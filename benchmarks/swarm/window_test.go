package swarm

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"
)

func isDone(w *Window) bool {
	select {
	case <-w.Done():
		return true
	default:
		return false
	}
}

// A window is done when the last client that is due something has it, and not before.
func TestWindows(t *testing.T) {
	t.Parallel()
	load := Load{Topics: 2, Sockets: 4}
	r := bare(t, load)
	s := r.swarm
	give := func(client int, number int64) {
		t.Helper()
		if _, err := r.receive(s.clients[client], event(load, client%2, number, 0), 5); err != nil {
			t.Fatal(err)
		}
	}
	if window := s.Announce(0); !isDone(window) {
		t.Error("nothing is due, and it is not done")
	}
	first, second := s.Announce(1), s.Announce(2) // event 0 of topic 0; event 0 of topic 1 and event 1 of topic 0
	give(0, 0)
	give(0, 1) // ahead
	give(1, 0) // of the other topic
	if isDone(first) {
		t.Error("done before client 2 has it")
	}
	give(2, 0)
	if !isDone(first) || isDone(second) || first.At().UnixNano() != 5 || first.Events() != 1 {
		t.Errorf("first done: %v, second: %v", isDone(first), isDone(second))
	}
	give(3, 0)
	give(2, 1)
	if !isDone(second) || second.Events() != 3 {
		t.Error("all have all, and it is not done")
	}
	third := s.Announce(1) // event 1 of topic 1
	give(1, 1)
	give(1, 1) // twice is not two
	if isDone(third) {
		t.Error("done before client 3 has it")
	}
	give(3, 1)
	if !isDone(third) {
		t.Error("all have all, and it is not done")
	}
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	server := (&script{}).serve(t)
	s := open(t, server.config(1))
	ctx, cancel := context.WithCancel(t.Context())
	told := 0
	complete, err := s.Await(ctx, s.Announce(1), never, func(int64) {
		told++
		cancel()
	})
	if complete || !errors.Is(err, context.Canceled) || told == 0 {
		t.Errorf("complete: %v, %v, told %d times", complete, err, told)
	}
	closeSwarm(t, s)
}

// No window waits for clients that are apart. One that is paused reads nothing,
// and everything once it is resumed.
func TestClientsApart(t *testing.T) {
	t.Parallel()
	load := Load{Topics: 1, Sockets: 2, Payload: 100}
	begin := make(chan struct{}) // closed below, for all connections
	server := (&script{then: func(t *testing.T, conn net.Conn) {
		<-begin
		if _, err := conn.Write(event(load, 0, 0, 0)); err != nil {
			t.Error(err)
		}
	}}).serve(t)
	config := server.config(2)
	config.Apart = 1
	s := open(t, config)
	if err := s.Pause(1); err != nil {
		t.Fatal(err)
	}
	window := s.Announce(1)
	close(begin)
	if complete, err := s.Await(t.Context(), window, never, nil); err != nil || !complete {
		t.Errorf("complete: %v, %v", complete, err)
	}
	if n := s.Arrivals(1); n != 0 {
		t.Errorf("the client that is paused has %d events", n)
	}
	if err := s.Resume(1); err != nil {
		t.Fatal(err)
	}
	for s.Arrivals(1) == 0 {
		<-time.After(time.Millisecond)
	}
	closeSwarm(t, s)
	if tally := s.Tally(); !tally.Sound() || tally.Deliveries != 2 || tally.Joins.Samples != 2 || tally.First.IsZero() || tally.Last.Before(tally.First) {
		t.Errorf("%+v", tally)
	}
}
