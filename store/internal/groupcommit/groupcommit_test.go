package groupcommit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/internal/testmain"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/internal/groupcommit"
)

func TestMain(m *testing.M) { testmain.Main(m) }

// table is what groups are written to: each write takes a while, is whole or
// refused, and is remembered.
type table struct {
	mu     sync.Mutex
	writes [][]string // the topics of each write
	err    error      // of every write

	requests map[string]*groupcommit.Known
}

const writeTime = time.Second

func (w *table) write(ctx context.Context, batch *groupcommit.Batch) error {
	select {
	case <-time.After(writeTime):
	case <-ctx.Done():
		return ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	for i := range batch.Requests {
		r := &batch.Requests[i]
		r.Known = w.requests[r.Key]
	}
	var topics []string
	for _, d := range batch.Fresh() {
		if d.Topic == "refused" {
			return &store.InvalidError{Index: -1, Reason: "refused"}
		}
		topics = append(topics, d.Topic)
	}
	w.writes = append(w.writes, topics)
	for _, r := range batch.Requests {
		if r.Known == nil {
			if w.requests == nil {
				w.requests = map[string]*groupcommit.Known{}
			}
			w.requests[r.Key] = &groupcommit.Known{BodySHA256: r.BodySHA256, Count: r.Count}
		}
	}
	return nil
}

func unbounded() int64 { return 0 }

func drafts(topics ...string) []store.Draft {
	var list []store.Draft
	for _, topic := range topics {
		list = append(list, store.Draft{Topic: topic, Name: "e"})
	}
	return list
}

func TestCallsThatWaitShareAWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var written table
		g := groupcommit.New(written.write, unbounded, nil)
		var callers sync.WaitGroup
		for caller := range 5 {
			callers.Go(func() {
				if err := g.Append(t.Context(), drafts(fmt.Sprint(caller), fmt.Sprint(caller))); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait() // in this order
		}
		callers.Wait()
		want := [][]string{{"0", "0"}, {"1", "1", "2", "2", "3", "3", "4", "4"}}
		if !slices.EqualFunc(written.writes, want, slices.Equal) {
			t.Errorf("wrote %v, want %v", written.writes, want)
		}
		g.Close()
	})
}

func TestRefusedCallFailsAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var written table
		g := groupcommit.New(written.write, unbounded, nil)
		var callers sync.WaitGroup
		for caller, topic := range []string{"first", "a", "refused", "b"} {
			callers.Go(func() {
				err := g.Append(t.Context(), drafts(topic))
				var invalid *store.InvalidError
				if refused := errors.As(err, &invalid); refused != (topic == "refused") || !refused && err != nil {
					t.Errorf("caller %d, %s: %v", caller, topic, err)
				}
			})
			synctest.Wait()
		}
		callers.Wait()
		if want := [][]string{{"first"}, {"a"}, {"b"}}; !slices.EqualFunc(written.writes, want, slices.Equal) {
			t.Errorf("wrote %v, want %v", written.writes, want)
		}
		g.Close()
	})
}

// TestOutageIsNotRetried: whether a lost write was done is not known, and
// doing it again might do it twice.
func TestOutageIsNotRetried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		written := table{err: &store.UnavailableError{MaybeDone: true, Err: errors.New("gone")}}
		g := groupcommit.New(written.write, unbounded, nil)
		start := time.Now()
		var callers sync.WaitGroup
		for range 4 {
			callers.Go(func() {
				if err := g.Append(t.Context(), drafts("a")); err == nil || store.RetrySafe(err) {
					t.Errorf("got %v", err)
				}
			})
			synctest.Wait()
		}
		callers.Wait()
		if took := time.Since(start); took != 2*writeTime {
			t.Errorf("took %v, want two writes", took)
		}
		g.Close()
	})
}

func TestCallerMayLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var written table
		g := groupcommit.New(written.write, unbounded, nil)
		leaving, leave := context.WithCancel(t.Context())
		payload := []byte(`{"a":1}`)
		var callers sync.WaitGroup
		for _, topic := range []string{"taken", "waits"} {
			callers.Go(func() {
				err := g.Append(leaving, []store.Draft{{Topic: topic, Name: "e", Payload: payload}})
				if !errors.Is(err, context.Canceled) {
					t.Errorf("%s: %v", topic, err)
				}
				if maybe := strings.Contains(err.Error(), "may yet be written"); maybe != (topic == "taken") {
					t.Errorf("%s: %v", topic, err)
				}
			})
			synctest.Wait()
		}
		leave()
		callers.Wait()
		clear(payload) // ours again, while the writer writes
		g.Close()      // waits for it
		if want := [][]string{{"taken"}}; !slices.EqualFunc(written.writes, want, slices.Equal) {
			t.Errorf("wrote %v, want %v", written.writes, want)
		}
		if err := g.Append(t.Context(), drafts("late")); !errors.Is(err, store.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestGroupsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var written table
		g := groupcommit.New(written.write, unbounded, nil)
		var callers sync.WaitGroup
		for range 10 {
			callers.Go(func() {
				if err := g.Append(t.Context(), drafts(slices.Repeat([]string{"t"}, 2000)...)); err != nil {
					t.Error(err)
				}
			})
		}
		callers.Wait()
		for _, write := range written.writes {
			if len(write) > 4096 {
				t.Errorf("one write of %d events", len(write))
			}
		}
		// One call is never split, however large.
		if err := g.Append(t.Context(), drafts(slices.Repeat([]string{"t"}, 10000)...)); err != nil {
			t.Error(err)
		}
		if last := written.writes[len(written.writes)-1]; len(last) != 10000 {
			t.Errorf("a call of 10000 events was written as %d", len(last))
		}
		g.Close()
	})
}

// Requests share a write with others, each with its own outcome; one that comes twice is
// written once, and one that fails harms no other.
func TestRequestsShareAWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var written table
		g := groupcommit.New(written.write, unbounded, nil)
		type want struct {
			count int
			again bool
			err   error
		}
		var callers sync.WaitGroup
		once := func(key string, body byte, want want, topics ...string) {
			callers.Go(func() {
				count, again, err := g.AppendOnce(t.Context(), store.Request{Key: key, BodySHA256: [32]byte{body}}, drafts(topics...))
				if count != want.count || again != want.again || !errors.Is(err, want.err) {
					t.Errorf("request %s with %v: %d, %t, %v", key, topics, count, again, err)
				}
			})
			synctest.Wait() // in this order
		}
		plain := func(topic string) {
			callers.Go(func() {
				if err := g.Append(t.Context(), drafts(topic)); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		once("a", 1, want{count: 2}, "a1", "a2")
		plain("p1")
		once("b", 1, want{count: 1}, "b1")
		once("a", 1, want{2, true, nil}, "a1", "a2")
		plain("p2")
		once("c", 1, want{count: 0})
		once("b", 2, want{err: store.ErrOtherRequest}, "b2") // b is in that group: the next one has it
		plain("p3")
		once("a", 2, want{err: store.ErrOtherRequest}, "a3")
		once("c", 1, want{0, true, nil})
		plain("p4")
		callers.Wait()
		all := [][]string{{"a1", "a2"}, {"p1", "b1", "p2"}, {"p3", "p4"}}
		if !slices.EqualFunc(written.writes, all, slices.Equal) {
			t.Errorf("wrote %v, want %v", written.writes, all)
		}
		g.Close()
	})
}
