package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/internal/cluster/clustertest"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/store"
)

// cast is nodes of one log, each with its bus, in a bubble of time.
type cast struct {
	t    *testing.T
	db   *database
	net  *clustertest.Net
	mine []*member
}

// member is a node, and its log as it is read there.
type member struct {
	*node
	log *Log
	set *metrics.Set
	at  int64 // how far it has read
}

// newCast runs so many nodes until the test ends; the first one leads.
func newCast(t *testing.T, nodes int, config Config) *cast {
	c := &cast{t: t, db: newDatabase(), net: clustertest.NewNet(t, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	for i := range nodes {
		c.mine = append(c.mine, c.join(ctx, &running, fmt.Sprintf("node%d", i), config))
	}
	c.mine[0].leads.Store(true)
	synctest.Wait()
	return c
}

func (c *cast) join(ctx context.Context, running *sync.WaitGroup, name string, config Config) *member {
	bus := c.net.Join(name)
	set, err := metrics.New(metrics.Config{})
	if err != nil {
		c.t.Fatal(err)
	}
	config.Metrics, config.Logger = set, slog.New(slog.DiscardHandler)
	if config.Bytes == 0 {
		config.Bytes = MinBytes
	}
	m := &member{node: c.db.open(), set: set}
	if m.log, err = New(m.node, bus, config); err != nil {
		c.t.Fatal(err)
	}
	if _, err := m.log.Extent(ctx); err != nil {
		c.t.Fatal(err)
	}
	for _, run := range []func(context.Context) error{bus.Run, m.log.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				c.t.Error(err)
			}
		})
	}
	return m
}

// settle lets all that is under way come to its end, but for what waits for time to pass.
func (c *cast) settle() {
	synctest.Wait()
	c.net.Settle()
	synctest.Wait()
}

// next reads the next events as a line does, and checks them.
func (m *member) next(t *testing.T, epoch string, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for want > 0 {
		if err := m.log.Wait(ctx, m.at); err != nil {
			t.Fatal(err)
		}
		events, err := m.log.Fetch(ctx, m.at, store.Limit{Events: want, Epoch: epoch})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if m.at++; e.Offset != m.at || !bytes.Equal(e.Payload, text(epoch, m.at)) {
				t.Fatalf("got %d %s, want %d", e.Offset, e.Payload, m.at)
			}
		}
		want -= len(events)
	}
}

func (m *member) count(name metrics.Name, tags ...metrics.Tag) int64 {
	return m.set.Counter(name, tags...).Value()
}

// TestOthersReadNothing has each round read by three nodes that do not sequence: all of
// it comes in pages, and the node that sequences reads each event once.
func TestOthersReadNothing(t *testing.T) {
	t.Parallel()
	for _, along := range []int{0, 1, 3, 7} {
		t.Run(fmt.Sprintf("along=%d", along), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCast(t, 4, Config{})
				time.Sleep(2 * markInterval) // now they know that there is a node that sequences
				const rounds, each = 100, 7
				for round := range rounds {
					c.mine[0].move(each, along)
					if round%2 == 0 { // the line reads, or is left behind
						c.mine[0].next(t, "first", each*min(round+1, 2))
					}
					for _, m := range c.mine[1:] {
						m.next(t, "first", each)
					}
				}
				for i, m := range c.mine[1:] {
					if m.fetches.Load() != 0 || m.count(metrics.RelayMisses) != 0 || m.count(metrics.RelayHits) < rounds || m.count(metrics.RelayGaps, metrics.Reason("lost")) != 0 {
						t.Errorf("node %d has read the database %d times, and pages %d times", i+1, m.fetches.Load(), m.count(metrics.RelayHits))
					}
				}
				if rows := c.mine[0].rows.Load(); rows > rounds*(each-int64(along)) {
					t.Errorf("of %d events, of which each round has brought %d along, the node that sequences has read %d", rounds*each, rounds*along, rows)
				}
			})
		})
	}
}

// TestBacklogIsReadOnce has a backlog sequenced that no window holds. As long as the
// nodes read about as fast as each other, the database sees one reader.
func TestBacklogIsReadOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCast(t, 4, Config{})
		time.Sleep(2 * markInterval)
		const events = 100_000
		for range events / 5000 {
			c.mine[0].move(5000, 0)
		}
		var reading sync.WaitGroup
		for _, m := range c.mine {
			reading.Go(func() {
				for range events / 500 {
					m.next(t, "first", 500)
					time.Sleep(time.Millisecond) // what it does with them
				}
			})
		}
		reading.Wait()
		rows := int64(0)
		for _, m := range c.mine {
			rows += m.rows.Load()
		}
		if rows != events {
			t.Errorf("4 nodes have read %d rows of %d events", rows, events)
		}
	})
}

// TestReadersGoOnWithoutTheBus takes the bus away in each way that there is.
func TestReadersGoOnWithoutTheBus(t *testing.T) {
	t.Parallel()
	for name, strike := range map[string]func(c *cast){
		"lost": func(c *cast) { c.net.SetFaults(clustertest.Faults{Drop: 1}) },
		"away": func(c *cast) { c.net.Away("node0") },
		"cut":  func(c *cast) { c.net.Cut("node0", "node1") },
		"dead": func(c *cast) { c.net.Kill("node0") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCast(t, 2, Config{})
				time.Sleep(2 * markInterval)
				leader, other := c.mine[0], c.mine[1]
				leader.move(3, 3)
				other.next(t, "first", 3)
				if other.fetches.Load() != 0 {
					t.Fatal("it did not work before")
				}
				strike(c)
				late := func(atMost time.Duration) {
					t.Helper()
					began := time.Now()
					leader.move(3, 3)
					other.next(t, "first", 3)
					if took := time.Since(began); took > atMost {
						t.Errorf("took %v, want %v at most", took, atMost)
					}
				}
				late(DefaultGrace) // it counts on the page, a moment
				time.Sleep(healthyFor)
				late(0)
				if s := other.log.State(); s.Healthy || s.Age < healthyFor.Seconds() || s.Misses != 2 {
					t.Errorf("its state is %+v", s)
				}
				other.deaf.Store(true) // then there is the poll of a log that is not relayed
				late(100 * time.Millisecond)
			})
		})
	}
}

// TestNobodyIsWoken has a node hear of no commit: pages alone bring the events, and what
// they do not bring a poll that comes seldom, or the next mark.
func TestNobodyIsWoken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCast(t, 2, Config{})
		time.Sleep(2 * markInterval)
		leader, other := c.mine[0], c.mine[1]
		other.deaf.Store(true)
		began := time.Now()
		for range 10 {
			woken := make(chan struct{})
			go func() {
				defer close(woken)
				other.next(t, "first", 1)
			}()
			synctest.Wait()
			leader.move(1, 1)
			<-woken
		}
		if time.Since(began) != 0 || other.fetches.Load() != 0 {
			t.Errorf("took %v and %d reads", time.Since(began), other.fetches.Load())
		}
		c.net.SetFaults(clustertest.Faults{Drop: 1})
		leader.move(1, 1)
		synctest.Wait()
		c.net.SetFaults(clustertest.Faults{})
		began = time.Now()
		other.next(t, "first", 1)
		if took := time.Since(began); took > markInterval+DefaultGrace {
			t.Errorf("took %v", took)
		}
		idle := other.fetches.Load()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for ctx.Err() == nil {
			if err := other.log.Wait(ctx, other.at); err == nil {
				if _, err := other.log.Fetch(t.Context(), other.at, store.Limit{Events: 1}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if n := other.fetches.Load() - idle; n > 12 {
			t.Errorf("in ten seconds with nothing to read it has asked %d times", n)
		}
	})
}

// TestStandbyThatLagsIsNotAskedInALoop has pages tell of events that the database of
// this node does not have yet.
func TestStandbyThatLagsIsNotAskedInALoop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCast(t, 2, Config{})
		time.Sleep(2 * markInterval)
		leader, other := c.mine[0], c.mine[1]
		other.lag.Store(10)
		c.net.SetFaults(clustertest.Faults{Drop: 1})
		leader.move(5, 5)
		synctest.Wait()
		c.net.SetFaults(clustertest.Faults{})
		leader.move(5, 5) // the page comes, and what is before it is not to be had
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for ctx.Err() == nil {
			if err := other.log.Wait(ctx, 0); err == nil {
				if events, err := other.log.Fetch(t.Context(), 0, store.Limit{Events: 100}); err != nil || len(events) > 0 {
					t.Fatal(events, err)
				}
			}
		}
		if n := other.fetches.Load(); n > 200 {
			t.Errorf("it has asked %d times in ten seconds", n)
		}
		other.lag.Store(0)
		other.next(t, "first", 10)
	})
}

// TestErasedIsNotRead erases while a page with the payload lies in each place that there
// is: from when the erasure was seen, nobody gets it.
func TestErasedIsNotRead(t *testing.T) {
	t.Parallel()
	see := map[string]func(l *Log){
		"by the head":    func(l *Log) { _, _ = l.Head(context.Background()) },
		"by the extent":  func(l *Log) { _, _ = l.Extent(context.Background()) },
		"by the list":    func(l *Log) { _, _ = l.Erasures(context.Background(), 0) },
		"by a gap in it": func(l *Log) { _, _ = l.Erasures(context.Background(), 1) },
	}
	for name, see := range see {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,late=%v", name, late), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					c := newCast(t, 2, Config{})
					time.Sleep(2 * markInterval)
					leader, other := c.mine[0], c.mine[1]
					if late {
						c.net.SetFaults(clustertest.Faults{Delay: time.Minute})
					}
					secret := []byte(`{"secret":1}`)
					leader.sequence(2, secret, secret)
					c.settle()
					if s := other.log.State(); !late && s.Last != 2 {
						t.Fatalf("the page has not come: %+v", s)
					}
					c.db.erase("none")
					c.db.erase("t")
					c.db.erase("none") // not the last one either
					see(other.log)
					c.net.Advance(time.Minute)
					c.settle()
					events, err := other.log.Fetch(t.Context(), 0, store.Limit{Events: 10, Epoch: "first"})
					if err != nil || len(events) != 2 || string(events[0].Payload) != "{}" || string(events[1].Payload) != "{}" {
						t.Errorf("read %+v, %v", events, err)
					}
					// What comes after is read from pages as before.
					other.at = 2
					c.net.SetFaults(clustertest.Faults{})
					leader.move(1, 1)
					c.net.Advance(time.Minute)
					c.settle()
					before := other.fetches.Load()
					other.next(t, "first", 1)
					if other.fetches.Load() != before {
						t.Error("what came after the erasure was read from the database")
					}
				})
			})
		}
	}
	t.Run("by oneself", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			c := newCast(t, 2, Config{})
			time.Sleep(2 * markInterval)
			c.mine[0].sequence(1, []byte(`{"secret":1}`))
			c.settle()
			for _, m := range c.mine {
				if m.log.State().Last != 1 {
					t.Fatal("the page has not come")
				}
			}
			if _, _, _, err := c.mine[1].log.Erase(t.Context(), store.Selection{Topic: "t"}); err != nil {
				t.Fatal(err)
			}
			if events, err := c.mine[1].log.Fetch(t.Context(), 0, store.Limit{Events: 1}); err != nil || string(events[0].Payload) != "{}" {
				t.Errorf("read %+v, %v", events, err)
			}
		})
	})
}

// TestTrimmedIsNotRead has the log trimmed while pages hold what is gone.
func TestTrimmedIsNotRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCast(t, 2, Config{})
		time.Sleep(2 * markInterval)
		c.mine[0].move(5, 5)
		c.settle()
		c.db.trim(3)
		other := c.mine[1].log
		if _, err := other.Head(t.Context()); err != nil {
			t.Fatal(err)
		}
		if events, err := other.Fetch(t.Context(), 2, store.Limit{Events: 5}); !errors.Is(err, store.ErrTrimmed) {
			t.Errorf("read %v, %v", events, err)
		}
		if events, err := other.Fetch(t.Context(), 3, store.Limit{Events: 5}); err != nil || len(events) != 2 || c.mine[1].rows.Load() != 0 {
			t.Errorf("read %v, %v", events, err)
		}
	})
}

// TestEpochsDoNotMix has a new epoch give offsets out again.
func TestEpochsDoNotMix(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCast(t, 2, Config{})
		time.Sleep(2 * markInterval)
		leader, other := c.mine[0], c.mine[1]
		leader.move(10, 10)
		other.next(t, "first", 5)
		c.db.begin("second", 7)
		leader.move(10, 10) // of the new one: 8 to 17
		c.settle()
		// A node that has heard of the new epoch, by its pages, asks the log.
		for _, after := range []int64{5, 7, 8, 12, 17} {
			if events, err := other.log.Fetch(t.Context(), after, store.Limit{Events: 5, Epoch: "first"}); !errors.Is(err, store.ErrNewEpoch) {
				t.Errorf("after %d of the first epoch: %v, %v", after, events, err)
			}
		}
		if events, err := other.log.Fetch(t.Context(), 7, store.Limit{Events: 3}); err != nil || string(events[0].Payload) != string(text("second", 8)) {
			t.Errorf("of any epoch: %v, %v", events, err)
		}
		other.away.Store(true) // who cannot ask gets nothing out of pages
		if events, err := other.log.Fetch(t.Context(), 5, store.Limit{Events: 5, Epoch: "first"}); !errors.Is(err, errAway) {
			t.Errorf("read %v, %v", events, err)
		}
		other.away.Store(false)
		if _, err := other.log.Head(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := leader.log.Head(t.Context()); err != nil {
			t.Fatal(err)
		}
		if events, err := other.log.Fetch(t.Context(), 5, store.Limit{Events: 5, Epoch: "first"}); !errors.Is(err, store.ErrNewEpoch) {
			t.Errorf("read %v, %v", events, err)
		}
		// From now on it reads the new one's pages.
		leader.move(10, 10)
		c.settle()
		before := other.fetches.Load()
		if events, err := other.log.Fetch(t.Context(), 17, store.Limit{Events: 100, Epoch: "second"}); err != nil || len(events) != 10 || string(events[0].Payload) != string(text("second", 18)) {
			t.Errorf("read %v, %v", events, err)
		}
		if other.fetches.Load() != before {
			t.Error("the new epoch is not read from pages")
		}
		// A page of an epoch that is known to be over changes nothing.
		if data := appendPage(nil, &page{epoch: "past", head: 99, prev: 27, events: []store.Event{{Offset: 28, Topic: "t", Name: "n"}}}); true {
			other.log.receive(cluster.Message{Data: data})
		}
		if s := other.log.State(); !s.Healthy || s.Last != 27 {
			t.Errorf("after a page of the past it is %+v", s)
		}
	})
}

// TestLargeEventsAreReadFromTheLog publishes events that no page takes, alone and among
// others.
func TestLargeEventsAreReadFromTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCast(t, 2, Config{Bytes: 8 << 20})
		time.Sleep(2 * markInterval)
		leader, other := c.mine[0], c.mine[1]
		large := bytes.Repeat([]byte("x"), maxPage)
		fits := bytes.Repeat([]byte("x"), maxPage-2*headerSize)
		for _, test := range []struct {
			payloads [][]byte
			reads    int64
		}{
			{[][]byte{large}, 1},
			{[][]byte{{1}, large}, 1},
			{[][]byte{large, {1}}, 1},
			{[][]byte{{1}, {1}, large, large, {1}, {1}, large, {1}}, 2},
			{[][]byte{fits}, 0},
			{[][]byte{fits, fits, fits, {1}}, 0},
		} {
			before, began := other.fetches.Load(), time.Now()
			leader.sequence(len(test.payloads), test.payloads...)
			for read := 0; read < len(test.payloads); {
				if err := other.log.Wait(t.Context(), other.at); err != nil {
					t.Fatal(err)
				}
				events, err := other.log.Fetch(t.Context(), other.at, store.Limit{Events: 100, Bytes: 1, Epoch: "first"})
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range events {
					if other.at++; e.Offset != other.at || len(e.Payload) != len(test.payloads[read]) {
						t.Fatalf("got %d of %d bytes", e.Offset, len(e.Payload))
					}
					read++
				}
			}
			if reads := other.fetches.Load() - before; reads > test.reads {
				t.Errorf("%d events took %d reads, want %d at most", len(test.payloads), reads, test.reads)
			}
			if took := time.Since(began); took > 0 {
				t.Errorf("took %v: nobody is to wait for what does not come", took)
			}
		}
	})
}

// TestQueueIsBounded has more sequenced than may wait to be published.
func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	var p publisher
	set, err := metrics.New(metrics.Config{})
	if err != nil {
		t.Fatal(err)
	}
	p.init(&Log{counted: counters{queueFull: set.Counter(metrics.RelayUnpublished)}})
	p.others.Store(1)
	const each = maxQueued / 10
	for i := range int64(100) { // nobody publishes
		p.sequenced(store.Sequenced{After: i, Through: i + 1, Epoch: "e", Events: []store.Event{{Offset: i + 1, Payload: make([]byte, each)}}})
	}
	if p.bytes > maxQueued || p.queue.Len() < 5 || p.counted() != int64(100-p.queue.Len()) {
		t.Errorf("%d bytes wait, of %d rounds; %d events were not published", p.bytes, p.queue.Len(), p.counted())
	}
}

func (p *publisher) counted() int64 { return p.log.counted.queueFull.Value() }

// TestWhatIsNoPageIsCounted gives a node bytes that are no page, and pages of versions
// that it does not speak.
func TestWhatIsNoPageIsCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCast(t, 2, Config{})
		time.Sleep(2 * markInterval)
		leader, other := c.mine[0], c.mine[1]
		leader.move(2, 2)
		c.settle()
		good := appendPage(nil, &page{epoch: "first", prev: 2, head: 3, events: []store.Event{{Offset: 3, Topic: "t", Name: "n"}}})
		later := bytes.Clone(good)
		later[len(magic)]++
		shard := appendPage(nil, &page{epoch: "first", shard: 1, prev: 2, head: 3, events: []store.Event{{Offset: 3, Topic: "t", Name: "n"}}})
		for reason, list := range map[string][][]byte{
			"malformed": {nil, []byte("hello"), good[:len(good)-1], append(bytes.Clone(good), 0)},
			"version":   {later, shard},
		} {
			for _, data := range list {
				other.log.receive(cluster.Message{From: "x", Data: data})
			}
			if n := other.count(metrics.RelayDropped, metrics.Reason(reason)); n != int64(len(list)) {
				t.Errorf("%d are counted as %s, want %d", n, reason, len(list))
			}
		}
		if s := other.log.State(); s.Last != 2 || s.Gaps != 0 {
			t.Errorf("its state is %+v", s)
		}
		other.next(t, "first", 2)
		if other.fetches.Load() != 0 {
			t.Error("what it had was lost")
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	if _, err := New(newDatabase().open(), cluster.NewNone(cluster.Node{}), Config{Bytes: MinBytes - 1}); err == nil {
		t.Error("a window that no page fits into is taken")
	}
	if least := pageSize + maxPage + maxPageEvents*eventSize; MinBytes < least {
		t.Errorf("MinBytes is %d, a page may take %d", MinBytes, least)
	}
}
