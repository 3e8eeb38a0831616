package metrics

import (
	"maps"
	"testing"
	"time"
)

// What is told of a timing is of the time between two looks, and as exact as its buckets.
func TestDistribution(t *testing.T) {
	t.Parallel()
	set, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	timing := set.Timing(DeliveryTime)
	for range 1000 {
		timing.Observe(20 * time.Second) // before the first look
	}
	before := timing.Distribution()
	for i := range 100 {
		timing.Observe(time.Duration(i+1) * time.Millisecond)
	}
	d := timing.Distribution().Since(before)
	if d.Count != 100 || d.Sum.Round(time.Millisecond) != 5050*time.Millisecond {
		t.Errorf("%d observations of together %v, want 100 of 5.05s", d.Count, d.Sum)
	}
	for q, want := range map[float64]time.Duration{0.5: 50 * time.Millisecond, 0.99: 99 * time.Millisecond} {
		if got := d.Quantile(q); got < want/2 || got > 2*want {
			t.Errorf("quantile %v is %v, want about %v", q, got, want)
		}
	}
	if last := d.Quantile(1); last < d.Quantile(0.99) || d.Quantile(0) > d.Quantile(0.5) {
		t.Errorf("quantiles do not rise: %v, %v, %v, %v", d.Quantile(0), d.Quantile(0.5), d.Quantile(0.99), last)
	}
}

func TestDistributionOfNothing(t *testing.T) {
	t.Parallel()
	var none *Timing
	if d := none.Distribution().Since(none.Distribution()); d.Count != 0 || d.Quantile(0.99) != 0 {
		t.Errorf("a timing that there is not has %+v", d)
	}
	set, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	beyond := set.Timing(JoinTime)
	beyond.Observe(time.Hour)
	if got, last := beyond.Distribution().Quantile(0.5), firstBound<<(bounds-1); got != last {
		t.Errorf("beyond all buckets: %v, want the last one's bound, %v", got, last)
	}
}

func TestTotals(t *testing.T) {
	t.Parallel()
	set, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	set.Counter(MessagesDropped, Reason("overflow")).Add(2)
	set.Counter(MessagesDropped, Tag{"tenant", "a"}, Reason("overflow")).Add(3)
	set.Counter(MessagesDropped, Reason("closed")).Add(1)
	set.Counter(MessagesDropped, Reason("never"))
	set.Counter(SocketsClosed, Reason("closed")).Add(9)
	want := map[string]int64{"overflow": 5, "closed": 1}
	if got := set.Totals(MessagesDropped, "reason"); !maps.Equal(got, want) {
		t.Errorf("dropped: %v, want %v", got, want)
	}
	if got := (*Set)(nil).Totals(MessagesDropped, "reason"); len(got) != 0 {
		t.Errorf("a set that there is not has %v", got)
	}
}
