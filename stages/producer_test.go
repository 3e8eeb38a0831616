package stages_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"

	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/stages"
	"github.com/sluicehq/sluice/store"
)

// reader is a log in memory that notes how it was read.
type reader struct {
	events  []store.Event // dense, the first has offset trimmed+1
	trimmed int64
	errs    []error         // returned by the next Fetches, one each
	appear  [][]store.Event // what the next Waits bring, one each
	asked   []store.Limit
	after   []int64
}

func (r *reader) Fetch(_ context.Context, after int64, limit store.Limit) ([]store.Event, error) {
	r.asked, r.after = append(r.asked, limit), append(r.after, after)
	if len(r.errs) > 0 {
		err := r.errs[0]
		r.errs = r.errs[1:]
		return nil, err
	}
	if after < r.trimmed {
		return nil, store.ErrTrimmed
	}
	rest := r.events[min(int(after-r.trimmed), len(r.events)):]
	return rest[:min(limit.Events, len(rest))], nil
}

func (r *reader) Wait(ctx context.Context, _ int64) error {
	if len(r.appear) == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	r.events = append(r.events, r.appear[0]...)
	r.appear = r.appear[1:]
	return nil
}

func (r *reader) Head(context.Context) (store.Head, error) {
	return store.Head{Offset: r.trimmed + int64(len(r.events)), Trimmed: r.trimmed}, nil
}

func offsets(events []store.Event) []int64 {
	var out []int64
	for _, e := range events {
		out = append(out, e.Offset)
	}
	return out
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestProducerReadsNoMoreThanAsked(t *testing.T) {
	t.Parallel()
	log := &reader{events: events(1, slices.Repeat([]string{"a"}, 20)...)}
	var told []int64
	p := stages.NewProducer(log, stages.ProducerConfig{
		After: 2, FetchSize: 8, FetchBytes: 99, Fetched: func(offset int64) { told = append(told, offset) },
	})
	for _, step := range []struct {
		demand int
		want   []int64
	}{
		{3, []int64{3, 4, 5}},
		{15, []int64{6, 7, 8, 9, 10, 11, 12, 13}}, // FetchSize
		{1, []int64{14}},
		{8, []int64{15, 16, 17, 18, 19, 20}}, // what is there
	} {
		got, err := p.Fetch(t.Context(), step.demand)
		if err != nil || !slices.Equal(offsets(got), step.want) {
			t.Fatalf("asked %d: got %v, %v; want %v", step.demand, offsets(got), err, step.want)
		}
		if last := step.want[len(step.want)-1]; p.Position() != last || told[len(told)-1] != last {
			t.Errorf("after %d: position %d, told %v", last, p.Position(), told)
		}
	}
	want := []store.Limit{{Events: 3, Bytes: 99}, {Events: 8, Bytes: 99}, {Events: 1, Bytes: 99}, {Events: 8, Bytes: 99}}
	if !slices.Equal(log.asked, want) {
		t.Errorf("read %v, want %v", log.asked, want)
	}
}

func TestProducerWaitsForEvents(t *testing.T) {
	t.Parallel()
	log := &reader{appear: [][]store.Event{nil, events(1, "a", "b")}} // the first wake-up is for nothing
	p := stages.NewProducer(log, stages.ProducerConfig{FetchSize: 8})
	got, err := p.Fetch(t.Context(), 5)
	if err != nil || !slices.Equal(offsets(got), []int64{1, 2}) {
		t.Fatalf("got %v, %v", offsets(got), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Fetch(ctx, 5); !errors.Is(err, context.Canceled) {
		t.Errorf("with nothing to come: %v", err)
	}
}

func TestProducerStaysWhereItIsAfterAnError(t *testing.T) {
	t.Parallel()
	gone := errors.New("connection lost")
	log := &reader{events: events(1, "a", "b", "c"), errs: []error{gone}}
	p := stages.NewProducer(log, stages.ProducerConfig{FetchSize: 8})
	if _, err := p.Fetch(t.Context(), 2); !errors.Is(err, gone) || p.Position() != 0 {
		t.Fatalf("got %v at position %d", err, p.Position())
	}
	if got, err := p.Fetch(t.Context(), 2); err != nil || !slices.Equal(offsets(got), []int64{1, 2}) {
		t.Errorf("got %v, %v", offsets(got), err)
	}
}

func TestProducerPassesOverWhatWasTrimmed(t *testing.T) {
	t.Parallel()
	log := &reader{trimmed: 10, events: events(11, "a", "b")}
	var told []int64
	tell := func(offset int64) { told = append(told, offset) }
	p := stages.NewProducer(log, stages.ProducerConfig{
		After: 4, FetchSize: 8, Logger: quiet(), Fetched: tell,
		Skipped: func(through int64) { tell(-through) },
	})
	got, err := p.Fetch(t.Context(), 5)
	if err != nil || !slices.Equal(offsets(got), []int64{11, 12}) {
		t.Errorf("got %v, %v", offsets(got), err)
	}
	if want := []int64{-10, 12}; !slices.Equal(told, want) {
		t.Errorf("told of %v, want first what was skipped, and then what was fetched: %v", told, want)
	}
}

// A server that says that an event is gone, while another says that it is not, is
// asked again: nothing is skipped, and it is not asked without a pause.
func TestProducerSkipsNothingOnAContradiction(t *testing.T) {
	t.Parallel()
	log := &reader{events: events(1, "a", "b"), errs: []error{store.ErrTrimmed}}
	p := stages.NewProducer(log, stages.ProducerConfig{
		FetchSize: 8, Logger: quiet(), Skipped: func(through int64) { t.Errorf("skipped through %d", through) },
	})
	if got, err := p.Fetch(t.Context(), 2); !errors.Is(err, store.ErrTrimmed) {
		t.Errorf("got %v, %v", offsets(got), err)
	}
	if got, err := p.Fetch(t.Context(), 2); err != nil || !slices.Equal(offsets(got), []int64{1, 2}) {
		t.Errorf("got %v, %v", offsets(got), err)
	}
}

func TestProducerCounts(t *testing.T) {
	t.Parallel()
	set, err := metrics.New(metrics.Config{})
	if err != nil {
		t.Fatal(err)
	}
	p := stages.NewProducer(&reader{events: events(1, "a", "b", "c")}, stages.ProducerConfig{FetchSize: 2, Metrics: set})
	for range 2 {
		if _, err := p.Fetch(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
	}
	if got := set.Counter(metrics.EventsFetched).Value(); got != 3 {
		t.Errorf("counted %d events, want 3", got)
	}
}
