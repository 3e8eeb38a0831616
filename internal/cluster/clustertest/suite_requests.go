package clustertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/internal/cluster"
)

func echo(_ context.Context, m cluster.Message) ([]byte, error) { return m.Data, nil }

// answering has a node answer in several ways.
func answering(bus cluster.Bus) {
	bus.Answer("echo", echo)
	bus.Answer("who", func(_ context.Context, m cluster.Message) ([]byte, error) {
		return []byte(m.From + " asks " + bus.Self().Name), nil
	})
	bus.Answer("fail", func(context.Context, cluster.Message) ([]byte, error) { return nil, errors.New("no more paper") })
	bus.Answer("boast", func(context.Context, cluster.Message) ([]byte, error) {
		return make([]byte, cluster.MaxData+1), nil
	})
}

func testRequestsAreAnswered(t *testing.T, h Harness) {
	a, b, c := three(t, h, answering)
	var all sync.WaitGroup
	for i := range 100 { // at once, each with its own answer
		all.Go(func() {
			text := fmt.Sprint("x", i)
			to := []*member{b, c}[i%2]
			if answer, err := ask(t, h, a, to.Self().ID, "echo", []byte(text)); err != nil || string(answer) != text {
				t.Errorf("%s: %q, %v", text, answer, err)
			}
		})
	}
	all.Wait()
	if answer, err := ask(t, h, b, c.Self().ID, "who", nil); err != nil || string(answer) != b.Self().ID+" asks c" {
		t.Errorf("who: %q, %v", answer, err)
	}
	for kind, text := range map[string]string{"fail": "no more paper", "nothing": "nothing", "boast": cluster.ErrTooLarge.Error()} {
		_, err := ask(t, h, a, b.Self().ID, kind, nil)
		remote := new(cluster.RemoteError)
		if !errors.As(err, &remote) || remote.Node != "b" || !strings.Contains(remote.Text, text) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	for _, id := range []string{"", "x", strings.Repeat("f", 16), a.Self().ID, strings.ToUpper(b.Self().ID) + "0"} {
		if _, err := a.Request(t.Context(), id, "echo", nil); !errors.Is(err, cluster.ErrUnknownNode) {
			t.Errorf("asked node %q: %v", id, err)
		}
	}
}

// testRequestsEnd has whoever asks give up, and the node that was asked leave.
func testRequestsEnd(t *testing.T, h Harness) {
	began, ended := make(chan struct{}, 100), make(chan struct{}, 100)
	a, b, _ := three(t, h, func(bus cluster.Bus) {
		bus.Answer("wait", func(ctx context.Context, _ cluster.Message) ([]byte, error) {
			began <- struct{}{}
			<-ctx.Done()
			ended <- struct{}{}
			return nil, ctx.Err()
		})
	})
	// wait asks until it is known to be handled, and returns what it ended with.
	wait := func(ctx context.Context) <-chan error {
		t.Helper()
		outcome := make(chan error, 1)
		for start := time.Now(); ; {
			if time.Since(start) > patience {
				t.Fatal("the request is not handled")
			}
			attempt, cancel := context.WithCancel(ctx)
			go func() {
				defer cancel()
				_, err := a.Request(attempt, b.Self().ID, "wait", nil)
				select {
				case outcome <- err:
				default:
				}
			}()
			limit := patience
			if h.Lossy {
				limit = time.Second
			}
			select {
			case <-began:
				return outcome
			case <-outcome: // b was not heard, for a moment
				<-time.After(again)
			case <-time.After(limit):
				if !h.Lossy {
					t.Fatal("the request did not come")
				}
				cancel()
				<-outcome
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	outcome := wait(ctx)
	cancel()
	if err := <-outcome; !errors.Is(err, context.Canceled) {
		t.Errorf("who gives up hears %v", err)
	}
	if !h.Lossy {
		<-ended // the handler has been told
	}
	outcome = wait(t.Context())
	b.stop()
	if err := <-outcome; !errors.Is(err, cluster.ErrUnknownNode) && !isRemote(err) {
		t.Errorf("who asks a node that leaves hears %v", err)
	}
}

func isRemote(err error) bool {
	remote := new(cluster.RemoteError)
	return errors.As(err, &remote)
}

// testAllAreAsked has one node not answer in time.
func testAllAreAsked(t *testing.T, h Harness) {
	over := make(chan struct{})
	defer close(over)
	a, b, c := three(t, h, func(bus cluster.Bus) {
		answering(bus)
		bus.Answer("slow", func(_ context.Context, m cluster.Message) ([]byte, error) {
			if bus.Self().Name == "c" {
				<-over
			}
			return m.Data, nil
		})
	})
	eventually(t, "both have answered", func() bool {
		limit := patience / 2
		if h.Lossy {
			limit = time.Second
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		replies := a.RequestAll(ctx, "who", nil)
		if len(replies) < 2 {
			return false // one is not heard, for a moment
		}
		if len(replies) > 2 || replies[0].Node.Name != "b" || replies[1].Node.ID != c.Self().ID {
			t.Fatalf("asked all: %+v", replies)
		}
		for _, r := range replies {
			if want := a.Self().ID + " asks " + r.Node.Name; r.Err == nil && string(r.Data) != want {
				t.Errorf("%s has answered %q", r.Node.Name, r.Data)
			}
		}
		return replies[0].Err == nil && replies[1].Err == nil
	})
	eventually(t, "one has answered, and one has not", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		replies := a.RequestAll(ctx, "slow", []byte("x"))
		if len(replies) < 2 {
			return false
		}
		if replies[1].Err == nil || isRemote(replies[1].Err) || replies[1].Data != nil {
			t.Errorf("c has answered %+v", replies[1])
		}
		return replies[0].Err == nil && string(replies[0].Data) == "x" && errors.Is(replies[1].Err, context.DeadlineExceeded)
	})
	if h.Lossy {
		return
	}
	eventually(t, "all fail", func() bool {
		replies := b.RequestAll(t.Context(), "fail", nil)
		return len(replies) == 2 && isRemote(replies[0].Err) && isRemote(replies[1].Err)
	})
}
