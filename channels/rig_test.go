package channels

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/internal/testmain"
	"github.com/sluicehq/sluice/metrics"
)

func TestMain(m *testing.M) { testmain.Main(m) }

// plain is an Encoder whose frames are lines that a test can read.
type plain struct{}

func (plain) AppendMessage(dst []byte, f outbound.Format, m *Message) ([]byte, error) {
	if string(m.Payload) == "bad" {
		return dst, fmt.Errorf("bad payload")
	}
	dst = append(strconv.AppendInt(dst, int64(f), 10), ':') // without fmt, which the race detector makes slow
	dst = append(append(dst, m.Event...), ' ')
	dst = append(strconv.AppendInt(dst, m.Offset, 10), ' ')
	return append(append(dst, m.Payload...), ';'), nil
}

func (plain) AppendPush(dst []byte, f outbound.Format, to outbound.Address, event string, p Payload) ([]byte, error) {
	return fmt.Appendf(dst, "push %s %s %s;", to.JoinRef, event, p.Data), nil
}

func (plain) AppendReply(dst []byte, f outbound.Format, to outbound.Address, status outbound.Status, p Payload) ([]byte, error) {
	return fmt.Appendf(dst, "reply %s %s %s;", to.Ref, status, p.Data), nil
}

// segment makes a segment of events with the given offsets, or of as many
// broadcasts if these are 0. Without any it is one broadcast.
func segment(t testing.TB, topic string, formats outbound.FormatSet, offsets ...int64) *outbound.Segment {
	t.Helper()
	return segmentTo(t, outbound.Audience{Topic: topic, Formats: formats}, offsets...)
}

// segmentTo is segment, for an audience.
func segmentTo(t testing.TB, to outbound.Audience, offsets ...int64) *outbound.Segment {
	t.Helper()
	b := outbound.NewBuilder(plain{})
	b.Start(to)
	if len(offsets) == 0 {
		offsets = []int64{0}
	}
	for _, o := range offsets {
		if err := b.Add(&Message{Offset: o, Topic: to.Topic, Event: "e", Payload: []byte("{}"), InsertedAt: time.Unix(o, 0)}); err != nil {
			t.Fatal(err)
		}
	}
	return b.Segment()
}

// line is a connection: a connection, and what has been taken from it.
type line struct {
	*outbound.Connection
	hub        *Hub
	size       int // of its mailboxes
	woken      int
	overflowed int
	batch      outbound.WriteBatch
}

func newLine(hub *Hub, size, bytes int) *line {
	l := &line{hub: hub, size: size}
	l.Connection = outbound.NewConnection(hub, outbound.ConnectionConfig{
		Replies:  size,
		Bytes:    bytes,
		Wake:     func() { l.woken++ },
		Overflow: func() { l.overflowed++ },
	})
	return l
}

// drain takes all that is queued, as text.
func (l *line) drain() string {
	var b strings.Builder
	for l.Take(&l.batch, 1<<20, 16) {
		l.batch.Written()
		for _, frame := range l.batch.Frames {
			b.Write(frame)
		}
	}
	return b.String()
}

// mailbox returns a mailbox that is not open yet. Its rule is Disconnect, if
// nothing else is said.
func (l *line) mailbox(d Options) *outbound.Mailbox {
	m := new(outbound.Mailbox)
	m.Init(l.Connection, 0, 0, nil)
	m.Configure(d.Or(Options{Overflow: Disconnect, MailboxSize: l.size}).WithDefaults(), false)
	return m
}

// box returns a joined mailbox. The answer to the join has been taken.
func (l *line) box(t testing.TB) *outbound.Mailbox {
	t.Helper()
	return l.open(t, l.mailbox(Options{}))
}

// open has a mailbox joined. The answer to the join has been taken.
func (l *line) open(t testing.TB, m *outbound.Mailbox) *outbound.Mailbox {
	t.Helper()
	if err := m.Join(-1, true, func(int64) ([]byte, error) { return []byte("ok;"), nil }); err != nil {
		t.Fatal(err)
	}
	if got := l.drain(); got != "ok;" {
		t.Fatalf("join: %q", got)
	}
	return m
}

// stage is a host with one connection, whose frames end up in out.
type stage struct {
	t     testing.TB
	set   *metrics.Set
	hub   *Hub
	host  *Host
	line  *outbound.Connection
	group sync.WaitGroup

	mu  sync.Mutex
	out strings.Builder // guarded by mu
}

func newStage(t testing.TB) *stage {
	s := &stage{t: t, set: newMetrics(t)}
	s.hub = NewHub(s.set)
	var err error
	s.host, err = NewHost(HostConfig{
		Hub: s.hub, PubSub: NewPubSub(s.hub, plain{}), Encoder: plain{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.line = outbound.NewConnection(s.hub, outbound.ConnectionConfig{Replies: 2 * DefaultInboundQueue, Bytes: 1 << 20, Wake: func() { s.group.Go(s.write) }, Overflow: func() {}})
	return s
}

func (s *stage) write() {
	var b outbound.WriteBatch
	for s.line.Take(&b, 1<<20, 16) {
		b.Written()
		s.mu.Lock()
		for _, frame := range b.Frames {
			s.out.Write(frame)
		}
		s.mu.Unlock()
	}
}

// join starts a channel.
func (s *stage) join(topic string, c Channel, ended func(*Actor)) *Actor {
	if ended == nil {
		ended = func(*Actor) {}
	}
	return s.host.Join(JoinRequest{
		To:         outbound.Address{Topic: topic, JoinRef: "1", Ref: "1"},
		Params:     Payload{Data: []byte("{}")},
		Factory:    func() Channel { return c },
		Options:    Options{MailboxSize: 100},
		Socket:     func() *Socket { return &Socket{ID: "me"} },
		Connection: s.line,
		Context:    s.t.Context(),
		Group:      &s.group,
		Ended:      ended,
	})
}

// sent returns what has been sent since it was called last. Call it when all is
// quiet.
func (s *stage) sent() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.out.Reset()
	return s.out.String()
}

// fataler is a *testing.T or a *rapid.T.
type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func newMetrics(t fataler) *metrics.Set {
	t.Helper()
	set, err := metrics.New(metrics.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// sure is a testing.TB for set-up that cannot fail.
type sure struct{ testing.TB }

func (sure) Helper() {}

// subscribe adds a subscriber that needs the given formats to a topic.
func subscribe(h *Hub, topic string, formats outbound.FormatSet, to Subscriber) *Subscription {
	sub := new(Subscription)
	sub.Init(h, topic, to)
	sub.Enter(formats)
	return sub
}
