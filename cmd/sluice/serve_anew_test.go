package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/sluicehq/sluice"
)

// A service that begins anew outlives what is not as it must be at that moment;
// what a first start fails with ends it.
func TestStartAnew(t *testing.T) {
	t.Parallel()
	for start, want := range map[string]string{"17": "committed", "0": "committed", "committed": "committed", "head": "head", "earliest": "earliest"} {
		if got := startAnew(start); got != want {
			t.Errorf("after --start %s, %s; want %s", start, got, want)
		}
	}
}

func TestBeginningAnewIsTriedAgain(t *testing.T) {
	t.Parallel()
	newEpoch := fmt.Errorf("serve: %w", sluice.ErrNewEpoch)
	taken := fmt.Errorf("serve: %w", sluice.ErrNodeTaken)
	lacks := errors.New("a right is missing")
	for name, test := range map[string]struct {
		runs []error // what they end with, in turn
		next error
		stop int // the run during which the process is asked to end; 0: none
		want error
		all  bool // all of the runs are made
	}{
		"ends in peace":               {runs: []error{nil}, all: true},
		"fails at first":              {runs: []error{lacks, nil}, want: lacks},
		"begins anew":                 {runs: []error{newEpoch, newEpoch, nil}, all: true},
		"fails when it begins anew":   {runs: []error{newEpoch, lacks, lacks, lacks, nil}, all: true},
		"fails between two epochs":    {runs: []error{newEpoch, lacks, newEpoch, lacks, nil}, all: true},
		"loses its name":              {runs: []error{newEpoch, lacks, taken}, want: taken, all: true},
		"cannot be made":              {runs: []error{newEpoch, nil}, next: lacks, want: lacks},
		"is asked to end":             {runs: []error{newEpoch, nil}, stop: 1},
		"fails to end":                {runs: []error{newEpoch, lacks}, stop: 2, want: lacks, all: true},
		"fails to end, the first one": {runs: []error{lacks}, stop: 1, want: lacks, all: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				n := 0
				run := func() error {
					n++
					if n == test.stop {
						cancel()
					}
					return test.runs[n-1]
				}
				err := serveOn(ctx, slog.New(slog.DiscardHandler), run, func() error { return test.next })
				if !errors.Is(err, test.want) || (n == len(test.runs)) != test.all {
					t.Errorf("%v after %d runs of %d, want %v", err, n, len(test.runs), test.want)
				}
			})
		})
	}
}

// Nothing is waited for when the process is asked to end meanwhile.
func TestBeginningAnewEndsWhenAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ends := []error{sluice.ErrNewEpoch, errors.New("a right is missing")}
		run := func() error {
			err := ends[0]
			ends = ends[1:]
			return err
		}
		ended := make(chan error, 1) // sent once by the goroutine below
		go func() { ended <- serveOn(ctx, slog.New(slog.DiscardHandler), run, func() error { return nil }) }()
		synctest.Wait() // it pauses
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
