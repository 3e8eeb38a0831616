package channels

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/metrics"
)

// model is a node: a log, the line that reads it, and clients.
type model struct {
	set       *metrics.Set
	hub       *Hub
	host      *Host
	replayer  *Replayer
	log       *modelLog
	lanes     []*lane // one for each topic
	position  int64   // up to which the line has fetched
	conns     []*modelConn
	joins     []*modelJoin
	step      int  // commands so far
	bursting  bool // more is routed at a time than even who reads all can keep up with
	finishing bool // everybody reads all

	running sync.WaitGroup
	cancel  context.CancelFunc
	turns   *turns

	mu      sync.Mutex
	fault   fault                  // the first; guarded by mu
	began   map[outbound.Ref]int64 // behind which offset each join began; guarded by mu
	resumed map[outbound.Ref]bool  // whether it was told that it resumes; guarded by mu
	asked   map[outbound.Ref]asked // by joins for the last of their topics' events; guarded by mu
}

// asked is what a join has asked for that wants the last of its topic's events.
type asked struct {
	Resume
	topic  string
	routed int64 // the last of the topic's events that had been routed
}

var modelTopics = []string{"a", "b", "c"}

func newModel(r *rapid.T, sizes memorySizes) *model {
	set := newMetrics(r)
	m := &model{set: set, hub: NewHub(set), log: &modelLog{page: 20}, began: map[outbound.Ref]int64{}, resumed: map[outbound.Ref]bool{}, asked: map[outbound.Ref]asked{}}
	m.log.model = m
	for _, topic := range modelTopics {
		m.lanes = append(m.lanes, &lane{model: m, topic: topic, builder: outbound.NewBuilder(brittle{model: m})})
	}
	var err error
	m.host, err = NewHost(HostConfig{
		Hub: m.hub, PubSub: NewPubSub(m.hub, brittle{model: m}), Encoder: brittle{model: m}, History: m.log,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		r.Fatal(err)
	}
	m.replayer = NewReplayer(m.hub, m.log, brittle{model: m}, rapid.IntRange(sizes.least, sizes.most).Draw(r, "remembered"))
	if sizes.replays > 0 {
		m.replayer.limit(int64(sizes.replays))
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel, m.turns = cancel, &turns{Context: ctx, model: m}
	m.running.Go(func() { _ = m.replayer.Run(m.turns) })
	return m
}

// stop ends what is running, also after a failure.
func (m *model) stop() {
	for _, c := range m.conns {
		c.hangUp(outbound.DropClosed)
	}
	m.cancel()
	m.running.Wait()
	for _, c := range m.conns {
		c.group.Wait()
	}
}

// fail notes what is wrong: the next check reports it.
func (m *model) fail(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault == "" {
		m.fault = fault(fmt.Sprintf(format, args...))
	}
}

// fault is what is wrong.
type fault string

// check panics, so that the bubble ends, if something is wrong.
func (m *model) check() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault != "" {
		panic(m.fault)
	}
}

func (m *model) newStep() {
	m.step++
	m.turns.reset()
}

// attend lets everything come to rest, with those clients reading that read all
// that they are sent.
func (m *model) attend() {
	for again := true; again; {
		synctest.Wait()
		again = false
		for _, c := range m.conns {
			again = (c.eager || m.finishing) && c.read(1<<20, 100) || again
		}
		if !again { // what the last was taken of may have made room
			synctest.Wait()
			for _, c := range m.conns {
				again = (c.eager || m.finishing) && !c.gone && c.hasMore() || again
			}
		}
	}
}

// turns is the context of the replay workers, who ask for its error at every turn:
// in one step there are not more than so many, or they turn in place. Then it ends.
type turns struct {
	context.Context
	model *model
	mu    sync.Mutex
	n     int // guarded by mu
}

const maxTurns = 5000

func (t *turns) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n = 0
}

func (t *turns) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n++; t.n > maxTurns {
		t.model.fail("replay workers turn in place: %d times", maxTurns)
		return context.Canceled
	}
	return t.Context.Err()
}

// modelLog is the log, and the History that reads it.
type modelLog struct {
	model *model

	mu sync.Mutex
	// Guarded by mu: what has been appended, and what is known of it.
	events  []*logged // the event with offset i at i-1
	trimmed int64
	pulse   int64 // what Resume believes is trimmed

	// Guarded by mu: how the next reads are answered.
	failing int
	lags    []int64 // they have seen no more than that, each of its own
	slow    time.Duration
	page    int // events in an answer
}

// logged is an event of the log.
type logged struct {
	Message
	poisoned bool // cannot be encoded
	erased   bool
	erasedAt int // who joins after that step does not get to see what it was; 0: not erased, or on its way then
}

func (l *modelLog) head() int64 { return int64(len(l.events)) }

func (l *modelLog) at(offset int64) *logged { return l.events[offset-1] }

var errHistory = errors.New("the history is away")

func (l *modelLog) Replay(ctx context.Context, topic string, after, upTo int64, limit, _ int) ([]Message, int64, error) {
	_ = ctx.Err() // counts as a turn
	list, through, slow, err := l.answer(topic, after, upTo, limit)
	time.Sleep(slow) // of the test's own clock
	return list, through, err
}

func (l *modelLog) answer(topic string, after, upTo int64, limit int) ([]Message, int64, time.Duration, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.failing > 0:
		l.failing--
		return nil, 0, l.slow, errHistory
	case after < l.trimmed:
		return nil, 0, l.slow, ErrGone
	}
	seen := l.head()
	if len(l.lags) > 0 {
		seen, l.lags = min(l.lags[0], seen), l.lags[1:]
	}
	var list []Message
	through := max(after, min(upTo, seen))
	for offset := after + 1; offset <= through; offset++ {
		if e := l.at(offset); e.Topic == topic {
			list = append(list, e.Message)
			if len(list) == min(limit, max(l.page, 1)) {
				through = offset
			}
		}
	}
	return list, through, l.slow, nil
}

func (l *modelLog) Tail(ctx context.Context, topic string, count int, upTo int64) (int64, error) {
	_ = ctx.Err() // counts as a turn
	l.mu.Lock()
	slow := l.slow
	if l.failing > 0 {
		l.failing--
		l.mu.Unlock()
		return 0, errHistory
	}
	after := min(upTo, l.head())
	for offset := after; offset > l.trimmed && count > 0; offset-- {
		if l.at(offset).Topic == topic {
			after, count = offset-1, count-1
		}
	}
	l.mu.Unlock()
	time.Sleep(slow) // of the test's own clock
	return after, nil
}

// check checks that a join begins where as many of its topic's events begin as it has
// asked for.
func (l *modelLog) check(r asked, after int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	given, kept, before := int64(0), int64(0), int64(0)
	for _, e := range l.events {
		if e.Topic == r.topic {
			if e.Offset > after {
				given++
			}
			if e.Offset > l.trimmed {
				kept++
			}
			if e.Offset > after && e.Offset <= r.routed && !e.poisoned {
				before++
			}
		}
	}
	if given < min(r.Last, kept) || before > r.Last {
		l.model.fail("a join with %+v of %s begins after %d: %d events, %d of which had been routed up to %d, of %d that are kept", r.Resume, r.topic, after, given, before, r.routed, kept)
	}
}

func (l *modelLog) Resume(_ context.Context, _ string, after int64) (int64, bool, error) {
	l.mu.Lock()
	if l.failing > 0 {
		l.failing--
		l.mu.Unlock()
		return 0, false, errHistory
	}
	trimmed := max(l.pulse, l.model.hub.Skipped())
	from, whole, slow := after, true, l.slow
	if after < trimmed || after > l.head() {
		from, whole = l.head(), false
	}
	l.mu.Unlock()
	time.Sleep(slow) // of the test's own clock
	return from, whole, nil
}

func (l *modelLog) trouble(r *rapid.T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failing = rapid.IntRange(0, 3).Draw(r, "fail")
	l.lags = rapid.SliceOfN(rapid.Int64Range(0, l.head()), 0, 4).Draw(r, "lags")
	l.page = rapid.IntRange(1, 25).Draw(r, "page")
	l.slow = rapid.SampledFrom([]time.Duration{0, 0, 5 * time.Millisecond, 50 * time.Millisecond}).Draw(r, "slow")
}

func (l *modelLog) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failing, l.lags, l.slow, l.page, l.pulse = 0, nil, 0, 20, l.trimmed
}

// append has somebody append events.
func (m *model) append(r *rapid.T, topics ...string) {
	n := rapid.IntRange(1, 12).Draw(r, "events")
	if len(topics) == 0 {
		topics = rapid.SliceOfN(rapid.SampledFrom(modelTopics), 1, 2).Draw(r, "topics")
	}
	keys := rapid.SliceOfN(rapid.SampledFrom([]string{"", "k", "l", "m"}), 1, 4).Draw(r, "keys")
	poisoned := rapid.IntRange(0, 40).Draw(r, "poisoned")
	m.log.mu.Lock()
	defer m.log.mu.Unlock()
	for i := range n {
		offset := m.log.head() + 1
		e := &logged{poisoned: i+1 == poisoned}
		e.Message = Message{Offset: offset, Topic: topics[i%len(topics)], Event: "e", InsertedAt: time.Unix(offset, 0)}
		if offset%3 == 0 {
			e.Event = "f"
		}
		if key := keys[i%len(keys)]; key != "" {
			e.Key = []byte(key)
		}
		e.Payload = fmt.Appendf(nil, `{%q:%d}`, e.Topic, offset)
		if e.poisoned {
			e.Payload = fmt.Appendf(nil, `{%q:%d,"poison":1}`, e.Topic, offset)
		}
		m.log.events = append(m.log.events, e)
	}
}

// trim has the log forget its beginning, whether or not the line has read it.
func (m *model) trim(r *rapid.T) {
	m.log.mu.Lock()
	defer m.log.mu.Unlock()
	to := m.log.head()
	if rapid.Bool().Draw(r, "read") {
		to = m.position
	}
	m.log.trimmed = rapid.Int64Range(m.log.trimmed, max(to, m.log.trimmed)).Draw(r, "trimmed")
}

// erase empties a topic's events up to an offset.
func (m *model) erase(r *rapid.T) {
	l := m.lane(r)
	m.log.mu.Lock()
	upTo := rapid.Int64Range(0, m.log.head()).Draw(r, "up to")
	for offset := int64(1); offset <= upTo; offset++ {
		if e := m.log.at(offset); e.Topic == l.topic && !e.erased && !e.poisoned {
			e.erased = true
			e.Payload = fmt.Appendf(nil, `{%q:-1}`, l.topic)
			if !l.underWay(offset) {
				e.erasedAt = m.step
			}
		}
	}
	m.log.mu.Unlock()
	m.hub.Forget(l.topic, upTo)
}

// lane is how the line takes a topic's events from the log to the hub.
type lane struct {
	model    *model
	topic    string
	fetched  []Message // not encoded yet
	segments []*outbound.Segment
	builder  *outbound.Builder
	routed   int64 // the last offset
}

func (m *model) lane(r *rapid.T) *lane {
	return m.lanes[rapid.IntRange(0, len(m.lanes)-1).Draw(r, "topic")]
}

// underWay tells whether an event was fetched, and is not routed yet.
func (l *lane) underWay(offset int64) bool {
	for _, seg := range l.segments {
		if seg.First() <= offset && offset <= seg.Last() {
			return true
		}
	}
	return len(l.fetched) > 0 && l.fetched[0].Offset <= offset && offset <= l.fetched[len(l.fetched)-1].Offset
}

// fetch has the line read on, or skip what is no longer kept.
func (m *model) fetch(n int) {
	m.log.mu.Lock()
	trimmed := m.log.trimmed
	m.log.mu.Unlock()
	if trimmed > m.position {
		m.hub.Skip(trimmed)
		m.position = trimmed
	}
	m.log.mu.Lock()
	events := m.log.events[m.position:min(m.position+int64(n), m.log.head())]
	var messages []Message
	for _, e := range events {
		messages = append(messages, e.Message)
	}
	m.log.mu.Unlock()
	if len(messages) == 0 {
		return
	}
	m.position += int64(len(messages))
	m.hub.Advance(m.position)
	for _, message := range messages {
		for _, l := range m.lanes {
			if l.topic == message.Topic {
				l.fetched = append(l.fetched, message)
			}
		}
	}
}

// encode makes a segment of at most n events, if somebody watches the topic.
func (l *lane) encode(n int) {
	n = min(n, len(l.fetched))
	events := l.fetched[:n]
	l.fetched = l.fetched[n:]
	to := l.model.hub.Watched(l.topic)
	if to.Formats == 0 {
		return
	}
	l.builder.Start(to)
	for i := range events {
		poisoned := bytes.Contains(events[i].Payload, []byte("poison"))
		if err := l.builder.Add(&events[i]); (err != nil) != poisoned {
			l.model.fail("encoding %s: %v", events[i].Payload, err)
		}
	}
	if seg := l.builder.Segment(); seg != nil {
		l.segments = append(l.segments, seg)
	}
}

func (l *lane) route() {
	if len(l.segments) > 0 {
		seg := l.segments[0]
		l.segments = l.segments[1:]
		l.model.hub.Route(seg)
		l.routed = seg.Last()
	}
}

// publish brings all that there is through the line.
func (m *model) publish() {
	for m.fetch(25); ; m.fetch(25) {
		rest := false
		for _, l := range m.lanes {
			for len(l.fetched) > 0 || len(l.segments) > 0 {
				rest = true
				if len(l.segments) == 0 {
					l.encode(10)
				}
				l.route()
				m.attend()
			}
		}
		if !rest && m.position == m.log.head() {
			return
		}
	}
}

// brittle is an Encoder that panics or fails where a payload says so, and that has
// no form for what is binary in format 1.
type brittle struct {
	plain
	model *model
}

func (e brittle) AppendMessage(dst []byte, f outbound.Format, m *Message) ([]byte, error) {
	switch {
	case m.Binary && f == 1:
		return dst, nil
	case bytes.Contains(m.Payload, []byte("poison")):
		if dst, _ = e.plain.AppendMessage(dst, f, m); m.Offset%2 == 0 {
			panic("poisoned")
		}
		return dst[:0], errors.New("poisoned")
	}
	return e.plain.AppendMessage(dst, f, m)
}

// joinAnswer is what the answer to a join says, to who joined with "after".
type joinAnswer struct {
	Offset  int64
	Resumed bool
}

// AppendReply notes where a join begins. It is called just when the mailbox has read
// the head.
func (e brittle) AppendReply(dst []byte, f outbound.Format, to outbound.Address, status outbound.Status, p Payload) ([]byte, error) {
	if status == outbound.StatusOK && to.Ref == to.JoinRef {
		var ok joinAnswer
		_ = json.Unmarshal(p.Data, &ok)
		e.model.mu.Lock()
		r := e.model.asked[to.Ref]
		e.model.mu.Unlock()
		counted := r.Last > 0 && (r.After < 0 || !ok.Resumed)
		if counted {
			e.model.log.check(r, ok.Offset)
		}
		e.model.mu.Lock()
		e.model.began[to.Ref] = ok.Offset
		if !counted {
			e.model.began[to.Ref] = max(ok.Offset, e.model.hub.Head())
		}
		e.model.resumed[to.Ref] = ok.Resumed
		e.model.mu.Unlock()
	}
	return e.plain.AppendReply(dst, f, to, status, p)
}

// keen is a Channel that looks at the events named "e" and at what its client
// pushes. What it does depends on the payload: see looksAt.
type keen struct {
	accepts
	slow time.Duration
}

// lookedAt is what keen makes of an event.
type lookedAt int

const (
	passes lookedAt = iota
	replaced
	withheld
	crashes
)

func looksAt(event string, number int64) lookedAt {
	switch {
	case event != "e" || number < 0:
		return passes
	case number%29 == 17:
		return crashes
	case number%4 == 3:
		return withheld
	case number%4 == 1:
		return replaced
	}
	return passes
}

func (*keen) Intercepts() []string { return []string{"e"} }

func (k *keen) HandleOut(_ *Context, event string, p Payload) (any, bool) {
	time.Sleep(k.slow) // of the test's own clock
	topic, number := parsePayload(string(p.Data))
	switch looksAt(event, number) {
	case crashes:
		panic("keen")
	case withheld:
		return nil, false
	case replaced:
		return Payload{Data: fmt.Appendf(nil, `{%q:%d,"seen":1}`, topic, number)}, true
	}
	return p, true
}

// calm is a Channel that looks at nothing.
type calm struct{ accepts }

func (calm) HandleIn(_ *Context, event string, _ Payload) Result { return handleIn(event) }

func (*keen) HandleIn(_ *Context, event string, _ Payload) Result { return handleIn(event) }

func handleIn(event string) Result {
	switch event {
	case "crash":
		panic("handler")
	case "stop":
		return Stop(nil)
	}
	return OK(nil)
}

// parsePayload is whose payload it is, and its number.
func parsePayload(payload string) (topic string, number int64) {
	var fields map[string]json.Number
	if err := json.Unmarshal([]byte(payload), &fields); err != nil {
		return "", 0
	}
	for _, topic := range modelTopics {
		if n, ok := fields[topic]; ok {
			number, _ = strconv.ParseInt(string(n), 10, 64)
			return topic, number
		}
	}
	return "", 0
}
