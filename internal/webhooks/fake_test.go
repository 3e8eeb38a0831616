package webhooks

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/internal/hooks"
	"github.com/sluicehq/sluice/internal/testmain"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/store"
)

func TestMain(m *testing.M) { testmain.Main(m) }

// table is a store in memory, of what webhooks need.
type table struct {
	mu      sync.Mutex
	events  []store.Event // those that are kept
	extent  store.Extent
	cursors map[string]store.Cursor
	leases  map[string]store.Lease
	until   map[string]time.Time
	fence   int64
	err     error                                                            // of everything
	move    func(ctx context.Context, do func() (bool, error)) (bool, error) // does moves, if it is there; called without mu
	moves   int                                                              // of cursors that went well
}

func newTable() *table {
	return &table{
		extent:  store.Extent{Head: store.Head{Epoch: "e1"}, Epochs: []store.Epoch{{ID: "e1", First: 1}}},
		cursors: map[string]store.Cursor{}, leases: map[string]store.Lease{}, until: map[string]time.Time{},
	}
}

// write appends events, each of a topic, with a payload that says its offset.
func (t *table) write(topics ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, topic := range topics {
		t.extent.Offset++
		t.events = append(t.events, store.Event{Offset: t.extent.Offset, Topic: topic, Name: "e", Payload: fmt.Appendf(nil, `{"n": %d}`, t.extent.Offset), InsertedAt: time.Now()})
	}
}

// repeat is n times a topic.
func repeat(topic string, n int) []string { return slices.Repeat([]string{topic}, n) }

func (t *table) trim(through int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.extent.Trimmed = through
	t.events = slices.DeleteFunc(t.events, func(e store.Event) bool { return e.Offset <= through })
}

// erase makes {} of the payload of an event.
func (t *table) erase(offset int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.extent.Erased++
	t.events = slices.Clone(t.events) // whoever has read it keeps what was read
	t.events[offset-t.extent.Trimmed-1].Payload = []byte("{}")
}

// fail has all calls fail from now on; nil: none.
func (t *table) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
}

// position is a webhook's.
func (t *table) position(name string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, ok := t.cursors[store.ConsumerCursors+name]
	if !ok {
		return "none"
	}
	return fmt.Sprint(c.Epoch, ":", c.Offset)
}

func (t *table) set(name string, c store.Cursor) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cursors[name] = c
}

func (t *table) Extent(context.Context) (store.Extent, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.extent, t.err
}

func (t *table) Fetch(_ context.Context, after int64, limit store.Limit) ([]store.Event, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.err != nil:
		return nil, t.err
	case limit.Epoch != t.extent.Epoch:
		return nil, store.ErrNewEpoch
	case after < t.extent.Trimmed:
		return nil, store.ErrTrimmed
	}
	rest := t.events[min(int(after-t.extent.Trimmed), len(t.events)):]
	return rest[:min(limit.Events, len(rest))], nil
}

func (t *table) Wait(ctx context.Context, after int64) error {
	for {
		t.mu.Lock()
		there := t.extent.Offset > after
		t.mu.Unlock()
		if there {
			return nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

func (t *table) Cursor(_ context.Context, name string) (store.Cursor, bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, ok := t.cursors[name]
	return c, ok && t.err == nil, t.err
}

func (t *table) Cursors(context.Context, string, string, int) ([]store.NamedCursor, error) {
	panic("nobody lists them")
}

func (t *table) MoveCursor(ctx context.Context, name string, from *store.Cursor, to store.Cursor) (bool, error) {
	t.mu.Lock()
	move := t.move
	t.mu.Unlock()
	do := func() (bool, error) {
		t.mu.Lock()
		defer t.mu.Unlock()
		at, ok := t.cursors[name]
		if t.err != nil || ctx.Err() != nil || ok != (from != nil) || ok && at != *from {
			return false, t.err
		}
		t.cursors[name] = to
		t.moves++
		return true, nil
	}
	if move == nil {
		return do()
	}
	return move(ctx, do)
}

func (t *table) DeleteCursor(_ context.Context, name string) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.cursors[name]
	delete(t.cursors, name)
	return ok, t.err
}

func (t *table) Acquire(_ context.Context, claim store.Claim) (store.Lease, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return store.Lease{}, t.err
	}
	now := time.Now()
	if has, ok := t.leases[claim.Name]; ok && now.Before(t.until[claim.Name]) && has.Holder != claim.Holder {
		held := &store.HeldError{Name: claim.Name, Holder: has.Holder, Fence: has.Fence, Until: t.until[claim.Name], Left: t.until[claim.Name].Sub(now)}
		if !held.Same(claim.Over) {
			return store.Lease{}, held
		}
	}
	t.fence++
	lease := store.Lease{Name: claim.Name, Holder: claim.Holder, Term: claim.Term, Since: now, Fence: t.fence}
	t.leases[claim.Name], t.until[claim.Name] = lease, now.Add(claim.Term)
	return lease, nil
}

func (t *table) Renew(_ context.Context, lease store.Lease) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return t.err
	}
	if has := t.leases[lease.Name]; has.Fence != lease.Fence {
		return &store.HeldError{Name: lease.Name, Holder: has.Holder, Fence: has.Fence, Until: t.until[lease.Name]}
	}
	t.until[lease.Name] = time.Now().Add(lease.Term)
	return nil
}

func (t *table) Release(_ context.Context, lease store.Lease) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.leases[lease.Name].Fence == lease.Fence {
		delete(t.leases, lease.Name)
	}
	return t.err
}

func (t *table) Held(context.Context, string) ([]string, error) { panic("nobody asks") }

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// backend is the application, and how it answers.
type backend struct {
	t *testing.T

	mu       sync.Mutex
	requests []string // the offsets of each, or its reset
	at       []time.Time
	ids      []string
	bodies   []string
	answer   func(offsets []int64) (status int, header http.Header, err error)
}

// errHangs has a request be answered when it is no longer waited for, and not before.
var errHangs = errors.New("hangs")

// RoundTrip implements [http.RoundTripper]. It holds each request to its signature.
func (b *backend) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	id, at := r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp")
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, at, body)
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); r.Header.Get("Webhook-Signature") != want || at != fmt.Sprint(time.Now().Unix()) {
		b.t.Errorf("%s is signed %q at %s", id, r.Header.Get("Webhook-Signature"), at)
	}
	var said struct {
		Epoch  string
		Events []store.Event
		Reset  *reset
	}
	if err := json.Unmarshal(payloadless(body), &said); err != nil {
		b.t.Errorf("%v in %s", err, body)
	}
	text, offsets := said.Epoch, []int64{}
	for _, e := range said.Events {
		offsets = append(offsets, e.Offset)
		text += fmt.Sprint(" ", e.Offset)
	}
	if said.Reset != nil {
		text += fmt.Sprintf(" reset %s:%d-%d", said.Reset.FromEpoch, said.Reset.From, said.Reset.To)
	}
	b.mu.Lock()
	b.requests, b.at, b.ids = append(b.requests, text), append(b.at, time.Now()), append(b.ids, id)
	b.bodies = append(b.bodies, string(body))
	answer := b.answer
	b.mu.Unlock()
	status, header := http.StatusOK, http.Header{}
	if answer != nil {
		status, header, err = answer(offsets)
		if errors.Is(err, errHangs) {
			<-r.Context().Done()
		}
		if err != nil {
			return nil, err
		}
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader("what it says")), Request: r}, nil
}

// payloadless leaves payloads out, which are no store.Event's.
func payloadless(body []byte) []byte {
	var all struct {
		Epoch  string           `json:"epoch"`
		Events []map[string]any `json:"events"`
		Reset  *reset           `json:"reset,omitempty"`
	}
	if err := json.Unmarshal(body, &all); err != nil {
		return body
	}
	for _, e := range all.Events {
		delete(e, "payload")
		delete(e, "key")
		delete(e, "inserted_at")
	}
	text, err := json.Marshal(all)
	if err != nil {
		return body
	}
	return text
}

// answers has it answer so from now on.
func (b *backend) answers(answer func(offsets []int64) (int, http.Header, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = answer
}

// status always answers with one.
func status(code int) func([]int64) (int, http.Header, error) {
	return func([]int64) (int, http.Header, error) { return code, nil, nil }
}

// take returns what was asked since the last call.
func (b *backend) take() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := b.requests
	b.requests, b.at, b.ids, b.bodies = nil, nil, nil, nil
	return taken
}

func (b *backend) times() []time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.at)
}

// expect compares what was asked since the last call.
func (b *backend) expect(want ...string) {
	b.t.Helper()
	if got := b.take(); !slices.Equal(got, want) {
		b.t.Errorf("asked %q, want %q", got, want)
	}
}

// journal is a log's text.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// node is one of those that send, with what it measures and says.
type node struct {
	*Runner
	set  *metrics.Set
	said *journal
	stop func()
}

// start runs a node until it is stopped; the test's end does so too.
func start(t *testing.T, log *table, to *backend, list ...Webhook) *node {
	t.Helper()
	set, err := metrics.New(metrics.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{set: set, said: new(journal)}
	n.Runner = New(Config{
		Head:  func() int64 { e, _ := log.Extent(context.Background()); return e.Offset },
		Grace: 5 * time.Second, Metrics: set, Logger: slog.New(slog.NewTextHandler(n.said, nil)), Transport: to,
	})
	n.Replace(list)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1) // one send, by the goroutine that runs
	go func() { done <- n.Run(ctx, log) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(n.stop)
	return n
}

// counted is the sum of a counter's series with that name in /metrics.
func (n *node) counted(name metrics.Name) (sum int64) {
	for _, count := range n.set.Totals(name, "consumer") {
		sum += count
	}
	return sum
}

// hook is a webhook for orders.
func hook(t *testing.T) Webhook {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	secrets, err := hooks.ReadSecrets(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return Webhook{Name: "mail", URL: "http://app.example/sluice", Match: "orders:*", Secrets: secrets, Batch: 3, BatchBytes: 1 << 20, Timeout: 10 * time.Second}
}
