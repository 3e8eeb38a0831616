package pipeline

import (
	"fmt"
	"strings"
	"testing"
)

// A step is something done to a dispatcher, and what it then wants, or dispatched.
type step struct{ do, want string }

// play runs steps against a dispatcher of ints that count from 1. Steps are
// "sub id partition", "cancel id", "ask id n" (which answer with Want),
// "emit n" and "evict".
func play(t *testing.T, d Dispatcher[int], selectors map[ID]func(*int) bool, steps []step) {
	t.Helper()
	next := 0
	var rest []int
	for i, s := range steps {
		var verb string
		var a, b int
		fmt.Sscan(s.do, &verb, &a, &b)
		got := ""
		switch verb {
		case "sub":
			if err := d.Subscribe(ID(a), Subscriber[int]{Partition: b, Selector: selectors[ID(a)]}); err != nil {
				got = err.Error()
			}
		case "cancel":
			d.Cancel(ID(a))
			got = fmt.Sprint(d.Want())
		case "ask":
			d.Ask(ID(a), b)
			got = fmt.Sprint(d.Want())
		case "emit":
			for range a {
				next++
				rest = append(rest, next)
			}
			got, rest = outcome(d.Dispatch(Events[int]{Items: rest}))
		case "evict":
			for _, e := range d.(queuer[int]).Evict() {
				got += fmt.Sprint(e.Items)
			}
		}
		if got != s.want {
			t.Fatalf("step %d, %q: got %q, want %q", i, s.do, got, s.want)
		}
	}
}

func outcome(d Dispatched[int]) (string, []int) {
	var parts []string
	for _, delivery := range d.Deliveries {
		parts = append(parts, fmt.Sprint(delivery.To, delivery.Items))
	}
	for _, r := range d.Rejected {
		parts = append(parts, "rejected "+fmt.Sprint(r.Items))
	}
	if len(d.Rest) > 0 {
		parts = append(parts, "rest "+fmt.Sprint(d.Rest))
	}
	return strings.Join(parts, " "), append([]int(nil), d.Rest...)
}

func TestDemandDispatcher(t *testing.T) {
	t.Parallel()
	for name, steps := range map[string][]step{
		"nobody":              {{"emit 2", "rest [1 2]"}},
		"no demand":           {{"sub 1", ""}, {"emit 2", "rest [1 2]"}},
		"one consumer":        {{"sub 1", ""}, {"ask 1 3", "3"}, {"emit 2", "1 [1 2]"}, {"emit 2", "1 [3] rest [4]"}},
		"most demand first":   {{"sub 1", ""}, {"sub 2", ""}, {"ask 1 2", "2"}, {"ask 2 3", "5"}, {"emit 4", "2 [1 2 3] 1 [4]"}},
		"ties: first asked":   {{"sub 1", ""}, {"sub 2", ""}, {"ask 2 2", "2"}, {"ask 1 2", "4"}, {"emit 3", "2 [1 2] 1 [3]"}},
		"the rest keeps":      {{"sub 1", ""}, {"ask 1 1", "1"}, {"emit 3", "1 [1] rest [2 3]"}, {"ask 1 5", "5"}, {"emit 0", "1 [2 3]"}},
		"asks add up":         {{"sub 1", ""}, {"ask 1 1", "1"}, {"ask 1 1", "2"}, {"emit 3", "1 [1 2] rest [3]"}},
		"asking nothing":      {{"sub 1", ""}, {"ask 1 0", "0"}, {"emit 1", "rest [1]"}},
		"demand leaves along": {{"sub 1", ""}, {"sub 2", ""}, {"ask 1 5", "5"}, {"ask 2 2", "7"}, {"cancel 1", "2"}, {"emit 3", "2 [1 2] rest [3]"}},
		"a stranger asks":     {{"ask 7 5", "0"}, {"emit 1", "rest [1]"}},
		"a stranger leaves":   {{"sub 1", ""}, {"ask 1 1", "1"}, {"cancel 7", "1"}},
		"twice":               {{"sub 1", ""}, {"sub 1", "subscription 1 is subscribed already"}},
		"rotation":            {{"sub 1", ""}, {"sub 2", ""}, {"ask 1 2", "2"}, {"ask 2 2", "4"}, {"emit 1", "1 [1]"}, {"emit 1", "2 [2]"}, {"emit 2", "1 [3] 2 [4]"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, NewDemand[int](), nil, steps)
		})
	}
}

func TestDemandDispatcherDealsInBatches(t *testing.T) {
	t.Parallel()
	d := NewDemand[int]()
	for id := range ID(2) {
		if err := d.Subscribe(id, Subscriber[int]{Batch: 2}); err != nil {
			t.Fatal(err)
		}
		d.Ask(id, 4)
	}
	got, _ := outcome(d.Dispatch(Events[int]{Items: upTo(8)}))
	if want := "0 [1 2] 1 [3 4] 0 [5 6] 1 [7 8]"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBroadcastDispatcher(t *testing.T) {
	t.Parallel()
	even := func(n *int) bool { return *n%2 == 0 }
	none := func(*int) bool { return false }
	for name, c := range map[string]struct {
		selectors map[ID]func(*int) bool
		steps     []step
	}{
		"nobody":                  {nil, []step{{"emit 1", "rest [1]"}}},
		"the least demanding":     {nil, []step{{"sub 1", ""}, {"sub 2", ""}, {"ask 1 5", "0"}, {"ask 2 2", "2"}, {"emit 3", "1 [1 2] 2 [1 2] rest [3]"}}},
		"a new one holds":         {nil, []step{{"sub 1", ""}, {"ask 1 5", "5"}, {"emit 1", "1 [1]"}, {"sub 2", ""}, {"emit 1", "rest [2]"}, {"ask 2 1", "1"}, {"emit 0", "1 [2] 2 [2]"}}},
		"one that leaves, frees":  {nil, []step{{"sub 1", ""}, {"sub 2", ""}, {"ask 1 5", "0"}, {"cancel 2", "5"}, {"emit 1", "1 [1]"}}},
		"rejected is asked again": {map[ID]func(*int) bool{2: even}, []step{{"sub 1", ""}, {"sub 2", ""}, {"ask 1 4", "0"}, {"ask 2 2", "2"}, {"emit 4", "1 [1 2] 2 [2] rest [3 4]"}, {"emit 0", "1 [3] 2 [] rest [4]"}}},
		"nobody selects":          {map[ID]func(*int) bool{1: none}, []step{{"sub 1", ""}, {"ask 1 2", "2"}, {"emit 2", ""}, {"emit 2", ""}}},
		"selectors panic apart":   {map[ID]func(*int) bool{1: func(n *int) bool { return 6/(*n-2) != 0 }}, []step{{"sub 1", ""}, {"sub 2", ""}, {"ask 1 3", "0"}, {"ask 2 3", "3"}, {"emit 3", "1 [1 3] 2 [1 2 3] rejected [2]"}}},
		"twice":                   {nil, []step{{"sub 1", ""}, {"sub 1", "subscription 1 is subscribed already"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i := range c.steps { // an empty delivery is none
				c.steps[i].want = strings.Replace(c.steps[i].want, " 2 []", "", 1)
			}
			play(t, NewBroadcast[int](), c.selectors, c.steps)
		})
	}
}

func TestPartitionDispatcher(t *testing.T) {
	t.Parallel()
	// Two partitions by parity: even is 0, odd is 1. Tens are discarded.
	key := func(n *int) int {
		if *n%10 == 0 {
			return Discard
		}
		return *n % 2
	}
	for name, c := range map[string]struct {
		queue int
		steps []step
	}{
		"nobody, no demand":         {10, []step{{"emit 0", ""}}},
		"each its own":              {10, []step{{"sub 1 0", ""}, {"sub 2 1", ""}, {"ask 1 5", "5"}, {"ask 2 5", "10"}, {"emit 4", "1 [2 4] 2 [1 3]"}}},
		"the others queue":          {10, []step{{"sub 1 0", ""}, {"sub 2 1", ""}, {"ask 1 5", "5"}, {"emit 4", "1 [2 4]"}, {"ask 2 1", "2"}, {"emit 0", "2 [1]"}, {"ask 2 9", "11"}, {"emit 0", "2 [3]"}}},
		"a full queue holds back":   {2, []step{{"sub 1 0", ""}, {"sub 2 1", ""}, {"ask 1 9", "2"}, {"emit 3", "1 [2]"}, {"emit 1", "1 [4]"}, {"ask 1 1", "0"}, {"emit 3", "rest [5 6 7]"}, {"ask 2 1", "1"}, {"emit 0", "2 [1] 1 [6] rest [7]"}}},
		"no queue":                  {0, []step{{"sub 1 0", ""}, {"sub 2 1", ""}, {"ask 1 9", "0"}, {"ask 2 1", "1"}, {"emit 3", "1 [2] 2 [1] rest [3]"}}},
		"no consumer, queue":        {2, []step{{"sub 1 0", ""}, {"ask 1 9", "2"}, {"emit 4", "1 [2 4]"}, {"sub 2 1", ""}, {"ask 2 1", "1"}, {"emit 0", "2 [1]"}}},
		"discard":                   {10, []step{{"sub 1 0", ""}, {"sub 2 1", ""}, {"ask 1 9", "9"}, {"ask 2 9", "18"}, {"emit 11", "1 [2 4 6 8] 2 [1 3 5 7 9 11] rejected [10]"}}},
		"leaving keeps the queue":   {10, []step{{"sub 1 0", ""}, {"sub 2 1", ""}, {"ask 1 5", "5"}, {"emit 4", "1 [2 4]"}, {"cancel 2", "1"}, {"sub 3 1", ""}, {"ask 3 5", "6"}, {"emit 0", "3 [1 3]"}}},
		"leaving forgets demand":    {10, []step{{"sub 1 0", ""}, {"ask 1 5", "5"}, {"cancel 1", "0"}, {"ask 1 5", "0"}}},
		"one consumer a partition":  {10, []step{{"sub 1 0", ""}, {"sub 2 0", "partition 0: has a consumer already"}, {"cancel 1", "0"}, {"sub 2 0", ""}}},
		"no such partition":         {10, []step{{"sub 1 2", "partition 2: out of range 0..1"}, {"sub 1 -1", "partition -1: out of range 0..1"}}},
		"evict what nobody takes":   {10, []step{{"sub 1 0", ""}, {"ask 1 9", "9"}, {"emit 4", "1 [2 4]"}, {"evict", "[1 3]"}, {"ask 1 1", "8"}, {"emit 2", "1 [6] rejected [5]"}}},
		"a batch of one partition":  {10, []step{{"sub 2 1", ""}, {"ask 2 1", "1"}, {"emit 1", "2 [1]"}}},
		"queue and demand together": {10, []step{{"sub 1 0", ""}, {"sub 2 1", ""}, {"ask 1 1", "1"}, {"emit 5", "1 [2]"}, {"ask 1 4", "0"}, {"emit 1", "1 [4] 1 [6]"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, PartitionBy(2, key).WithQueue(c.queue), nil, c.steps)
		})
	}
}

func TestPartitionKeyThatPanicsRejectsItsEvent(t *testing.T) {
	t.Parallel()
	d := PartitionBy(1, func(n *int) int { return 0 / (*n - 2) })
	if err := d.Subscribe(1, Subscriber[int]{}); err != nil {
		t.Fatal(err)
	}
	d.Ask(1, 10)
	dispatched := d.Dispatch(Events[int]{Items: upTo(3)})
	got, _ := outcome(dispatched)
	if want := "1 [1 3] rejected [2]"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, ok := dispatched.Rejected[0].Err.(*PanicError); !ok {
		t.Errorf("rejected with %v, want a panic", dispatched.Rejected[0].Err)
	}
}

func TestPartitionMark(t *testing.T) {
	t.Parallel()
	d := PartitionBy(1, func(*int) int { return 0 })
	if err := d.Subscribe(1, Subscriber[int]{}); err != nil {
		t.Fatal(err)
	}
	d.Dispatch(Events[int]{Items: upTo(2)})
	passed := d.Mark()
	d.Dispatch(Events[int]{Items: upTo(2)})
	for i, want := range []bool{false, true} {
		d.Ask(1, 1)
		d.Dispatch(Events[int]{})
		if got := passed(); got != want {
			t.Errorf("after %d: passed %v, want %v", i+1, got, want)
		}
	}
}

func TestBuffer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		keep            Keep
		size            int
		pushes          []int
		kept, discarded string
	}{
		"room for all":        {KeepLast, 5, []int{2, 3}, "[1 2 3 4 5]", "[]"},
		"keep last":           {KeepLast, 3, []int{2, 3}, "[3 4 5]", "[1 2]"},
		"keep first":          {KeepFirst, 3, []int{2, 3}, "[1 2 3]", "[4 5]"},
		"keep first, several": {KeepFirst, 2, []int{2, 1, 2}, "[1 2]", "[3 4 5]"},
		"keep last, at once":  {KeepLast, 2, []int{5}, "[4 5]", "[1 2 3]"},
		"keep first, at once": {KeepFirst, 2, []int{5}, "[1 2]", "[3 4 5]"},
		"none, last":          {KeepLast, 0, []int{2}, "[]", "[1 2]"},
		"none, first":         {KeepFirst, 0, []int{2}, "[]", "[1 2]"},
		"nothing":             {KeepLast, 2, []int{0}, "[]", "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := buffer[int]{size: c.size, keep: c.keep}
			next := 0
			kept, discarded := []int{}, []int{}
			for _, n := range c.pushes {
				var events []int
				for range n {
					next++
					events = append(events, next)
				}
				b.add(Events[int]{Items: events})
				for _, e := range b.trim(n) {
					discarded = append(discarded, e.Items...)
				}
			}
			for b.len > 0 {
				e := b.head()
				kept = append(kept, e.Items...)
				b.remove(len(e.Items))
			}
			if got := fmt.Sprint(kept); got != c.kept {
				t.Errorf("kept %s, want %s", got, c.kept)
			}
			if got := fmt.Sprint(discarded); got != c.discarded {
				t.Errorf("discarded %s, want %s", got, c.discarded)
			}
			if b.in != b.out {
				t.Errorf("%d in, %d out", b.in, b.out)
			}
		})
	}
}
