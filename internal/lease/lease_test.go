package lease

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/internal/testmain"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/sqlite"
)

func TestMain(m *testing.M) { testmain.Main(m) }

// shop has the embedded store's leases, which cost no time, and can be away.
type shop struct {
	store.Leases
	mu      sync.Mutex
	away    error // guarded by mu
	calls   int   // likewise
	waiting []error
	lines   strings.Builder
}

func open(t *testing.T) *shop {
	t.Helper()
	log, err := sqlite.Open(t.Context(), sqlite.Config{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	return &shop{Leases: log}
}

func (s *shop) say() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	return s.away
}

func (s *shop) leave(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = err
}

func (s *shop) Acquire(ctx context.Context, claim store.Claim) (store.Lease, error) {
	if err := s.say(); err != nil {
		return store.Lease{}, err
	}
	return s.Leases.Acquire(ctx, claim)
}

func (s *shop) Renew(ctx context.Context, lease store.Lease) error {
	if err := s.say(); err != nil {
		return err
	}
	return s.Leases.Renew(ctx, lease)
}

func (s *shop) config() Config {
	return Config{
		Leases: s, Name: "node:a", Logger: slog.New(slog.NewTextHandler(&s.lines, nil)),
		Waiting: func(err error) { s.waiting = append(s.waiting, err) },
	}
}

var errAway = &store.UnavailableError{Op: "x", Addr: "y", Err: errors.New("away")}

// hold takes the name as another process would, which is not known to have ended.
func (s *shop) hold(t *testing.T) store.Lease {
	t.Helper()
	lease, err := s.Leases.Acquire(t.Context(), store.Claim{Name: "node:a", Holder: "host=far&pid=7&run=other", Term: DefaultTerm})
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

func mustAcquire(t *testing.T, s *shop) *Lease {
	t.Helper()
	l, err := Acquire(t.Context(), s.config())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// keep runs Keep until stop, which returns what it ended with.
func keep(l *Lease) (stop func() error, ended <-chan error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Keep(ctx) }()
	return func() error { cancel(); return <-done }, done
}

func TestRenewingIsCheap(t *testing.T) {
	t.Parallel()
	s := open(t)
	synctest.Test(t, func(t *testing.T) {
		l := mustAcquire(t, s)
		stop, _ := keep(l)
		time.Sleep(10 * time.Minute) // of the test's own clock
		synctest.Wait()
		if s.calls > 1+10*60/5 || l.Check() != nil {
			t.Errorf("%d statements, %v", s.calls, l.Check())
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		l.Release()
		began := time.Now()
		mustAcquire(t, s).Release()
		if time.Since(began) != 0 || len(s.waiting) > 0 {
			t.Errorf("after it was given back it took %v", time.Since(began))
		}
	})
}

// TestSecondIsRefused has one wait a term for another that lives, and say so.
func TestSecondIsRefused(t *testing.T) {
	t.Parallel()
	s := open(t)
	synctest.Test(t, func(t *testing.T) {
		first := mustAcquire(t, s) // of this process, which has not ended it
		stop, _ := keep(first)
		began := time.Now()
		_, err := Acquire(t.Context(), s.config())
		taken := new(TakenError)
		if host, _ := os.Hostname(); !errors.As(err, &taken) || time.Since(began) != DefaultTerm || !strings.Contains(err.Error(), "process "+strconv.Itoa(os.Getpid())+" on host "+host) || taken.Name != "node:a" || !taken.Since.Equal(began) {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if strings.Count(s.lines.String(), "waiting for it to end") != 1 || len(s.waiting) == 0 || s.waiting[0].Error() != err.Error() || strings.Contains(taken.Outline(), taken.By) {
			t.Errorf("it said %s and %v", s.lines.String(), s.waiting)
		}
		if err := stop(); err != nil || first.Check() != nil {
			t.Errorf("the first: %v, %v", err, first.Check())
		}
		first.Release()
	})
}

// TestSecondTakesOver has the first hang, end while it is waited for, or have its term
// last for ever by a store's clock that was set back.
func TestSecondTakesOver(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		first func(t *testing.T, s *shop)
		after time.Duration
	}{
		"hangs": {func(t *testing.T, s *shop) {
			s.hold(t)
			time.Sleep(9 * time.Second) // of the test's own clock
		}, 6 * time.Second},
		"is let go of": {func(t *testing.T, s *shop) {
			l := s.hold(t)
			go func() {
				time.Sleep(1400 * time.Millisecond) // of the test's own clock
				s.Release(t.Context(), l)
			}()
		}, 1500 * time.Millisecond},
		"for ever": {func(t *testing.T, s *shop) {
			l := s.hold(t)
			l.Term = 1000 * time.Hour
			if err := s.Leases.Renew(t.Context(), l); err != nil {
				t.Error(err)
			}
		}, DefaultTerm},
		"ended here": {func(t *testing.T, s *shop) { mustAcquire(t, s).end() }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			synctest.Test(t, func(t *testing.T) {
				test.first(t, s)
				began := time.Now()
				l := mustAcquire(t, s)
				if took := time.Since(began); took != test.after {
					t.Errorf("it took %v, want %v", took, test.after)
				}
				l.Release()
			})
		})
	}
}

// TestFirstLearnsThatItHasLost hangs for longer than a term, comes too late, or is
// just in time because nobody has come.
func TestFirstLearnsThatItHasLost(t *testing.T) {
	t.Parallel()
	for _, another := range []bool{true, false} {
		t.Run(strconv.FormatBool(another), func(t *testing.T) {
			t.Parallel()
			s := open(t)
			synctest.Test(t, func(t *testing.T) {
				l := mustAcquire(t, s)
				s.leave(errAway)
				stop, ended := keep(l)
				time.Sleep(DefaultTerm - 1) // of the test's own clock
				if err := l.Check(); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Minute) // of the test's own clock
				synctest.Wait()
				if err := l.Check(); err == nil || !strings.Contains(err.Error(), "1m15s") {
					t.Errorf("check: %v", err)
				}
				if n := strings.Count(s.lines.String(), "cannot be renewed"); n != 1 {
					t.Errorf("said %d times that it cannot be renewed", n)
				}
				if another {
					s.hold(t)
				}
				s.leave(nil)
				if !another {
					time.Sleep(2 * retryPause) // of the test's own clock
					synctest.Wait()
					if err := errors.Join(l.Check(), stop()); err != nil || !strings.Contains(s.lines.String(), "renewed again") {
						t.Errorf("%v: %s", err, s.lines.String())
					}
					l.Release()
					return
				}
				err := <-ended
				lost := new(LostError)
				if !errors.As(err, &lost) || lost.By != "process 7 on host far" || lost.Unrenewed < time.Minute || l.Check() == nil {
					t.Errorf("ended with %v", err)
				}
				l.Release()
				if _, err := s.Leases.Acquire(t.Context(), store.Claim{Name: "node:a", Holder: "x", Term: time.Hour}); err == nil {
					t.Error("who had lost it has given it back")
				}
			})
		})
	}
}

// TestAcquiringOutlastsTheStore has it away when the name is asked for, and while it
// is waited for: whoever has it could not renew it either.
func TestAcquiringOutlastsTheStore(t *testing.T) {
	t.Parallel()
	s := open(t)
	synctest.Test(t, func(t *testing.T) {
		s.leave(errAway)
		var wait sync.WaitGroup
		began := time.Now()
		wait.Go(func() {
			l := mustAcquire(t, s)
			if took := time.Since(began); took != 9200*time.Millisecond+DefaultTerm {
				t.Errorf("it took %v", took)
			}
			l.Release()
		})
		time.Sleep(9200 * time.Millisecond) // of the test's own clock
		s.hold(t)                           // by one that does not renew
		s.leave(nil)
		wait.Wait()
		if !errors.Is(s.waiting[0], errAway) {
			t.Errorf("it waited for %v", s.waiting[0])
		}

		s.leave(errors.New("no such table"))
		if _, err := Acquire(t.Context(), s.config()); err != s.away {
			t.Errorf("what does not pass: %v", err)
		}
		s.leave(errAway)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := Acquire(ctx, s.config()); err != context.DeadlineExceeded {
			t.Errorf("at the end of its context: %v", err)
		}
	})
}

// TestWhoHasEnded tells those that have from those that may not have.
func TestWhoHasEnded(t *testing.T) {
	t.Parallel()
	holder, end := newHolder()
	if ended(holder) {
		t.Error("one that lives has ended")
	}
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	_, _, known := machine()
	with := func(key, value string) string {
		var fields []string
		for field := range strings.SplitSeq(holder, "&") {
			if name, _, _ := strings.Cut(field, "="); name == key {
				field = key + "=" + value
			} else if name == keyRun && key != keyRun {
				field = keyRun + "=other"
			} else if name == keyPID && key != keyPID {
				field = keyPID + "=" + strconv.Itoa(gone.ProcessState.Pid())
			}
			fields = append(fields, field)
		}
		return strings.Join(fields, "&")
	}
	for name, test := range map[string]struct {
		holder string
		want   bool
	}{
		"process that has ended":                 {with(keyID, "x"), known},
		"this process's id, which was another's": {with(keyPID, strconv.Itoa(os.Getpid())), known},
		"process that lives":                     {with(keyPID, strconv.Itoa(os.Getppid())), false},
		"another host":                           {with(keyHost, "x"), false},
		"another kernel":                         {with(keyBoot, "x"), false},
		"another namespace":                      {with(keyPIDs, "x"), false},
		"all processes":                          {with(keyPID, "0"), false},
		"a group of processes":                   {with(keyPID, "-1"), false},
		"no number":                              {with(keyPID, "x"), false},
		"nobody":                                 {"", false},
		"nonsense":                               {"%", false},
	} {
		if got := ended(test.holder); got != test.want {
			t.Errorf("%s: %v (%s)", name, got, test.holder)
		}
	}
	if end(); !ended(holder) {
		t.Error("one that has ended lives")
	}
}
