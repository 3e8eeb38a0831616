package clustertest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/internal/cluster"
)

// testOrderIsKept has three nodes publish at once.
func testOrderIsKept(t *testing.T, h Harness) {
	a, b, c := three(t, h, nil)
	all := []*member{a, b, c}
	var ears []*ear
	for _, m := range all {
		ears = append(ears, listen(t, m, "s"))
	}
	for i, m := range all {
		reach(t, m, "s", ears[(i+1)%3], ears[(i+2)%3])
	}
	const messages = 1000
	done := make(chan error, len(all))
	for _, m := range all {
		go func() {
			for n := range messages {
				if err := tryPublish(m, "s", []byte(strconv.Itoa(n))); err != nil {
					done <- fmt.Errorf("%s: %w", m.Self().Name, err)
					return
				}
			}
			done <- nil
		}()
	}
	for range all {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for i, m := range all { // what was published before is heard before
		reach(t, m, "s", ears[(i+1)%3], ears[(i+2)%3])
	}
	for i, e := range ears {
		from := map[string][]int{}
		for _, m := range e.all() {
			n, err := strconv.Atoi(string(m.Data))
			if err != nil {
				t.Fatal(err)
			}
			from[m.From] = append(from[m.From], n)
		}
		if len(from[all[i].Self().ID]) > 0 {
			t.Errorf("%s hears itself", all[i].Self().Name)
		}
		for k, other := range all {
			got := from[other.Self().ID]
			if k == i {
				continue
			}
			if !slices.IsSorted(got) {
				t.Errorf("%s has heard %s out of order", all[i].Self().Name, other.Self().Name)
			}
			if !h.Lossy && (len(got) != messages || len(slices.Compact(got)) != messages) {
				t.Errorf("%s has heard %d messages of %s, want %d", all[i].Self().Name, len(got), other.Self().Name, messages)
			}
			if len(got) < messages/2 {
				t.Errorf("%s has heard but %d messages of %s", all[i].Self().Name, len(got), other.Self().Name)
			}
		}
	}
}

// testSubjectsAreApart has a node hear what it has subscribed to, once by each
// subscription, and some subjects be refused.
func testSubjectsAreApart(t *testing.T, h Harness) {
	var early *ear
	a, b, _ := three(t, h, func(bus cluster.Bus) {
		if bus.Self().Name == "a" {
			early = listen(t, bus, "cast.1") // before Run
		}
	})
	late, other, silent := listen(t, a, "cast.1"), listen(t, a, "cast.2"), listen(t, a, "cast")
	reach(t, b, "cast.1", early, late)
	reach(t, b, "cast.2", other)
	publish(t, b, "cast.1", []byte("one"))
	publish(t, b, "cast.2", []byte("two"))
	reach(t, b, "cast.1", early, late)
	reach(t, b, "cast.2", other)
	for _, want := range []struct {
		e    *ear
		text string
	}{{early, "one"}, {late, "one"}, {other, "two"}} {
		got := want.e.all()
		if !h.Lossy && len(got) != 1 {
			t.Errorf("%q was heard %d times", want.text, len(got))
		}
		for _, m := range got {
			if string(m.Data) != want.text || m.From != b.Self().ID {
				t.Errorf("heard %q of %s, want %q of %s", m.Data, m.From, want.text, b.Self().ID)
			}
		}
	}
	if silent.count() > 0 {
		t.Errorf("heard %v of a subject to which nobody has published", silent.heard)
	}
	for _, subject := range []string{"", "*", ">", "s.*", "s.>", "a b", ".a", "a.", "a..b", "ctl", "node", "node.1", "ä", "a.b.c.d.e", "s\r\nPUB x"} {
		if err := a.Publish(subject, nil); err == nil {
			t.Errorf("%q is taken for a subject", subject)
		}
		if _, err := a.Subscribe(subject, func(cluster.Message) {}); err == nil {
			t.Errorf("%q is subscribed to", subject)
		}
	}
}

func testSubscriptionsEnd(t *testing.T, h Harness) {
	a, b, _ := three(t, h, nil)
	first, second := listen(t, a, "s"), listen(t, a, "s")
	reach(t, b, "s", first, second)
	first.end()
	first.end() // again: nothing
	before := first.count()
	for range 20 {
		reach(t, b, "s", second)
	}
	if after := first.count(); after > before+1 { // one may have been in the handler
		t.Errorf("%d messages came after the end", after-before)
	}
	reach(t, b, "s", listen(t, a, "s"))
}

func testSizesAreBounded(t *testing.T, h Harness) {
	a, b, c := three(t, h, func(bus cluster.Bus) { bus.Answer("echo", echo) })
	e := listen(t, a, "s")
	reach(t, b, "s", e)
	large := bytes.Repeat([]byte{0, 'x', '\r', '\n'}, cluster.MaxData/4)
	for _, data := range [][]byte{{}, large} {
		heard := func() bool {
			return slices.ContainsFunc(e.all(), func(m cluster.Message) bool { return bytes.Equal(m.Data, data) })
		}
		eventually(t, fmt.Sprintf("heard %d bytes", len(data)), func() bool {
			publish(t, b, "s", data)
			if h.Lossy {
				return heard()
			}
			eventually(t, "what was published once", heard)
			return true
		})
		if answer, err := ask(t, h, c, a.Self().ID, "echo", data); err != nil || !bytes.Equal(answer, data) {
			t.Errorf("asked with %d bytes: %d bytes, %v", len(data), len(answer), err)
		}
	}
	if err := b.Publish("s", append(large, 'x')); !errors.Is(err, cluster.ErrTooLarge) {
		t.Errorf("more than MaxData is published: %v", err)
	}
	if _, err := b.Request(t.Context(), a.Self().ID, "echo", append(large, 'x')); !errors.Is(err, cluster.ErrTooLarge) {
		t.Errorf("more than MaxData is asked: %v", err)
	}
}

// testSlowHandlersHarmNobody has a handler stand still: nobody waits for it, what waits
// before it is bounded, and other subscriptions of its node go on.
func testSlowHandlersHarmNobody(t *testing.T, h Harness) {
	a, b, _ := three(t, h, nil)
	slow, quick := listen(t, a, "slow"), listen(t, a, "quick")
	reach(t, b, "slow", slow)
	reach(t, b, "quick", quick)
	slow.hold.Lock()
	release := sync.OnceFunc(slow.hold.Unlock)
	defer release() // also when the case fails
	data := make([]byte, 256<<10)
	const pieces = 3 * cluster.Pending / (256 << 10)
	for range pieces {
		publish(t, b, "slow", data)
	}
	reach(t, b, "quick", quick)
	release()
	reach(t, b, "slow", slow)
	// Of a lossy bus some were still on their way while the handler stood.
	if got := len(slow.all()); !h.Lossy && got > cluster.Pending/len(data)+1 {
		t.Errorf("%d messages of %d have waited, which is more than Pending", got, pieces)
	}
}

// mistake is for how long it is looked whether what must not happen does. Nothing that is as
// it should be depends on it.
const mistake = 50 * again

// testRunWaitsForHandlers has a node stop while a handler is at work.
func testRunWaitsForHandlers(t *testing.T, h Harness) {
	a, b, c := three(t, h, nil)
	e := listen(t, a, "s")
	reach(t, b, "s", e)
	e.hold.Lock()
	entered := make(chan struct{})
	var once bool
	var left atomic.Bool // the handler has done its work
	if _, err := a.Subscribe("t", func(cluster.Message) {
		if !once {
			once = true
			close(entered)
			e.hold.Lock() // until it is let go of
			defer e.hold.Unlock()
			left.Store(true)
		}
	}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the handler at work", func() bool {
		publish(t, b, "t", nil)
		select {
		case <-entered:
			return true
		default:
			return false
		}
	})
	stopped := make(chan struct{})
	go func() { a.stop(); close(stopped) }()
	meet(t, b, c) // others know already
	select {
	case <-stopped:
		t.Error("Run has returned while a handler was at work")
	case <-time.After(mistake): // or it waits, as it should
	}
	e.hold.Unlock()
	<-stopped
	if !left.Load() {
		t.Error("Run has returned before the handler")
	}
}
