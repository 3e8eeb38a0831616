package postgres

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

func refusedWith(code string) error { return &pgconn.PgError{Code: code, Severity: "ERROR"} }

// TestWaitEndsByRoundsAlone has rows be seen, and once more after a while, with
// something in between: what is no round does not begin the wait anew.
func TestWaitEndsByRoundsAlone(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		between func(*rounds)
		counts  bool // the wait goes on
	}{
		{"nothing", func(*rounds) {}, true},
		{"a look that fails", func(r *rounds) { r.quiet(7); r.saw(false, errors.New("lost")) }, true},
		{"a round of ours that is refused", func(r *rounds) { r.fail(refusedWith(lockNotAvailable), false) }, true},
		{"a session that is lost, and another", func(r *rounds) { r.fail(errors.New("lost"), true); r.succeed(false) }, true},
		{"a head that falls", func(r *rounds) { r.quiet(3) }, true},
		{"a look at the same head", func(r *rounds) { r.quiet(7); r.saw(true, nil) }, true},
		{"a look that sees no rows", func(r *rounds) { r.quiet(7); r.saw(false, nil) }, false},
		{"a head that rises", func(r *rounds) { r.quiet(8) }, false},
		{"a round of ours", func(r *rounds) { r.succeed(true) }, false},
		{"a round of another node", func(r *rounds) { r.heard() }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := rounds{logger: slog.New(slog.DiscardHandler)}
				if !r.quiet(7) {
					t.Fatal("the first look at a log's head counts as a round")
				}
				if waiting, _ := r.saw(true, nil); waiting != 0 {
					t.Fatalf("rows that have just been seen wait for %v", waiting)
				}
				time.Sleep(maxStall / 2) // of the test's own clock
				test.between(&r)
				time.Sleep(maxStall / 2) // of the test's own clock
				if !r.quiet(r.head) {
					t.Fatalf("a round was committed within %v", maxQuiet)
				}
				waiting, _ := r.saw(true, nil)
				if want := map[bool]time.Duration{true: maxStall}[test.counts]; waiting != want {
					t.Errorf("rows wait for %v, want %v", waiting, want)
				}
			})
		})
	}
}

// TestCausesAreToldOnceAMinute has rounds fail each second for two reasons in turns,
// and be committed between, or not.
func TestCausesAreToldOnceAMinute(t *testing.T) {
	t.Parallel()
	for _, between := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var lines bytes.Buffer
			r := rounds{logger: slog.New(slog.NewTextHandler(&lines, nil))}
			for second := range 180 {
				r.fail(refusedWith([]string{lockNotAvailable, queryCanceled}[second%2]), false)
				if between {
					r.succeed(true)
				}
				time.Sleep(time.Second) // of the test's own clock
			}
			if told := strings.Count(lines.String(), "not sequenced"); told != 2*3 {
				t.Errorf("rounds between %v: told %d times in three minutes:\n%s", between, told, &lines)
			}
			if over := strings.Count(lines.String(), "sequenced again"); over != map[bool]int{true: 2 * 3}[between] {
				t.Errorf("rounds between %v: told %d times that it is over:\n%s", between, over, &lines)
			}
			if len(r.told) > 2 {
				t.Errorf("%d causes are kept", len(r.told))
			}
		})
	}
}
