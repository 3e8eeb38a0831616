package stages_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/stages"
	"github.com/sluicehq/sluice/store"
)

// farLog is a log whose reads take a second. It notes the reads as they begin.
type farLog struct {
	mu   sync.Mutex
	head int64
	cut  int // where reads end early; 0: nowhere
	fail map[int64]error
	read []span
	busy int
	most int // reads at a time
}

// span is a read after an offset, of so many events at most.
type span struct {
	after  int64
	events int
}

func (l *farLog) Fetch(ctx context.Context, after int64, limit store.Limit) ([]store.Event, error) {
	l.mu.Lock()
	l.read = append(l.read, span{after, limit.Events})
	l.busy++
	l.most = max(l.most, l.busy)
	l.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-time.After(time.Second):
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy--
	if err := errors.Join(ctx.Err(), l.fail[after]); err != nil {
		delete(l.fail, after)
		return nil, err
	}
	size := limit.Events
	if l.cut > 0 {
		size = min(size, l.cut)
	}
	var events []store.Event
	for offset := after + 1; offset <= min(after+int64(size), l.head); offset++ {
		events = append(events, store.Event{Offset: offset})
	}
	return events, nil
}

func (l *farLog) Wait(ctx context.Context, after int64) error {
	l.mu.Lock()
	there := after < l.head
	l.mu.Unlock()
	if there {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(10 * time.Second):
		return nil
	}
}

func (l *farLog) Head(context.Context) (store.Head, error) { return store.Head{Offset: l.head}, nil }

func (l *farLog) reads() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.read)
}

// far runs a test with a producer of such a log, in pages of ten.
func far(t *testing.T, log *farLog, test func(ctx context.Context, p *stages.Producer)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := stages.NewProducer(log, stages.ProducerConfig{FetchSize: 10})
		ctx, cancel := context.WithCancel(t.Context())
		test(ctx, p)
		cancel()
		p.Wait()
		if log.busy > 0 {
			t.Errorf("%d reads are under way after Wait", log.busy)
		}
	})
}

func fetch(t *testing.T, ctx context.Context, p *stages.Producer, demand int, first, last int64) {
	t.Helper()
	got, err := p.Fetch(ctx, demand)
	if err != nil || len(got) == 0 || got[0].Offset != first || got[len(got)-1].Offset != last {
		t.Fatalf("asked %d: got %v, %v; want %d to %d", demand, offsets(got), err, first, last)
	}
}

func TestProducerPrefetchesWithinDemand(t *testing.T) {
	log := &farLog{head: 100}
	far(t, log, func(ctx context.Context, p *stages.Producer) {
		begin := time.Now()
		fetch(t, ctx, p, 20, 1, 10)  // nothing is known of the log yet: one read
		fetch(t, ctx, p, 10, 11, 20) // no more is wanted
		fetch(t, ctx, p, 19, 21, 30) // not all of another page is
		fetch(t, ctx, p, 20, 31, 40)
		fetch(t, ctx, p, 20, 41, 50) // was read with the one before, and so is the next
		fetch(t, ctx, p, 20, 51, 60)
		if took := time.Since(begin); took != 5*time.Second {
			t.Errorf("six pages took %v", took)
		}
		if p.Position() != 60 {
			t.Errorf("position %d", p.Position())
		}
	})
	if log.most != 2 {
		t.Errorf("%d reads at a time", log.most)
	}
}

func TestProducerPrefetchesOnceMoreIsWanted(t *testing.T) {
	log := &farLog{head: 100}
	far(t, log, func(ctx context.Context, p *stages.Producer) {
		p.Prefetch(1000) // no fetch is at work
		fetch(t, ctx, p, 10, 1, 10)
		p.Prefetch(1000)
		begin := time.Now()
		time.AfterFunc(time.Second/2, func() {
			p.Prefetch(19)
			p.Prefetch(20)
			p.Prefetch(1000)
		})
		fetch(t, ctx, p, 10, 11, 20)
		fetch(t, ctx, p, 10, 21, 30)
		if took := time.Since(begin); took != 3*time.Second/2 {
			t.Errorf("took %v", took)
		}
	})
	if want := []span{{0, 10}, {10, 10}, {20, 10}}; !slices.Equal(log.read, want) {
		t.Errorf("read %v, want %v", log.read, want)
	}
}

func TestProducerKeepsTheRestOfAPage(t *testing.T) {
	log := &farLog{head: 100}
	far(t, log, func(ctx context.Context, p *stages.Producer) {
		fetch(t, ctx, p, 10, 1, 10)
		fetch(t, ctx, p, 20, 11, 20)
		fetch(t, ctx, p, 4, 21, 24) // who wanted more has left
		if p.Position() != 24 {
			t.Errorf("position %d", p.Position())
		}
		fetch(t, ctx, p, 50, 25, 30)
		fetch(t, ctx, p, 5, 31, 35)
	})
}

func TestProducerReadsAgainWhatItGuessedWrong(t *testing.T) {
	t.Run("failed", func(t *testing.T) {
		log := &farLog{head: 100, fail: map[int64]error{20: errors.New("connection lost")}}
		far(t, log, func(ctx context.Context, p *stages.Producer) {
			fetch(t, ctx, p, 10, 1, 10)
			fetch(t, ctx, p, 20, 11, 20)
			fetch(t, ctx, p, 10, 21, 30)
		})
	})
	t.Run("the page before was cut", func(t *testing.T) {
		log := &farLog{head: 100}
		far(t, log, func(ctx context.Context, p *stages.Producer) {
			fetch(t, ctx, p, 10, 1, 10)
			log.mu.Lock()
			log.cut = 7
			log.mu.Unlock()
			fetch(t, ctx, p, 20, 11, 17)
			fetch(t, ctx, p, 20, 18, 24)
		})
	})
	t.Run("the log ended", func(t *testing.T) {
		log := &farLog{head: 20}
		far(t, log, func(ctx context.Context, p *stages.Producer) {
			fetch(t, ctx, p, 10, 1, 10)
			fetch(t, ctx, p, 20, 11, 20)
			time.AfterFunc(3*time.Second/2, func() {
				log.mu.Lock()
				log.head = 25
				log.mu.Unlock()
			})
			fetch(t, ctx, p, 20, 21, 25)
			ctx, cancel := context.WithTimeout(ctx, 15*time.Second) // one wait, one read, and a wait
			defer cancel()
			reads := log.reads()
			if got, err := p.Fetch(ctx, 1000); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("got %v, %v", offsets(got), err)
			}
			if n := log.reads() - reads; n != 1 {
				t.Errorf("a log that has been read to its end was read %d times", n)
			}
		})
	})
}

// TestProducerWhateverHappens fetches from a log that grows, cuts its answers
// and fails, by demands that change at any time.
func TestProducerWhateverHappens(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			log := &farLog{fail: map[int64]error{}}
			far(t, log, func(ctx context.Context, p *stages.Producer) {
				random := rand.New(rand.NewPCG(seed, 0))
				gone, position := errors.New("connection lost"), int64(0)
				for position < 2000 {
					log.mu.Lock()
					log.head = max(log.head, position+1+random.Int64N(50))
					log.cut = max(0, random.IntN(30)-10)
					if random.IntN(4) == 0 {
						log.fail[position+random.Int64N(20)] = gone
					}
					log.mu.Unlock()
					demand := 1 + random.IntN(40)
					more := demand + random.IntN(40)
					time.AfterFunc(time.Duration(random.IntN(2000))*time.Millisecond, func() { p.Prefetch(more) })
					got, err := p.Fetch(ctx, demand)
					if err != nil && !errors.Is(err, gone) || len(got) > demand {
						t.Fatalf("asked %d: got %d events, %v", demand, len(got), err)
					}
					for _, e := range got {
						if position++; e.Offset != position {
							t.Fatalf("got %d, want %d", e.Offset, position)
						}
					}
				}
			})
			for _, r := range log.read {
				if r.events > 10 {
					t.Errorf("read %d events at a time", r.events)
				}
			}
		})
	}
}
