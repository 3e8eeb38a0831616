package admin

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/channels/presence"
	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/internal/cluster/clustertest"
	"github.com/sluicehq/sluice/internal/logtail"
	"github.com/sluicehq/sluice/internal/openapitest"
	"github.com/sluicehq/sluice/internal/timeline"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/socket"
	"github.com/sluicehq/sluice/stages"
	"github.com/sluicehq/sluice/store"
)

// Tokens of the tests below.
const theFullToken, theReadToken = "full-full-full-full", "read-read-read-read"

// TestDescriptionIsOpenAPI has a library that others use read it.
func TestDescriptionIsOpenAPI(t *testing.T) {
	t.Parallel()
	document, err := openapi3.NewLoader().LoadFromData(OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	if err := document.Validate(t.Context()); err != nil || !document.IsOpenAPI31OrLater() {
		t.Error(document.OpenAPI, err)
	}
}

// TestRoutesAreDescribed has each route of the listener in the description, and the reverse.
func TestRoutesAreDescribed(t *testing.T) {
	t.Parallel()
	d := described(t)
	var routes []string
	for _, r := range (&api{Config: Config{Metrics: newSet(t)}}).routes() {
		name := r.method + " " + strings.NewReplacer("...}", "}", "{$}", "").Replace(r.path)
		routes = append(routes, name)
		if _, guarded := d.Statuses(name)[http.StatusUnauthorized]; guarded == r.open {
			t.Errorf("%s: open to all is %v, and 401 is described: %v", name, r.open, guarded)
		}
	}
	slices.Sort(routes)
	if got := d.Operations(); !slices.Equal(got, routes) {
		t.Errorf("described are %q,\nthere are %q", got, routes)
	}
}

// TestTokensAreAsDescribed asks for everything with each token, and with none.
func TestTokensAreAsDescribed(t *testing.T) {
	t.Parallel()
	d := described(t)
	for _, operation := range d.Operations() {
		_, guarded := d.Statuses(operation)[http.StatusUnauthorized]
		for _, token := range []string{"", theReadToken, theFullToken} {
			want := 0 // anything else than these
			switch {
			case guarded && token == "":
				want = http.StatusUnauthorized
			case guarded && token == theReadToken && !slices.Contains(d.Schemes(operation), "readToken"):
				want = http.StatusForbidden
			}
			synctest.Test(t, func(t *testing.T) {
				got := newFake(t, true).ask(t, d, exchange{operation: operation, token: token})
				if refused := got == http.StatusUnauthorized || got == http.StatusForbidden; refused != (want != 0) || refused && got != want {
					t.Errorf("%s with the token %q: %d, want %d", operation, token, got, cmp.Or(want, http.StatusOK))
				}
			})
		}
	}
}

// exchange is a request, and what is to happen with it.
type exchange struct {
	operation string
	query     string
	token     string
	body      string
	large     bool // the body, of a length that is not said before
	guesses   int  // wrong tokens that come before
	origin    string
	key       string // as its Idempotency-Key
	name      string // of a consumer
	set       func(*fake)
}

// TestEveryStatusIsGiven has the handlers give each answer that is described, and none
// that is not. What is answered while there are too many connections is for the front door.
func TestEveryStatusIsGiven(t *testing.T) {
	t.Parallel()
	d := described(t)
	const event, erase, revoke = `{"topic":"t","event":"e","payload":{"a":1},"key":null}`, `{"topic":"t"}`, `{"sub":"7"}`
	const commit = `{"epoch":"e","offset":5}`
	var exchanges []exchange
	for _, operation := range d.Operations() {
		if strings.HasPrefix(operation, "GET ") {
			exchanges = append(exchanges, exchange{operation: operation})
		}
		exchanges = append(exchanges, exchange{operation: operation, origin: "https://evil.example"})
		if _, ok := d.Statuses(operation)[http.StatusUnauthorized]; ok {
			exchanges = append(exchanges, exchange{operation: operation, token: "-"}, exchange{operation: operation, token: "-", guesses: freeGuesses})
		}
	}
	lost := &store.UnavailableError{Op: "test", Addr: "db", Err: io.ErrUnexpectedEOF}
	unopened := func(f *fake) {
		f.config.Stream = &stages.Stream{}
		f.config.Readiness.Fail(lost)
	}
	fails := func(err error) func(*fake) { return func(f *fake) { f.err = err } }
	exchanges = append(exchanges,
		exchange{operation: "POST /api/events", body: event},
		exchange{operation: "POST /api/events", body: event[1:]},
		exchange{operation: "POST /api/events", body: event, large: true},
		exchange{operation: "POST /api/events", body: event, set: unopened},
		exchange{operation: "POST /api/events", body: event, set: fails(lost)},
		exchange{operation: "POST /api/events", body: event, set: fails(errors.New("broken"))},
		exchange{operation: "POST /api/events", body: event, set: fails(&store.InvalidError{Field: "payload", Reason: "is too large"})},
		exchange{operation: "POST /api/events", body: event, key: "k"},
		exchange{operation: "POST /api/events", body: event, key: "k", set: fails(store.ErrOtherRequest)},
		exchange{operation: "POST /api/broadcast", body: event},
		exchange{operation: "POST /api/broadcast", body: event, set: func(f *fake) { f.unreached = []string{"b"} }},
		exchange{operation: "POST /api/broadcast", body: event[1:]},
		exchange{operation: "POST /api/broadcast", body: event, large: true},
		exchange{operation: "POST /api/broadcast", body: event, set: fails(cluster.ErrAway)},
		exchange{operation: "POST /api/broadcast", body: event, set: fails(errors.New("broken"))},
		exchange{operation: "POST /api/erase", body: erase},
		exchange{operation: "POST /api/erase", body: erase + erase},
		exchange{operation: "POST /api/erase", body: erase, large: true},
		exchange{operation: "POST /api/erase", body: erase, set: unopened},
		exchange{operation: "POST /api/erase", body: erase, set: fails(lost)},
		exchange{operation: "POST /api/revoke", body: revoke},
		exchange{operation: "POST /api/revoke", body: revoke + revoke},
		exchange{operation: "POST /api/revoke", body: revoke, large: true},
		exchange{operation: "POST /api/revoke", body: revoke, set: unopened},
		exchange{operation: "POST /api/revoke", body: revoke, set: fails(lost)},
		exchange{operation: "POST /api/revoke", body: revoke, set: fails(store.ErrTooManyRevocations)},
		exchange{operation: "POST /api/revoke", body: revoke, set: fails(&store.RevocationError{Field: "value", Reason: "is empty"})},
		exchange{operation: "GET /api/log", query: "?topic=t&after=0&limit=1"},
		exchange{operation: "GET /api/log", query: "?limit=x"},
		exchange{operation: "GET /api/log", query: "?after=0&epoch=other"},
		exchange{operation: "GET /api/log", set: unopened},
		exchange{operation: "GET /api/log", set: fails(lost)},
		exchange{operation: "GET /api/consumers", set: unopened},
		exchange{operation: "GET /api/consumers", set: fails(lost)},
		exchange{operation: "GET /api/consumers/{name}/events", query: "?topic=t&limit=1&wait=1s"},
		exchange{operation: "GET /api/consumers/{name}/events", query: "?wait=x"},
		exchange{operation: "GET /api/consumers/{name}/events", name: "a.b"},
		exchange{operation: "GET /api/consumers/{name}/events", name: "lost"},
		exchange{operation: "GET /api/consumers/{name}/events", set: unopened},
		exchange{operation: "GET /api/consumers/{name}/events", set: fails(lost)},
		exchange{operation: "POST /api/consumers/{name}/commit", body: commit},
		exchange{operation: "POST /api/consumers/{name}/commit", body: `{"epoch":"e","offset":3}`},
		exchange{operation: "POST /api/consumers/{name}/commit", body: `{"epoch":"e","offset":3,"rewind":true}`},
		exchange{operation: "POST /api/consumers/{name}/commit", body: `{"epoch":"e","offset":3,"read_after":{"epoch":"e","offset":99}}`},
		exchange{operation: "POST /api/consumers/{name}/commit", body: commit + commit},
		exchange{operation: "POST /api/consumers/{name}/commit", body: commit, large: true},
		exchange{operation: "POST /api/consumers/{name}/commit", body: commit, set: unopened},
		exchange{operation: "POST /api/consumers/{name}/commit", body: commit, set: fails(lost)},
		exchange{operation: "POST /api/consumers/{name}/enable"},
		exchange{operation: "POST /api/consumers/{name}/enable", name: "a.b"},
		exchange{operation: "POST /api/consumers/{name}/enable", set: unopened},
		exchange{operation: "POST /api/consumers/{name}/enable", set: fails(lost)},
		exchange{operation: "DELETE /api/consumers/{name}"},
		exchange{operation: "DELETE /api/consumers/{name}", name: "a.b"},
		exchange{operation: "DELETE /api/consumers/{name}", set: unopened},
		exchange{operation: "DELETE /api/consumers/{name}", set: fails(lost)},
		exchange{operation: "GET /api/watched", set: unopened},
		exchange{operation: "GET /api/watched", set: fails(lost)},
		exchange{operation: "GET /api/revocations", query: "?limit=1&after=0"},
		exchange{operation: "GET /api/revocations", query: "?after=x"},
		exchange{operation: "GET /api/revocations", set: unopened},
		exchange{operation: "GET /api/revocations", set: fails(lost)},
		exchange{operation: "GET /api/sockets", query: "?limit=1&nodes=all"},
		exchange{operation: "GET /api/sockets", query: "?limit=x"},
		exchange{operation: "GET /api/topics", query: "?limit=1&nodes=all"},
		exchange{operation: "GET /api/topics", query: "?nodes=some"},
		exchange{operation: "GET /api/stats", query: "?nodes=all"},
		exchange{operation: "GET /api/stats", query: "?nodes=all", set: func(f *fake) { f.away = true }},
		exchange{operation: "GET /api/stats", query: "?nodes=some"},
		exchange{operation: "GET /api/nodes", set: func(f *fake) { f.away = true }},
		exchange{operation: "GET /api/presence/{topic}", query: "?count=true"},
		exchange{operation: "GET /api/presence/{topic}", query: "?count=some"},
		exchange{operation: "DELETE /api/sockets/{id}"},
		exchange{operation: "DELETE /api/sockets/{id}", set: func(f *fake) { f.unreached = []string{"b"} }},
		exchange{operation: "GET /readyz", query: "?scope=node"},
		exchange{operation: "GET /readyz", query: "?scope=world"},
		exchange{operation: "GET /readyz", set: func(f *fake) { f.config.Readiness.Drain() }},
		exchange{operation: "GET /", set: func(f *fake) { f.config.Page = nil }},
	)
	given := map[string]map[int]bool{}
	for _, x := range exchanges {
		if x.token == "" {
			x.token = theFullToken
		}
		if given[x.operation] == nil {
			given[x.operation] = map[int]bool{}
		}
		synctest.Test(t, func(t *testing.T) {
			node := newFake(t, x.origin == "")
			if x.set != nil {
				x.set(node)
			}
			given[x.operation][node.ask(t, d, x)] = true
		})
	}
	for _, operation := range d.Operations() {
		for status, by := range d.Statuses(operation) {
			if !given[operation][status] && by != "TooManyConnections" {
				t.Errorf("%s: nothing is answered %d", operation, status)
			}
		}
	}
}

// fake is a node of which everything can be made to fail.
type fake struct {
	store.Log
	config    Config
	err       error // of what is asked to do something
	unreached []string
	away      bool // from the bus
}

// fakeNode and fakeBus are what else it is.
type (
	fakeNode struct {
		Node
		*fake
	}
	fakeBus struct {
		cluster.Bus
		*fake
	}
)

// newFake returns one that is ready, guarded by two tokens or by none. Call it where time
// is a test's own.
func newFake(t *testing.T, guarded bool) *fake {
	t.Helper()
	f := &fake{}
	logger, set := slog.New(slog.DiscardHandler), newSet(t)
	var full, read *Token
	if guarded {
		full, read = FixedToken(theFullToken, logger), FixedToken(theReadToken, logger)
	}
	tokens, err := NewTokens(full, read, set, logger)
	if err != nil {
		t.Fatal(err)
	}
	hub := channels.NewHub(set)
	presences, err := presence.New(presence.Config{Interval: time.Second, Permdown: time.Second, Max: 1, Metrics: set, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	readiness, erasures, stream := stages.NewReadiness(logger), stages.NewErasures(hub, logger), &stages.Stream{}
	monitor := stages.NewMonitor(readiness, nil, nil)
	monitor.Open(standing{}.extent())
	watch(t, monitor, false)
	stream.Open(f, nil)
	f.config = Config{
		Node: fakeNode{nil, f}, NodeName: "a", Tokens: tokens, Bus: fakeBus{clustertest.NewNet(t, 1).Join("a"), f}, Stream: stream, Hub: hub, Presences: presences, Readiness: readiness, Erasures: erasures,
		Metrics: set, Timeline: timeline.New(timeline.Config{Metrics: set}), Tail: logtail.New(), Logger: logger, Console: http.NotFoundHandler(), View: http.NotFoundHandler(), MaxBodyBytes: 1 << 10, BytesText: func(n int64) string { return fmt.Sprint(n) },
		Page: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, "the page")
		}),
	}
	return f
}

// ask makes a request, holds it to the description, and returns the status.
func (f *fake) ask(t *testing.T, d *openapitest.Description, x exchange) int {
	t.Helper()
	method, path, _ := strings.Cut(x.operation, " ")
	path = strings.NewReplacer("{id}", "user:7", "{topic}", "room/7", "{name}", cmp.Or(x.name, "mail")).Replace(path) + x.query
	if x.large {
		x.body = strings.Repeat(" ", int(f.config.MaxBodyBytes)) + x.body
	}
	request := httptest.NewRequest(method, "http://127.0.0.1"+path, io.MultiReader(strings.NewReader(x.body))) // of unknown length
	if x.origin != "" {
		request.Host = strings.TrimPrefix(x.origin, "https://")
		request.Header.Set("Origin", x.origin)
	}
	handler := New(f.config)
	for range x.guesses {
		guess := request.Clone(t.Context())
		guess.Header.Set("Authorization", "Bearer wrong")
		handler.ServeHTTP(httptest.NewRecorder(), guess)
	}
	if x.guesses > 0 { // who has left does not wait
		left, leave := context.WithCancel(request.Context())
		leave()
		request = request.WithContext(left)
	}
	if x.key != "" {
		request.Header.Set("Idempotency-Key", x.key)
	}
	if x.token != "" {
		request.Header.Set("Authorization", "Bearer "+x.token)
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	if err := d.Check(openapitest.Exchange{
		Method: method, URL: request.URL, Body: bytes.TrimSpace([]byte(x.body)),
		Status: recorder.Code, Header: recorder.Header(), Answer: recorder.Body.Bytes(),
	}); err != nil {
		t.Error(err)
	}
	return recorder.Code
}

func (f *fake) Append(context.Context, []store.Draft) error { return f.err }
func (f *fake) AppendOnce(context.Context, store.Request, []store.Draft) (int, bool, error) {
	return 1, true, f.err
}
func (f *fake) Head(context.Context) (store.Head, error)                 { return store.Head{}, f.err }
func (f *fake) Erasures(context.Context, int64) ([]store.Erasure, error) { return nil, f.err }
func (f *fake) Outbox() store.Outbox                                     { return store.Outbox{Leader: store.Leader{Node: "a"}} }

func (f *fake) Extent(context.Context) (store.Extent, error) {
	return store.Extent{Head: store.Head{Epoch: "e", Offset: 7}, Epochs: []store.Epoch{{ID: "e", First: 1}}}, f.err
}

func (f *fake) Replay(_ context.Context, topic string, _, upTo int64, _ store.Limit) ([]store.Event, int64, error) {
	return []store.Event{{Offset: upTo, Topic: topic, Name: "e", Payload: []byte(`{}`)}}, upTo, f.err
}

func (f *fake) Fetch(_ context.Context, after int64, _ store.Limit) ([]store.Event, error) {
	return []store.Event{{Offset: after + 1, Topic: "t", Name: "e", Payload: []byte(`{}`), Key: []byte("k")}}, f.err
}

func (f *fake) Erase(context.Context, store.Selection) (count, through int64, more bool, err error) {
	return 1, 7, false, f.err
}

func (f *fake) Cursor(_ context.Context, name string) (store.Cursor, bool, error) {
	if name == "consumer/lost" {
		return store.Cursor{Epoch: "another", Offset: 4}, true, f.err
	}
	return store.Cursor{Epoch: "e", Offset: 4}, true, f.err
}

func (f *fake) Cursors(context.Context, string, string, int) ([]store.NamedCursor, error) {
	return []store.NamedCursor{{Name: "consumer/mail", Cursor: store.Cursor{Epoch: "e", Offset: 4}}}, f.err
}

func (f *fake) MoveCursor(context.Context, string, *store.Cursor, store.Cursor) (bool, error) {
	return true, f.err
}
func (f *fake) DeleteCursor(context.Context, string) (bool, error) { return true, f.err }

// revoked is a revocation in force.
var revoked = store.Revocation{Kind: store.ClaimSubject, Value: "7", Number: 1, IssuedBefore: time.Unix(1, 0).UTC(), Until: time.Unix(2, 0).UTC()}

func (f *fake) Revocations(context.Context, int64, int) ([]store.Revocation, error) {
	return []store.Revocation{revoked}, f.err
}

func (f *fake) Watched(context.Context) ([]store.Watched, error) {
	unpublished := int64(3)
	return []store.Watched{
		{Table: "public.orders", Topic: "orders:{region}", Events: []string{"insert", "truncate"}, Broken: []string{}},
		{Topic: "all", Columns: []string{"id"}, Key: "id", Events: []string{"insert"}, Unpublished: &unpublished, Broken: []string{"its table was dropped"}},
	}, f.err
}

func (f fakeNode) Extent() (head, position int64) { return 7, 7 }
func (f fakeNode) CheckBroadcast([]byte) error    { return nil }
func (f fakeNode) Webhooks() []Webhook            { return []Webhook{{Name: "mail", State: "sending"}} }
func (f fakeNode) EnableWebhook(context.Context, string) (bool, error) {
	return true, f.fake.err
}
func (f fakeNode) CountSockets() int { return 1 }

func (f fakeNode) Sockets(int) (oldest []socket.SocketInfo, total int) {
	return []socket.SocketInfo{{ID: "user:7", Mount: "/socket", Transport: "websocket", RemoteAddr: "127.0.0.1:1"}}, 1
}

func (f fakeNode) BroadcastEvents(context.Context, []store.Event) ([]string, error) {
	return f.unreached, f.err
}

func (f fakeNode) DisconnectContext(context.Context, string) (int, error) {
	if f.unreached != nil {
		return 1, &cluster.UnreachedError{Nodes: f.unreached}
	}
	return 1, f.err
}

func (f fakeNode) Revoke(context.Context, store.Revocation) (store.Revocation, error) {
	return revoked, f.err
}

func (f fakeBus) Connected() error {
	if f.away {
		return cluster.ErrAway
	}
	return nil
}

func described(t *testing.T) *openapitest.Description {
	t.Helper()
	d, err := openapitest.Read(OpenAPI, ConsolePath)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func newSet(t *testing.T) *metrics.Set {
	t.Helper()
	set, err := metrics.New(metrics.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return set
}
