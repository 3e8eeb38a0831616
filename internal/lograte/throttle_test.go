package lograte

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestOneLineInAWhile writes lines of two kinds, one of which comes to an end.
func TestOneLineInAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		throttle := New(time.Minute)
		written, withheld := map[string]int{}, 0
		for second := range 3 * 60 {
			for _, kind := range []string{"a", "b"} {
				if n, ok := throttle.Allow(kind); ok {
					written[kind]++
					withheld += n
				}
			}
			if second == 90 {
				throttle.Forget("b")
			}
			time.Sleep(time.Second) // of the test's own clock
		}
		// a at 0, 60 and 120 s; b at 0, 60, at 91 s, as it began anew, and at 151 s.
		if written["a"] != 3 || written["b"] != 4 || withheld != 59+59+59+59 {
			t.Errorf("written: %v, and %d withheld before", written, withheld)
		}
	})
}

// TestKindsAreBounded has strangers make more kinds than are told apart.
func TestKindsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		throttle := New(time.Minute)
		for round := range 3 {
			written := 0
			for n := range 4 * MaxKinds {
				if _, ok := throttle.Allow(fmt.Sprint(round, " ", n)); ok {
					written++
				}
			}
			if written < MaxKinds || written > MaxKinds+1 || len(throttle.kinds) > MaxKinds+1 {
				t.Errorf("%d lines are written, and %d kinds kept", written, len(throttle.kinds))
			}
			time.Sleep(time.Minute) // of the test's own clock
		}
	})
}
