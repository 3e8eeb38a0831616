package outbound

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/internal/testmain"
	"github.com/sluicehq/sluice/metrics"
)

func TestMain(m *testing.M) { testmain.Main(m) }

// plain is an Encoder whose frames are lines that a test can read.
type plain struct{}

func (plain) AppendMessage(dst []byte, f Format, m *Message) ([]byte, error) {
	if string(m.Payload) == "bad" {
		return dst, fmt.Errorf("bad payload")
	}
	return fmt.Appendf(dst, "%d:%s %d %s;", f, m.Event, m.Offset, m.Payload), nil
}

func (plain) AppendPush(dst []byte, f Format, to Address, event string, p Payload) ([]byte, error) {
	return fmt.Appendf(dst, "push %s %s %s;", to.JoinRef, event, p.Data), nil
}

func (plain) AppendReply(dst []byte, f Format, to Address, status Status, p Payload) ([]byte, error) {
	return fmt.Appendf(dst, "reply %s %s %s;", to.Ref, status, p.Data), nil
}

// segment makes a segment of events with the given offsets, or of as many
// broadcasts if these are 0. Without any it is one broadcast.
func segment(t testing.TB, topic string, formats FormatSet, offsets ...int64) *Segment {
	t.Helper()
	b := NewBuilder(plain{})
	b.Start(Audience{Topic: topic, Formats: formats})
	if len(offsets) == 0 {
		offsets = []int64{0}
	}
	for _, o := range offsets {
		if err := b.Add(&Message{Offset: o, Topic: topic, Event: "e", Payload: []byte("{}"), InsertedAt: time.Unix(o, 0)}); err != nil {
			t.Fatal(err)
		}
	}
	return b.Segment()
}

// node is a Source that has fetched nothing and replays nothing.
type node struct{ metrics *Metrics }

func newNode(set *metrics.Set) *node { return &node{NewMetrics(set)} }

func (*node) Head() int64            { return 0 }
func (*node) Replays() *ReplayBudget { return nil }
func (n *node) Metrics() *Metrics    { return n.metrics }

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

// line is a connection, and what has been taken from it.
type line struct {
	*Connection
	size       int // of its mailboxes
	woken      int
	overflowed int
	batch      WriteBatch
}

func newLine(n *node, size, bytes int) *line {
	l := &line{size: size}
	l.Connection = NewConnection(n, ConnectionConfig{
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
func (l *line) mailbox(d Options) *Mailbox {
	m := &Mailbox{conn: l.Connection}
	m.follow(d.Or(Options{Overflow: Disconnect, MailboxSize: l.size}).WithDefaults(), 0, 0, l.metrics.own)
	return m
}

// box returns a joined mailbox. The answer to the join has been taken.
func (l *line) box(t testing.TB) *Mailbox {
	t.Helper()
	return l.open(t, l.mailbox(Options{}))
}

// open has a mailbox joined. The answer to the join has been taken.
func (l *line) open(t testing.TB, m *Mailbox) *Mailbox {
	t.Helper()
	if err := m.Join(-1, true, func(int64) ([]byte, error) { return []byte("ok;"), nil }); err != nil {
		t.Fatal(err)
	}
	if got := l.drain(); got != "ok;" {
		t.Fatalf("join: %q", got)
	}
	return m
}

// after picks the frames of a segment's messages with offsets above the given one, as
// a mailbox does, and says how many these are.
func after(s *Segment, offset int64, f Format) (frames string, messages int) {
	first := s.from(offset)
	if s.encoded(f) == nil {
		return "", 0
	}
	return string(s.between(first, s.Len(), f)), s.Len() - first
}
