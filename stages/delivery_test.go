package stages_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/internal/testmain"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/stages"
	"github.com/sluicehq/sluice/store"
)

func TestMain(m *testing.M) { testmain.Main(m) }

// log is an endless log in memory: event n has topic n modulo topics. It
// counts what was fetched, and can be told to fail.
type log struct {
	topics  int
	head    int64 // events there are
	trimmed int64 // those that are gone
	payload int   // bytes of an event's payload; 0: the least

	mu      sync.Mutex
	fetched int64 // the last offset that was read
	fail    error
}

func (l *log) Fetch(_ context.Context, after int64, limit store.Limit) ([]store.Event, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return nil, l.fail
	}
	if after < l.trimmed {
		return nil, store.ErrTrimmed
	}
	var out []store.Event
	payload := []byte("{" + strings.Repeat(" ", max(0, l.payload-2)) + "}")
	bytes := 0
	for offset := after + 1; offset <= min(after+int64(limit.Events), l.head) && (limit.Bytes == 0 || bytes <= limit.Bytes); offset++ {
		out = append(out, store.Event{Offset: offset, Topic: strconv.Itoa(int(offset) % l.topics), Payload: payload})
		l.fetched = offset
		bytes += len(payload)
	}
	return out, nil
}

func (l *log) Wait(ctx context.Context, after int64) error {
	if after < l.head {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (l *log) Head(context.Context) (store.Head, error) {
	return store.Head{Offset: l.head, Trimmed: l.trimmed}, nil
}

func (l *log) read() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fetched
}

func (l *log) failWith(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = err
}

// hub watches every topic and keeps what it gets. A topic with a gate waits
// at it.
type hub struct {
	gates map[string]chan struct{}

	mu  sync.Mutex
	got map[string][]int64
	all int
}

func (h *hub) Watched(topic string) outbound.Audience {
	return outbound.Audience{Topic: topic, Formats: outbound.Formats(0, outbound.Raw)}
}

func (h *hub) Route(segment *outbound.Segment) int {
	if gate := h.gates[segment.Topic()]; gate != nil {
		<-gate
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.got == nil {
		h.got = make(map[string][]int64)
	}
	for i := range segment.Len() {
		h.got[segment.Topic()] = append(h.got[segment.Topic()], segment.Message(i).Offset)
		h.all++
	}
	return 1
}

func (h *hub) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all
}

// check tells whether each topic got its events from first to last, once and
// in order.
func (h *hub) check(t *testing.T, topics int, first, last int64) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for topic := range topics {
		var want []int64
		for offset := first; offset <= last; offset++ {
			if int(offset)%topics == topic {
				want = append(want, offset)
			}
		}
		if got := h.got[strconv.Itoa(topic)]; !slices.Equal(got, want) {
			t.Errorf("topic %d got %d events %v…, want %d", topic, len(got), got[:min(len(got), 5)], len(want))
		}
	}
}

// laidOut is a delivery line with small numbers.
func laidOut(l *log, h *hub, change func(*stages.DeliveryConfig)) *stages.Delivery {
	config := stages.DeliveryConfig{
		Producer:       stages.ProducerConfig{FetchSize: 8},
		Encoder:        stages.EncoderConfig{SegmentSize: 100, SegmentBytes: 1 << 20},
		Lanes:          3,
		MaxDemand:      20,
		MinDemand:      10,
		BatchSize:      10,
		Commit:         func(context.Context, int64) error { return nil },
		CommitInterval: time.Second,
		DrainTimeout:   time.Minute,
		Logger:         quiet(),
	}
	if change != nil {
		change(&config)
	}
	return stages.NewDelivery(l, plain{}, h, config)
}

// run runs a line; stop drains it and says how that went.
func run(t *testing.T, d *stages.Delivery) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1) // sent once by the goroutine below
	go func() { ended <- d.Run(ctx) }()
	return func() error {
		cancel()
		return <-ended
	}
}

func TestDeliveryRoutesAllOnceInOrder(t *testing.T) {
	t.Parallel()
	for _, lanes := range []int{1, 2, 5} {
		for _, topics := range []int{1, 3, 50} {
			t.Run(fmt.Sprintf("%d lanes, %d topics", lanes, topics), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					set, err := metrics.New(metrics.Config{})
					if err != nil {
						t.Fatal(err)
					}
					l, h := &log{topics: topics, head: 1000}, &hub{}
					d := laidOut(l, h, func(c *stages.DeliveryConfig) { c.Lanes, c.Metrics, c.Producer.After = lanes, set, 10 })
					stop := run(t, d)
					synctest.Wait()
					if got := d.Position(); got != 1000 {
						t.Errorf("position %d before the drain", got)
					}
					if err := stop(); err != nil {
						t.Error(err)
					}
					h.check(t, topics, 11, 1000)
					if fetched, routed := set.Counter(metrics.EventsFetched).Value(), set.Counter(metrics.EventsRouted).Value(); fetched != 990 || routed != 990 {
						t.Errorf("counted %d fetched, %d routed", fetched, routed)
					}
				})
			})
		}
	}
}

func TestASlowLaneStopsTheFetching(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, h := &log{topics: 1, head: 100_000}, &hub{gates: map[string]chan struct{}{"0": make(chan struct{})}}
		d := laidOut(l, h, func(c *stages.DeliveryConfig) { c.Lanes = 1 })
		stop := run(t, d)
		for step, open := range []int{0, 2, 0, 2} { // batches that the subscriber lets through
			for range open {
				h.gates["0"] <- struct{}{}
			}
			synctest.Wait()
			time.Sleep(time.Hour) // of the test's own clock: time alone changes nothing
			synctest.Wait()
			// Besides what a lane may have under way, what was fetched is at
			// most what it has got rid of.
			if read, routed := l.read(), int64(h.count()); read > routed+20 || routed > 0 && read == 20 {
				t.Errorf("step %d: %d events fetched, %d routed, and a lane's max demand is 20", step, read, routed)
			}
		}
		close(h.gates["0"])
		if err := stop(); err != nil {
			t.Error(err)
		}
		if read := l.read(); int64(h.count()) != read {
			t.Errorf("%d events fetched, %d routed: a drain routes what was fetched", read, h.count())
		}
		h.check(t, 1, 1, l.read())
	})
}

// Demand is in events. What is on the line is bounded in bytes too, whatever an
// event's size, and however long it lasts.
func TestTheLineIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	const fetchBytes = 3000
	for _, payload := range []int{2, 500, 1000, fetchBytes, 2 * fetchBytes, 10 * fetchBytes} {
		for _, lanes := range []int{1, 3} {
			t.Run(fmt.Sprintf("%d lanes, payloads of %d", lanes, payload), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					l := &log{topics: 7, head: 500, payload: payload}
					h := &hub{gates: map[string]chan struct{}{"3": make(chan struct{})}}
					d := laidOut(l, h, func(c *stages.DeliveryConfig) { c.Lanes, c.Producer.FetchBytes = lanes, fetchBytes })
					stop := run(t, d)
					bound := (stages.PagesUnderWay + 2) * (fetchBytes + payload)
					for step := range 20 {
						synctest.Wait()
						time.Sleep(time.Second) // of the test's own clock
						synctest.Wait()
						if held := int(l.read()-d.Position()) * payload; held > bound && payload > 100 {
							t.Errorf("step %d: %d bytes read and not routed, want %d at most", step, held, bound)
						}
						select {
						case h.gates["3"] <- struct{}{}:
						default: // nothing waits: all has been routed
						}
					}
					close(h.gates["3"])
					synctest.Wait()
					time.Sleep(time.Second) // of the test's own clock
					synctest.Wait()
					if got := d.Position(); got != l.head {
						t.Errorf("it has come to %d of %d", got, l.head)
					}
					if err := stop(); err != nil {
						t.Error(err)
					}
					h.check(t, 7, 1, l.head)
				})
			})
		}
	}
}

// A drain does not wait for room to read more.
func TestALineThatIsFullDrains(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, h := &log{topics: 1, head: 500, payload: 1000}, &hub{gates: map[string]chan struct{}{"0": make(chan struct{})}}
		d := laidOut(l, h, func(c *stages.DeliveryConfig) { c.Lanes, c.Producer.FetchBytes = 1, 1000 })
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1) // sent once by the goroutine below
		go func() { ended <- d.Run(ctx) }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(h.gates["0"])
		if err := <-ended; err != nil {
			t.Error(err)
		}
		h.check(t, 1, 1, l.read())
	})
}

func TestOneSlowLaneHoldsUpNoMoreThanItsBound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &log{topics: 50, head: 100_000}
		h := &hub{gates: map[string]chan struct{}{"7": make(chan struct{})}}
		d := laidOut(l, h, nil)
		stop := run(t, d)
		synctest.Wait()
		if read, bound := l.read(), int64(h.count()+3*20+20); read > bound {
			t.Errorf("%d events fetched: more than the %d routed, three lanes' demand and one lane's queue", read, h.count())
		}
		if got := d.Position(); got >= 7 {
			t.Errorf("position %d, and event 7 has not been routed", got)
		}
		close(h.gates["7"])
		synctest.Wait()
		if got := d.Position(); got != l.head {
			t.Errorf("position %d after the slow topic went on", got)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		h.check(t, 50, 1, l.head)
	})
}

func TestDeliveryCommitsWhatWasRouted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var committed []int64
		l, h := &log{topics: 2, head: 30}, &hub{gates: map[string]chan struct{}{"0": make(chan struct{})}}
		d := laidOut(l, h, func(c *stages.DeliveryConfig) {
			c.Lanes, c.BatchSize = 1, 1 // event 1 passes, event 2 waits
			c.Commit = func(_ context.Context, position int64) error {
				committed = append(committed, position)
				return nil
			}
		})
		stop := run(t, d)
		time.Sleep(10 * time.Second) // of the test's own clock
		synctest.Wait()
		if !slices.Equal(committed, []int64{1}) {
			t.Errorf("committed %v while event 2 waits", committed)
		}
		close(h.gates["0"])
		if err := stop(); err != nil {
			t.Error(err)
		}
		if last := committed[len(committed)-1]; last != l.read() || !slices.IsSorted(committed) {
			t.Errorf("committed %v, and %d events were routed by the drain", committed, l.read())
		}
	})
}

// A line that skipped what was trimmed, and found nothing behind it, has reached
// the log's head: it has no work.
func TestDeliveryReachesTheEndOfAGap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, h := &log{topics: 1, head: 30, trimmed: 30}, &hub{}
		skipped := int64(0)
		d := laidOut(l, h, func(c *stages.DeliveryConfig) {
			c.Producer.After = 7
			c.Producer.Skipped = func(through int64) { skipped = through }
		})
		stop := run(t, d)
		synctest.Wait()
		if got := d.Position(); got != 30 || skipped != 30 {
			t.Errorf("position %d, skipped through %d, want 30", got, skipped)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestDeliverySurvivesAStoreThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, h := &log{topics: 5, head: 1000}, &hub{}
		l.failWith(errors.New("connection refused"))
		stop := run(t, laidOut(l, h, nil))
		time.Sleep(time.Minute) // of the test's own clock
		if h.count() != 0 {
			t.Fatal("routed events that could not be read")
		}
		l.failWith(nil)
		time.Sleep(time.Minute) // of the test's own clock: longer than the longest wait between attempts
		if err := stop(); err != nil {
			t.Error(err)
		}
		h.check(t, 5, 1, 1000)
	})
}

func TestDeliveryKeepsItsRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, h := &log{topics: 5, head: 100_000}, &hub{}
		stop := run(t, laidOut(l, h, func(c *stages.DeliveryConfig) { c.RateLimit = 200 }))
		for second := 1; second <= 5; second++ {
			time.Sleep(time.Second) // of the test's own clock
			synctest.Wait()
			if got := h.count(); got < 190*second || got > 200*second+10 {
				t.Errorf("%d events after %d s at 200/s", got, second)
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
