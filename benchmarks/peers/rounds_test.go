package main

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/benchmarks/target"
)

// absent is a server that does not start, and says so to who counts.
type absent struct {
	name  string
	asked *[]string
}

func (a absent) Name() string { return a.name }

func (a absent) Start(context.Context) (*target.Endpoint, error) {
	*a.asked = append(*a.asked, a.name)
	return nil, errors.New("no " + a.name + " today")
}

func TestTurns(t *testing.T) {
	t.Parallel()
	var asked []string
	r := &rounds{count: 2, size: &size{length: 1}, show: &progress{out: io.Discard}}
	for _, name := range []string{"a", "b"} {
		r.servers = append(r.servers, &contender{Name: name, loud: name == "b", server: func(*built) target.Server {
			return absent{name, &asked}
		}})
	}
	var err error
	if r.trials, err = chooseTrials([]string{"fanout", "idle"}); err != nil {
		t.Fatal(err)
	}
	all, err := r.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "b", "a", "b", "a", "a"}; !slices.Equal(asked, want) {
		t.Errorf("the servers came as %q, want %q: turns, the second round in reverse, and who is loud not where it is quiet", asked, want)
	}
	for i := range all {
		if o := &all[i]; !strings.Contains(o.Failed, "no "+o.Server+" today") {
			t.Errorf("%s in %s failed by %q", o.Server, o.Trial, o.Failed)
		}
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if _, err := r.run(stopped); !errors.Is(err, context.Canceled) {
		t.Errorf("rounds that were interrupted: %v", err)
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	p := &progress{out: &out, terminal: true}
	p.begin("1 of 2: fanout")
	p.tell("deliveries", 20_000, 100_000)
	p.last = p.last.Add(time.Hour)
	p.tell("deliveries", 20_001, 100_000) // too soon to be shown
	p.end()
	if want := "\r\033[K1 of 2: fanout\r\033[K1 of 2: fanout: deliveries 20.0 k of 100 k\r\033[K"; out.String() != want {
		t.Errorf("a terminal is told %q, want %q", out.String(), want)
	}
	out.Reset()
	p = &progress{out: &out}
	p.begin("1 of 2: fanout")
	p.tell("deliveries", 1, 2)
	p.end()
	if out.String() != "1 of 2: fanout\n" {
		t.Errorf("a file is told %q", out.String())
	}
}
