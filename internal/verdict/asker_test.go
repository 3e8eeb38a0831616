package verdict

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Main(m) }

// key is a key of its own for each number from 1.
func key(n int) (k Key) {
	copy(k[:], fmt.Sprintf("%032d", n))
	return k
}

// yes allows, and counts how often it was asked.
func yes(asked *atomic.Int64, value string) func(context.Context) (Verdict[string], error) {
	return func(context.Context) (Verdict[string], error) {
		asked.Add(1)
		return Verdict[string]{Value: value, Allowed: true, Bytes: len(value)}, nil
	}
}

// backend answers so many questions a second, in turn, as one that has a queue does.
type backend struct {
	perSecond int

	mu       sync.Mutex
	free     time.Time // when it is done with all that it has taken
	atOnce   int
	most     int
	answered int
}

func (b *backend) ask(ctx context.Context) (Verdict[string], error) {
	b.mu.Lock()
	b.atOnce++
	b.most = max(b.most, b.atOnce)
	if now := time.Now(); b.free.Before(now) {
		b.free = now
	}
	b.free = b.free.Add(time.Second / time.Duration(b.perSecond))
	done := time.NewTimer(time.Until(b.free))
	b.mu.Unlock()
	defer done.Stop()
	var err error
	select {
	case <-done.C:
	case <-ctx.Done():
		err = ctx.Err()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.atOnce--
	if err == nil {
		b.answered++
	}
	return Verdict[string]{Allowed: err == nil}, err
}

// TestStormOfQuestions has a thousand users come at once where ten a second can be answered,
// a tenth of ten thousand and a hundred, and come again as the stock client does: the backend gets no more at a time than
// it may, nobody gets in whom it has not let in, and in the end all are in.
func TestStormOfQuestions(t *testing.T) {
	t.Parallel()
	const users = 1000
	synctest.Test(t, func(t *testing.T) {
		limits := Limits{MaxInFlight: 8, Timeout: time.Second}
		a := New[string](limits)
		b := &backend{perSecond: 10}
		var in, refused, waitedMost atomic.Int64
		var group sync.WaitGroup
		for n := range users {
			group.Go(func() {
				for try := 0; ; try++ {
					begun := time.Now()
					v, _, err := a.Ask(t.Context(), Question{Key: key(n + 1)}, b.ask)
					if took := time.Since(begun); int64(took) > waitedMost.Load() {
						waitedMost.Store(int64(took))
					}
					if err == nil && v.Allowed {
						in.Add(1)
						return
					}
					if v.Allowed || !errors.Is(err, ErrBusy) && !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("allowed %v with %v", v.Allowed, err)
						return
					}
					refused.Add(1)
					if _, waiting := a.Load(); waiting > a.MaxWaiting()+users { // those that are being refused count for a moment
						t.Errorf("%d wait", waiting)
					}
					time.Sleep([]time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second}[min(try, 3)] + time.Duration(n)*time.Microsecond)
				}
			})
		}
		group.Wait()
		if b.most > limits.MaxInFlight || b.answered < users || in.Load() != users || refused.Load() == 0 {
			t.Errorf("%d at a time, %d answered, %d are in, %d refusals", b.most, b.answered, in.Load(), refused.Load())
		}
		if longest := time.Duration(waitedMost.Load()); longest > 2*limits.Timeout {
			t.Errorf("somebody waited %v", longest)
		}
		if asked, waiting := a.Load(); asked != 0 || waiting != 0 {
			t.Errorf("%d are asked and %d wait when all is over", asked, waiting)
		}
		t.Logf("all in after %v of the backend's time, with %d refusals", time.Duration(b.answered)*time.Second/10, refused.Load())
	})
}

// TestWhatIsRemembered asks again after all that may have happened meanwhile.
func TestWhatIsRemembered(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cache  time.Duration
		until  time.Duration
		denied bool
		fails  bool
		key    Key
		then   func(t *testing.T, a *Asker[string], holds *atomic.Bool)
		anew   bool
		asked  int64 // the second time included
	}{
		"within its time":       {cache: time.Minute, key: key(1), asked: 1},
		"no cache":              {key: key(1), asked: 2},
		"no key":                {cache: time.Minute, asked: 2},
		"denied":                {cache: time.Minute, key: key(1), denied: true, asked: 2},
		"failed":                {cache: time.Minute, key: key(1), fails: true, asked: 2},
		"asked anew":            {cache: time.Minute, key: key(1), anew: true, asked: 2},
		"over":                  {cache: time.Minute, key: key(1), then: func(*testing.T, *Asker[string], *atomic.Bool) { time.Sleep(time.Minute) }, asked: 2},
		"not over":              {cache: time.Minute, key: key(1), then: func(*testing.T, *Asker[string], *atomic.Bool) { time.Sleep(time.Minute - 1) }, asked: 1},
		"ended by itself":       {cache: time.Minute, until: time.Second, key: key(1), then: func(*testing.T, *Asker[string], *atomic.Bool) { time.Sleep(time.Second) }, asked: 2},
		"forgotten":             {cache: time.Minute, key: key(1), then: func(_ *testing.T, a *Asker[string], _ *atomic.Bool) { a.Forget("7") }, asked: 2},
		"another forgotten":     {cache: time.Minute, key: key(1), then: func(_ *testing.T, a *Asker[string], _ *atomic.Bool) { a.Forget("8") }, asked: 1},
		"no longer counting":    {cache: time.Minute, key: key(1), then: func(_ *testing.T, _ *Asker[string], holds *atomic.Bool) { holds.Store(false) }, asked: 2},
		"shed for what is more": {cache: time.Minute, key: key(1), then: func(t *testing.T, a *Asker[string], _ *atomic.Bool) { fill(t, a) }, asked: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := New[string](Limits{MaxInFlight: 1, Timeout: time.Second, Cache: c.cache})
				var asked atomic.Int64
				var holds atomic.Bool
				holds.Store(true)
				ask := func(anew bool) (bool, error) {
					_, known, err := a.Ask(t.Context(), Question{Key: c.key, Group: "7", Holds: holds.Load, Anew: anew}, func(context.Context) (v Verdict[string], err error) {
						asked.Add(1)
						if c.fails {
							return v, errors.New("down")
						}
						v.Allowed = !c.denied
						if c.until > 0 {
							v.Until = time.Now().Add(c.until)
						}
						return v, nil
					})
					return known, err
				}
				if known, err := ask(false); known || (err != nil) != c.fails {
					t.Fatalf("the first: remembered %v, %v", known, err)
				}
				if c.then != nil {
					c.then(t, a, &holds)
				}
				if known, err := ask(c.anew); known != (c.asked == 1) || (err != nil) != c.fails || asked.Load() != c.asked {
					t.Errorf("the second: remembered %v, asked %d times, %v", known, asked.Load(), err)
				}
			})
		})
	}
}

// fill has an Asker remember as much as it may.
func fill(t *testing.T, a *Asker[string]) {
	t.Helper()
	var asked atomic.Int64
	const size = 1 << 20
	for n := range MaxRemembered/size + 1 {
		if _, _, err := a.Ask(t.Context(), Question{Key: key(1000 + n), Group: "many"}, yes(&asked, string(make([]byte, size)))); err != nil {
			t.Error(err)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.memory.bytes > MaxRemembered || a.memory.order.Len() != len(a.memory.byKey) || len(a.memory.groups["many"]) != a.memory.order.Len() {
		t.Errorf("%d bytes of %d answers, %d by key, %d of the group", a.memory.bytes, a.memory.order.Len(), len(a.memory.byKey), len(a.memory.groups["many"]))
	}
}

// TestAPageOfManyTopics has one client ask at once about as many topics as it may join, while
// few are asked at a time: it is let in to all, and others can ask meanwhile.
func TestAPageOfManyTopics(t *testing.T) {
	t.Parallel()
	const topics = 100
	synctest.Test(t, func(t *testing.T) {
		a := New[string](Limits{MaxInFlight: 4, MinWaiting: 2 * topics, Timeout: time.Second})
		b := &backend{perSecond: 1000}
		var group sync.WaitGroup
		for n := range topics + 1 {
			group.Go(func() {
				if v, _, err := a.Ask(t.Context(), Question{Key: key(n + 1)}, b.ask); err != nil || !v.Allowed {
					t.Errorf("topic %d: allowed %v, %v", n, v.Allowed, err)
				}
			})
		}
		group.Wait()
		if b.most > 4 {
			t.Errorf("%d were asked at a time", b.most)
		}
	})
}

// TestWhatAQuestionKeepsIsCounted remembers answers whose questions are large.
func TestWhatAQuestionKeepsIsCounted(t *testing.T) {
	t.Parallel()
	a := New[string](Limits{MaxInFlight: 1, Timeout: time.Minute, Cache: time.Hour})
	var asked atomic.Int64
	const size = 1 << 20
	group := string(make([]byte, size))
	for n := range MaxRemembered / size {
		if _, _, err := a.Ask(t.Context(), Question{Key: key(n + 1), Group: group, Bytes: size}, yes(&asked, "")); err != nil {
			t.Fatal(err)
		}
	}
	if n, most := len(a.memory.byKey), MaxRemembered/(2*size); n == 0 || n > most {
		t.Errorf("%d of more than %d bytes are remembered, at most %d can be", n, 2*size, most)
	}
	if a.Forget(group); a.memory.bytes != 0 {
		t.Errorf("%d bytes of nothing", a.memory.bytes)
	}
}

// TestTheSameQuestionIsAskedOnce has many ask the same at a time, of whom the first leaves.
func TestTheSameQuestionIsAskedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := New[string](Limits{MaxInFlight: 4, Timeout: time.Hour, Cache: time.Minute})
		var asked atomic.Int64
		answer := make(chan struct{})
		ask := func(ctx context.Context) (Verdict[string], error) {
			asked.Add(1)
			select {
			case <-answer:
				return Verdict[string]{Value: "in", Allowed: true}, nil
			case <-ctx.Done():
				return Verdict[string]{}, ctx.Err()
			}
		}
		first, leave := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			if v, _, err := a.Ask(first, Question{Key: key(1), Group: "7"}, ask); !errors.Is(err, context.Canceled) || v.Allowed {
				t.Errorf("who has left was told %v, %v", v, err)
			}
		})
		synctest.Wait()
		for range 100 {
			group.Go(func() {
				if v, _, err := a.Ask(t.Context(), Question{Key: key(1), Group: "7"}, ask); err != nil || v.Value != "in" {
					t.Errorf("%v, %v", v, err)
				}
			})
		}
		synctest.Wait()
		if asked.Load() != 1 {
			t.Errorf("asked %d times at once", asked.Load())
		}
		leave()
		synctest.Wait()
		if asked.Load() != 2 {
			t.Errorf("asked %d times once the first had left", asked.Load())
		}
		a.Forget("7") // whose answer is on its way: it is given, and not remembered
		close(answer)
		group.Wait()
		if v, known, err := a.Ask(t.Context(), Question{Key: key(1), Group: "7"}, ask); known || err != nil || !v.Allowed {
			t.Errorf("an answer from before is remembered: %v, %v, %v", v, known, err)
		}
		if len(a.flights) != 0 {
			t.Errorf("%d flights are left", len(a.flights))
		}
	})
}

// TestPanicLeavesNothing panics while others wait.
func TestPanicLeavesNothing(t *testing.T) {
	t.Parallel()
	a := New[string](Limits{MaxInFlight: 1, Timeout: time.Minute, Cache: time.Minute})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_, _, err := a.Ask(t.Context(), Question{Key: key(1)}, func(context.Context) (Verdict[string], error) { panic("on purpose") })
		t.Error(err)
	}()
	var asked atomic.Int64
	if v, known, err := a.Ask(t.Context(), Question{Key: key(1)}, yes(&asked, "")); known || err != nil || !v.Allowed {
		t.Errorf("%v, %v, %v", v, known, err)
	}
}
