package chaos

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/benchmarks/target"
)

// listing is what the admin listener of a node says of each of the watchers' topics.
type listing struct {
	channels int
	members  string
	nodes    string // ids
	unready  bool
}

// ServeHTTP implements [http.Handler].
func (l listing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/readyz" && l.unready:
		w.WriteHeader(http.StatusServiceUnavailable)
	case r.URL.Path == "/api/topics":
		fmt.Fprintf(w, `{"topics":[{"topic":"other","channels":9},{"topic":"%s","channels":%d},{"topic":"%s","channels":%[2]d}]}`,
			topicName(hereTopic, 0), l.channels, topicName(hereTopic, 1))
	case r.URL.Path == "/api/nodes":
		fmt.Fprintf(w, `{"connected":true,"nodes":[{"id":"%s"}]}`, strings.ReplaceAll(l.nodes, ",", `"},{"id":"`))
	case strings.HasPrefix(r.URL.Path, "/api/presence/"):
		fmt.Fprintf(w, `{"members":%s}`, l.members)
	}
}

// on is a run whose nodes say that.
func on(t *testing.T, listings ...listing) *run {
	t.Helper()
	r := &run{Chaos: &Chaos{Nodes: len(listings), Bus: BusRoutes}, ctx: t.Context(), log: &lineLog{}}
	for i, l := range listings {
		process, err := target.NewProcess("none", processName(i), io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = process.Release() })
		listener, err := net.Listen("tcp", process.Admin)
		if err != nil {
			t.Fatal(err)
		}
		server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: l}}
		server.Start()
		t.Cleanup(server.Close)
		r.nodes = append(r.nodes, &node{Process: process})
	}
	return r
}

// toldOf is a watcher that was told so, and has joined.
func toldOf(key, members string) *watcher {
	w := &watcher{key: key, topics: (&Chaos{Nodes: 3}).hereTopics(), places: map[string]*watched{}}
	for _, topic := range w.topics {
		p := &watched{joined: true, heard: map[int]cast{}}
		if err := p.roster.State([]byte(members)); err != nil {
			panic(err)
		}
		w.places[topic] = p
	}
	return w
}

// A list that differs from what nodes hold, or from another list, is told.
func TestListsThatDifferAreTold(t *testing.T) {
	t.Parallel()
	const ann = `{"ann":{"metas":[{"phx_ref":"1"}]}}`
	const both = `{"ann":{"metas":[{"phx_ref":"1"}]},"ben":{"metas":[{"phx_ref":"2"}]}}`
	const other = `{"ann":{"metas":[{"phx_ref":"1"}]},"ben":{"metas":[{"phx_ref":"3"}]}}`
	for name, test := range map[string]struct {
		nodes          []listing
		told           []string
		ghosts, absent int64
		want           string // in what is told; empty: all is well
	}{
		"all the same":           {[]listing{{channels: 1, members: both}, {channels: 1, members: both}}, []string{both, both}, 0, 0, ""},
		"one too many on a node": {[]listing{{channels: 1, members: ann}, {members: both}}, []string{ann}, 1, 0, "node node-2 lists 2"},
		"one too many for all":   {[]listing{{channels: 1, members: both}, {members: both}}, []string{both}, 1, 0, "node node-1 lists 2"},
		"one too many at one":    {[]listing{{channels: 1, members: ann}, {members: ann}}, []string{both}, 1, 0, "watcher 0 lists 2"},
		"one too few at one":     {[]listing{{channels: 1, members: both}, {channels: 1, members: both}}, []string{both, ann}, 0, 1, "watcher 1 lists 1"},
		"one too few for all":    {[]listing{{channels: 1, members: ann}, {channels: 1, members: ann}}, []string{ann, ann}, 0, 1, "node node-1 lists 1"},
		"another for one":        {[]listing{{channels: 1, members: both}, {channels: 1, members: other}}, []string{both, both}, 0, 0, "node node-2 lists 2"},
		"a stranger in place":    {[]listing{{channels: 1, members: ann}}, []string{`{"ann":{"metas":[{"phx_ref":"1"}]}}`, ann}, 0, 0, `"ben" is too rarely`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := on(t, test.nodes...)
			for i, members := range test.told {
				r.watchers = append(r.watchers, toldOf([]string{"ann", "ben"}[i], members))
				r.watchers[i].index = i
			}
			got, err := r.disagree()
			if err != nil || (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
				t.Errorf("told %q: %v; want %q", got, err, test.want)
			}
			if r.settled.ghosts != test.ghosts || r.settled.absent != test.absent {
				t.Errorf("%d ghosts and %d not listed, want %d and %d", r.settled.ghosts, r.settled.absent, test.ghosts, test.absent)
			}
		})
	}
}

// Nodes know each other when all name the same lives, as many as there are.
func TestNodesKnowEachOther(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		nodes []listing
		want  string
	}{
		"all":                {[]listing{{nodes: "a,b"}, {nodes: "b,a"}}, ""},
		"one knows less":     {[]listing{{nodes: "a,b"}, {nodes: "b"}}, "node node-2 knows"},
		"one of an old life": {[]listing{{nodes: "a,b,c"}, {nodes: "a,b"}}, "node node-1 knows"},
		"different lives":    {[]listing{{nodes: "a,b"}, {nodes: "a,c"}}, "node node-2 knows"},
		"one is not ready":   {[]listing{{nodes: "a,b"}, {nodes: "a,b", unready: true}}, "node node-2 is not ready"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, _ := on(t, test.nodes...).strangers()
			if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
				t.Errorf("told %q, want %q", got, test.want)
			}
		})
	}
}

// What was broadcast before does not count for what is broadcast since.
func TestOnlyLaterBroadcastsCount(t *testing.T) {
	t.Parallel()
	w := toldOf("ann", "{}")
	since := reach{node: 1, topic: w.topics[0], life: 2, number: 7}
	for heard, want := range map[cast]bool{{1, 2, 7}: true, {1, 2, 8}: true, {1, 3, 0}: true, {1, 2, 6}: false, {1, 1, 9}: false, {0, 2, 9}: false} {
		w.places[since.topic].heard = map[int]cast{heard.Node: heard}
		if got := w.heard(since); got != want {
			t.Errorf("%+v counts: %v, want %v", heard, got, want)
		}
	}
}

// Waiting ends with what is missing, and with the run.
func TestUntilTellsWhatIsMissing(t *testing.T) {
	t.Parallel()
	r := on(t)
	asked := 0
	if err := r.until(settling, func() (string, error) { asked++; return []string{"", "one", "two"}[max(0, 3-asked)%3], nil }); err != nil || asked != 3 {
		t.Errorf("asked %d times: %v", asked, err)
	}
	if err := r.until(0, func() (string, error) { return "a node", nil }); err == nil || !strings.Contains(err.Error(), "a node") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.ctx = ctx
	if err := r.until(settling, func() (string, error) { return "a node", nil }); err == nil {
		t.Error("the run's end ends nothing")
	}
}
