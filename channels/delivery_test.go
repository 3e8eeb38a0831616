package channels

import (
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"
	"time"
)

func TestParseDedupe(t *testing.T) {
	t.Parallel()
	for rule := DedupeOffset; rule <= DedupePayload; rule++ {
		if d, err := ParseDedupe(rule.String()); err != nil || d != rule {
			t.Errorf("%v: got %v, %v", rule, d, err)
		}
	}
	if _, err := ParseDedupe("taste"); err == nil {
		t.Error("taste is no rule")
	}
}

func TestAChannelSaysOtherwise(t *testing.T) {
	t.Parallel()
	endpoint := Options{Overflow: DropOldest, DedupeWindow: time.Minute, FlushInterval: time.Second, Tags: map[string]string{"a": "1"}}.WithDefaults()
	for _, test := range []struct {
		name string
		says Options
		want func(*Options)
	}{
		{"nothing", Options{}, func(*Options) {}},
		{"a rule", Options{Overflow: Latest}, func(d *Options) { d.Overflow = Latest }},
		{"the default rule", Options{Overflow: CatchUp, Dedupe: DedupeOffset}, func(d *Options) { d.Overflow = CatchUp }},
		{"nonsense", Options{MailboxSize: -1, DedupeWindow: -1, DedupeEntries: -1}, func(*Options) {}},
		{"no interval", Options{FlushInterval: -1}, func(d *Options) { d.FlushInterval = -1 }},
		{"other tags", Options{Tags: map[string]string{"b": "2"}}, func(d *Options) { d.Tags = map[string]string{"b": "2"} }},
	} {
		want := endpoint
		test.want(&want)
		if got := test.says.Or(endpoint); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", test.name, got, want)
		}
	}
}

// TestLatestIsForLiveViews has dashboards that do not read for a while: with
// the newest of each key where it may be shed, with all where the client asked
// for all.
func TestLatestIsForLiveViews(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		delivery   Options
		resume     *Resume
		want       string // of 1 2 3 4 6 7 8, which are of the keys a b a b a b a
		overflow   int64
		superseded int64
	}{
		{"live", Options{Overflow: Latest, MailboxSize: 3}, nil, "[7 8]", 0, 5},
		{"live, with room", Options{Overflow: Latest, MailboxSize: 10}, nil, "[1 2 3 4 6 7 8]", 0, 0},
		{"live, too little room", Options{Overflow: Latest, MailboxSize: 1}, nil, "[8]", 6, 0},
		{"live, collected", Options{Overflow: Latest, MailboxSize: 10, FlushInterval: time.Second}, nil, "[7 8]", 0, 5},
		{"live, collected in full", Options{Overflow: DropNewest, MailboxSize: 5, FlushInterval: time.Second}, nil, "[1 2 3 4 6]", 2, 0},
		{"resumed", Options{Overflow: Latest, MailboxSize: 3}, &Resume{After: -1}, "[1 2 3 4 6 7 8]", 0, 0},
		{"resumed, collected", Options{Overflow: Latest, MailboxSize: 3, FlushInterval: time.Second}, &Resume{After: -1}, "[1 2 3 4 6 7 8]", 0, 0},
	} {
		for _, looks := range []bool{false, true} {
			t.Run(fmt.Sprint(test.name, looks), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, 1<<20)
					turn := 0
					w.log.event = func(offset int64) Message {
						m := event(offset)
						if ours(offset) {
							turn++
							m.Key = []byte{"ab"[(turn-1)%2]}
						}
						return m
					}
					var channel Channel = accepts{}
					if looks {
						channel = sees{}
					}
					c := w.joinFor(test.delivery, 1<<20, test.resume, channel)
					synctest.Wait()
					for c.read() {
					}
					for range 8 {
						w.publish(1)
						synctest.Wait()
					}
					c.settle()
					time.Sleep(test.delivery.FlushInterval) // of the test's own clock
					c.settle()
					if got := fmt.Sprint(c.offsets(t)); got != test.want {
						t.Errorf("got %s, want %s", got, test.want)
					}
					dropped := c.actor.mailbox.counters.dropped
					if o, s := dropped[DropOverflow].Value(), dropped[DropSuperseded].Value(); o != test.overflow || s != test.superseded {
						t.Errorf("%d shed and %d superseded, want %d and %d", o, s, test.overflow, test.superseded)
					}
					c.actor.End(ErrDisconnected)
					c.group.Wait()
				})
			})
		}
	}
}

// A rule may give its topics a mailbox that is smaller than a batch: what the
// rule sheds is what does not fit, not the whole of it.
func TestABatchLargerThanTheMailbox(t *testing.T) {
	t.Parallel()
	for rule, want := range map[Overflow]string{
		DropOldest: "0:e 4 {};0:e 5 {};",
		DropNewest: "0:e 1 {};0:e 2 {};",
		Latest:     "0:e 4 {};0:e 5 {};",
	} {
		t.Run(rule.String(), func(t *testing.T) {
			t.Parallel()
			l := newLine(NewHub(newMetrics(t)), 10, 20) // bytes for no more than a part, too
			m := l.open(t, l.mailbox(Options{Overflow: rule, MailboxSize: 2}))
			m.Deliver(segment(t, "t", Formats(0, keyFingerprints), 1, 2, 3, 4, 5), time.Now())
			checkAccounts(t, l, m)
			if got := l.drain(); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if n := m.counters.dropped[DropOverflow].Value(); n != 3 || l.held != 0 {
				t.Errorf("%d shed, %d bytes held", n, l.held)
			}
		})
	}
}
