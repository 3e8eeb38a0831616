package wake_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/internal/testmain"
	"github.com/sluicehq/sluice/store/internal/wake"
)

func TestMain(m *testing.M) { testmain.Main(m) }

func TestAdvanceWakesAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var head wake.Head
		var waiters sync.WaitGroup
		start := time.Now()
		for range 10 {
			waiters.Go(func() {
				if err := head.Wait(t.Context(), 0, time.Hour); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		head.Advance(1)
		waiters.Wait()
		if err := head.Wait(t.Context(), 0, time.Hour); err != nil { // looks before it waits
			t.Error(err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

func TestWaitedIsSinceTheLastAdvance(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var head wake.Head
		want := func(waited bool) {
			t.Helper()
			if got := head.Waited(); got != waited {
				t.Errorf("waited is %v, want %v", got, waited)
			}
		}
		want(false)
		for range 2 {
			if err := head.Wait(t.Context(), head.Offset(), time.Second); err != nil {
				t.Fatal(err)
			}
			want(true)
			head.Advance(head.Offset() + 1)
			want(false)
		}
		if err := head.Wait(t.Context(), 0, time.Second); err != nil { // has nothing to wait for
			t.Fatal(err)
		}
		want(false)
	})
}

func TestWaitEndsWithItsNetOrContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var head wake.Head
		head.Advance(5)
		head.Advance(4) // never back
		start := time.Now()
		if err := head.Wait(t.Context(), 5, time.Second); err != nil || time.Since(start) != time.Second {
			t.Errorf("%v after %v, want nil after a second", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := head.Wait(ctx, 5, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if err := head.Wait(ctx, 0, time.Hour); err == nil {
			t.Error("a context that has ended was not noticed")
		}
	})
}

func TestDisproveTakesBackOnlyWhatWasKnown(t *testing.T) {
	t.Parallel()
	var head wake.Head
	head.Advance(10)
	head.Disprove(10, 10)
	head.Disprove(9, 3) // somebody has advanced since
	if got := head.Offset(); got != 10 {
		t.Errorf("offset is %d, want 10", got)
	}
	head.Disprove(10, 3)
	if got := head.Offset(); got != 3 {
		t.Errorf("offset is %d, want 3", got)
	}
}
