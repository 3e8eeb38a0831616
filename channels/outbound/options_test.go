package outbound

import (
	"reflect"
	"testing"
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
			l := newLine(newNode(newMetrics(t)), 10, 20) // bytes for no more than a part, too
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
