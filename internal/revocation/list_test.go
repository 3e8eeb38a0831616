package revocation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/store"
)

// table is a store of which only revocations are asked.
type table struct {
	mu    sync.Mutex
	list  []store.Revocation
	err   error
	good  int // reads that succeed before err
	reads int
}

func (s *table) Revoke(_ context.Context, r store.Revocation) (store.Revocation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := r.At(time.Now())
	r.Number = int64(len(s.list) + 1)
	s.list = append(s.list, r)
	return r, err
}

func (s *table) Revocations(_ context.Context, after int64, limit int) ([]store.Revocation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if s.err != nil && s.good <= 0 {
		return nil, s.err
	}
	s.good--
	list := s.list[min(int(after), len(s.list)):]
	return list[:min(limit, len(list))], nil
}

func (s *table) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// journal is a log's text, which one goroutine writes while another reads it.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (j *journal) Reset() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.text.Reset()
}

func revoke(t *testing.T, s *table, r store.Revocation) store.Revocation {
	t.Helper()
	r, err := s.Revoke(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestCheck judges tokens of every kind by a list, as time passes.
func TestCheck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log table
		start := time.Now()
		for _, r := range []store.Revocation{
			{Kind: store.ClaimSubject, Value: "7", Until: start.Add(time.Hour)},
			{Kind: store.ClaimTokenID, Value: "x", Until: start.Add(time.Hour)},
			{Kind: store.ClaimSubject, Value: "8", IssuedBefore: start.Add(time.Minute), Until: start.Add(2 * time.Minute)},
			{Kind: store.ClaimSubject, Value: "8", IssuedBefore: start.Add(-time.Minute), Until: start.Add(time.Minute)}, // which does not weaken it
		} {
			revoke(t, &log, r)
		}
		l := New(Config{Logger: slog.New(slog.DiscardHandler)})
		if err := l.Refresh(t.Context(), &log); err != nil || l.Count() != 3 {
			t.Fatalf("%v, with %d", err, l.Count())
		}
		for _, test := range []struct {
			after       time.Duration
			subject, id string
			issued      time.Duration // since the start
			revoked     bool
		}{
			{0, "7", "", -time.Microsecond, true},
			{0, "7", "", 0, false},
			{0, "7", "", time.Second, false},
			{0, "7", "y", -time.Second, true},
			{0, "", "x", -time.Second, true},
			{0, "9", "x", time.Minute, true},
			{0, "x", "7", -time.Second, false}, // the other's claims
			{0, "9", "y", -time.Second, false},
			{0, "", "", -time.Second, false},
			{0, "8", "", time.Second, true},
			{0, "8", "", time.Minute, false},
			{119 * time.Second, "8", "", time.Second, true},
			{2 * time.Minute, "8", "", time.Second, false}, // it has ended
			{2 * time.Minute, "7", "", -time.Second, true},
			{time.Hour, "7", "", -time.Second, false},
		} {
			time.Sleep(time.Until(start.Add(test.after))) // of the test's own clock
			if err := l.Refresh(t.Context(), &log); err != nil {
				t.Fatal(err)
			}
			if revoked, err := l.Check(test.subject, test.id, start.Add(test.issued)); revoked != test.revoked || err != nil {
				t.Errorf("%+v: %v, %v", test, revoked, err)
			}
			// Who does not say when, was issued before.
			if revoked, err := l.Check(test.subject, test.id, time.Time{}); err != nil || test.revoked && !revoked {
				t.Errorf("%+v, without a time: %v, %v", test, revoked, err)
			}
		}
		if l.Count() != 0 {
			t.Errorf("%d are remembered that have ended", l.Count())
		}
	})
}

// TestRun revokes while a list follows: what comes is noticed within the interval, at
// once where that is said, and the store's failure when it has lasted too long.
func TestRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log table
		var lines journal
		var changes atomic.Int64
		l := New(Config{Changed: func() { changes.Add(1) }, Logger: slog.New(slog.NewTextHandler(&lines, nil))})
		old := time.Unix(1, 0)
		var aged *AgeError
		if _, err := l.Check("7", "", old); !errors.As(err, &aged) || !errors.As(l.Err(), &aged) {
			t.Errorf("before it is loaded: %v", err)
		}
		if err := l.Refresh(t.Context(), &log); err != nil || l.Err() != nil || changes.Load() != 0 {
			t.Errorf("loaded: %v, %v, %d changes", err, l.Err(), changes.Load())
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1) // one send, by Run's goroutine
		go func() { ended <- l.Run(ctx, &log) }()
		synctest.Wait()

		revoke(t, &log, store.Revocation{Kind: store.ClaimSubject, Value: "7"})
		l.Hasten()
		l.Hasten()
		synctest.Wait()
		if revoked, err := l.Check("7", "", old); !revoked || err != nil || changes.Load() != 1 {
			t.Errorf("hastened: %v, %v, %d changes", revoked, err, changes.Load())
		}
		revoke(t, &log, store.Revocation{Kind: store.ClaimSubject, Value: "8"})
		time.Sleep(Interval) // of the test's own clock
		synctest.Wait()
		if revoked, err := l.Check("8", "", old); !revoked || err != nil || changes.Load() != 2 {
			t.Errorf("after the interval: %v, %v, %d changes", revoked, err, changes.Load())
		}

		for range 2 {
			log.fail(errors.New("out of reach"))
			time.Sleep(MaxAge) // of the test's own clock
			synctest.Wait()
			if revoked, err := l.Check("7", "", old); !revoked || err != nil || strings.Contains(lines.String(), "refused") {
				t.Errorf("away for %v: %v, %v", l.Age(), revoked, err)
			}
			time.Sleep(2 * Interval) // of the test's own clock
			synctest.Wait()
			if _, err := l.Check("7", "", old); !errors.As(err, &aged) || aged.Age <= MaxAge || !strings.Contains(lines.String(), "out of reach") {
				t.Errorf("away for %v: %v; log:\n%s", l.Age(), err, lines.String())
			}
			time.Sleep(5 * time.Minute) // of the test's own clock
			synctest.Wait()
			if told := strings.Count(lines.String(), "out of reach"); told < 5 || told > 7 {
				t.Errorf("told %d times in five minutes", told)
			}
			log.fail(nil)
			time.Sleep(Interval) // of the test's own clock
			synctest.Wait()
			if revoked, err := l.Check("7", "", old); !revoked || err != nil || !strings.Contains(lines.String(), "seen again") {
				t.Errorf("back: %v, %v; log:\n%s", revoked, err, lines.String())
			}
			lines.Reset()
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestWhatWasReadIsTold has the store fail after some pages of many revocations: those that
// have come are told, with all the rest, or with the error.
func TestWhatWasReadIsTold(t *testing.T) {
	t.Parallel()
	const all = 2*page + 1
	for good := range 4 {
		var log table
		until := time.Now().Add(time.Hour)
		for i := range all {
			log.list = append(log.list, store.Revocation{Kind: store.ClaimSubject, Value: fmt.Sprint(i), IssuedBefore: until, Until: until, Number: int64(i + 1)})
		}
		changes, known := 0, 0
		var l *List
		l = New(Config{Changed: func() { changes, known = changes+1, l.Count() }})
		log.good, log.err = good, errors.New("away")
		err := l.Refresh(t.Context(), &log)
		want := min(good*page, all)
		if told := good > 0; (err == nil) != (good == 3) || (changes == 1) != told || known != want {
			t.Errorf("after %d good reads: %v; told %d times, of %d, want %d", good, err, changes, known, want)
		}
		log.err = nil
		if err := l.Refresh(t.Context(), &log); err != nil || l.Count() != all || good < 3 && known != all {
			t.Errorf("after %d good reads, and then all: %v; told of %d of %d", good, err, known, l.Count())
		}
	}
}

// TestIdle counts what an idle list costs: one read an interval, however many are known.
func TestIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log table
		for i := range 2*page + 5 {
			revoke(t, &log, store.Revocation{Kind: store.ClaimTokenID, Value: fmt.Sprint(i)})
		}
		l := New(Config{Logger: slog.New(slog.DiscardHandler)})
		if err := l.Refresh(t.Context(), &log); err != nil || l.Count() != 2*page+5 || log.reads != 3 {
			t.Fatalf("%v: %d known, by %d reads", err, l.Count(), log.reads)
		}
		ctx, stop := context.WithTimeout(t.Context(), 100*Interval+Interval/2)
		defer stop()
		if err := l.Run(ctx, &log); err != nil || log.reads != 3+100 {
			t.Errorf("%v: %d reads in a hundred intervals", err, log.reads-3)
		}
	})
}

// BenchmarkCheck has the same token judged by lists of every length.
func BenchmarkCheck(b *testing.B) {
	for _, known := range []int{0, 1, 1000, store.MaxRevocations} {
		b.Run(fmt.Sprint(known), func(b *testing.B) {
			var log table
			for i := range known {
				log.list = append(log.list, store.Revocation{Kind: store.ClaimTokenID, Value: fmt.Sprint(i), Until: time.Now().Add(time.Hour), Number: int64(i + 1)})
			}
			l := New(Config{})
			if err := l.Refresh(b.Context(), &log); err != nil {
				b.Fatal(err)
			}
			issued := time.Now()
			b.ReportAllocs()
			for b.Loop() {
				if revoked, err := l.Check("7", "x", issued); revoked || err != nil {
					b.Fatal(revoked, err)
				}
			}
		})
	}
}
