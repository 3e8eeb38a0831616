package channels

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/channels/outbound"
)

// modelConn is a connection, and what its client believes.
type modelConn struct {
	*outbound.Connection
	model      *model
	batch      outbound.WriteBatch
	group      sync.WaitGroup
	bytes      int
	taken      int  // frames
	eager      bool // it reads all that it is sent
	gone       bool
	overflowed atomic.Bool
	current    map[string]*modelJoin // by topic: whose join was answered last, and has not ended
	byRef      map[outbound.Ref]*modelJoin
}

func (m *model) connect(r *rapid.T) *modelConn {
	c := &modelConn{model: m, current: map[string]*modelJoin{}, byRef: map[outbound.Ref]*modelJoin{}}
	c.eager = rapid.Bool().Draw(r, "reads all")
	c.bytes = rapid.SampledFrom([]int{420, 420, 3000}).Draw(r, "bytes")
	if !c.eager {
		c.bytes = rapid.SampledFrom([]int{60, 300, 3000}).Draw(r, "bytes")
	}
	c.Connection = outbound.NewConnection(m.hub, outbound.ConnectionConfig{Replies: 100, Bytes: c.bytes, Wake: func() {}, Overflow: func() {
		c.Close(nil, outbound.DropTooSlow)
		c.overflowed.Store(true)
		if c.eager && !c.slow() && !m.bursting {
			m.fail("a client is disconnected that reads all it is sent")
		}
	}})
	m.conns = append(m.conns, c)
	return c
}

// slow tells whether some channel of the connection takes its time.
func (c *modelConn) slow() bool {
	for _, w := range c.byRef {
		if w.slow {
			return true
		}
	}
	return false
}

// ended tells whether the client knows that its connection is gone.
func (c *modelConn) ended() bool { return c.gone || c.overflowed.Load() }

// modelJoin is one join, and what its client may expect of it.
type modelJoin struct {
	conn     *modelConn
	actor    *Actor
	ref      outbound.Ref
	topic    string
	delivery Options
	resume   *Resume
	looks    bool // its channel is keen
	slow     bool
	crashes  bool // it was told to
	joinedAt int  // the step

	state  joinState
	from   int64 // the offset that it began behind
	at     int64 // the last that it got
	got    []int64
	others int64 // messages for it that are not in the log
}

type joinState int

const (
	unanswered joinState = iota
	accepted
	over
)

func (w *modelJoin) String() string {
	return fmt.Sprintf("join %s of %s (%+v, %+v, looks %v, from %d)", w.ref, w.topic, w.delivery, w.resume, w.looks, w.from)
}

// collectLong is a flush interval that nobody waits for in the midst of a play.
const collectLong = time.Hour

// pick draws one of a list, and shows which.
func pick[T any](r *rapid.T, list []T) T {
	return list[rapid.IntRange(0, len(list)-1).Draw(r, "which")]
}

func (m *model) join(r *rapid.T) {
	var c *modelConn
	if open := m.open(); len(open) > 0 && rapid.IntRange(0, 2).Draw(r, "connection") > 0 {
		c = pick(r, open)
	} else {
		c = m.connect(r)
	}
	var resume *Resume
	switch rapid.IntRange(0, 3).Draw(r, "after") {
	case 0:
	case 1:
		resume = &Resume{After: -1}
	default:
		resume = &Resume{After: rapid.Int64Range(0, m.log.head()+1).Draw(r, "after")}
	}
	if resume != nil {
		resume.Last = rapid.SampledFrom([]int64{0, 0, 1, 3, 12, 40, 1 << 40}).Draw(r, "last")
	}
	c.join(r, rapid.SampledFrom(modelTopics).Draw(r, "topic"), resume)
}

// comeBack has a client whose channel has ended, or that leaves it now, join again
// with the last offset that it got.
func (m *model) comeBack(r *rapid.T) {
	var list []*modelJoin
	for _, w := range m.joins {
		if w.state != unanswered {
			list = append(list, w)
		}
	}
	if len(list) == 0 {
		return
	}
	w := pick(r, list)
	c := w.conn
	if w.state == accepted && rapid.Bool().Draw(r, "leaves first") {
		w.actor.Receive(Inbound{Event: leave})
		synctest.Wait()
	}
	if c.ended() {
		c = m.connect(r)
	}
	c.join(r, w.topic, &Resume{After: w.at, Last: rapid.SampledFrom([]int64{0, 0, 5}).Draw(r, "last")})
}

func (c *modelConn) join(r *rapid.T, topic string, resume *Resume) {
	m := c.model
	w := &modelJoin{conn: c, topic: topic, resume: resume, joinedAt: m.step}
	w.ref = outbound.Ref(strconv.Itoa(len(m.joins) + 1))
	d := &w.delivery
	d.Overflow = Overflow(rapid.IntRange(int(CatchUp), int(Disconnect)).Draw(r, "overflow"))
	d.MailboxSize = rapid.IntRange(1, 20).Draw(r, "mailbox")
	if c.eager {
		d.MailboxSize = rapid.IntRange(20, 100).Draw(r, "mailbox")
	}
	d.Dedupe = Dedupe(rapid.SampledFrom([]int{1, 1, 2, 3}).Draw(r, "dedupe"))
	d.DedupeWindow, d.DedupeEntries = 20*time.Second, 8
	d.FlushInterval = rapid.SampledFrom([]time.Duration{0, 0, 20 * time.Millisecond, collectLong}).Draw(r, "interval")
	d.Tags = map[string]string{"join": string(w.ref)}
	var channel Channel = calm{}
	if w.looks = rapid.IntRange(0, 2).Draw(r, "looks") == 0; w.looks {
		slow := rapid.SampledFrom([]time.Duration{0, 0, 15 * time.Millisecond}).Draw(r, "slow")
		channel, w.slow = &keen{slow: slow}, slow > 0
	}
	for _, other := range c.byRef {
		if other.topic == topic {
			other.actor.End(ErrReplaced)
		}
	}
	c.byRef[w.ref] = w
	m.joins = append(m.joins, w)
	if resume != nil && resume.Last > 0 {
		a := asked{Resume: *resume, topic: topic}
		d.MaxLast = 25
		a.Last = min(a.Last, int64(d.MaxLast))
		for _, l := range m.lanes {
			if l.topic == topic {
				a.routed = l.routed
			}
		}
		m.mu.Lock()
		m.asked[w.ref] = a
		m.mu.Unlock()
	}
	w.actor = m.host.Join(JoinRequest{
		To:         outbound.Address{Topic: topic, JoinRef: w.ref, Ref: w.ref},
		Format:     outbound.Format(rapid.IntRange(0, 1).Draw(r, "format")),
		Factory:    func() Channel { return channel },
		Options:    *d,
		Resume:     resume,
		Socket:     func() *Socket { return &Socket{} },
		Connection: c.Connection,
		Context:    context.Background(),
		Group:      &c.group,
		Ended:      func(*Actor) {},
	})
}

// comeAndGo has all who watch a topic leave while a segment is under way, and somebody
// else come after more has passed unwatched.
func (m *model) comeAndGo(r *rapid.T) {
	l := m.lane(r)
	m.append(r, l.topic)
	m.fetch(30)
	l.encode(rapid.IntRange(1, 10).Draw(r, "under way"))
	for _, w := range m.joins {
		if w.topic == l.topic && w.state != over && !w.conn.ended() {
			w.actor.Receive(Inbound{Event: leave})
		}
	}
	synctest.Wait()
	m.append(r, l.topic)
	m.fetch(30)
	for len(l.fetched) > 0 {
		l.encode(10)
	}
	c := m.connect(r)
	c.join(r, l.topic, &Resume{After: -1})
	synctest.Wait()
	for len(l.segments) > 0 {
		l.route()
	}
	for range rapid.IntRange(0, 3).Draw(r, "more") {
		m.append(r, l.topic)
		m.publish()
	}
	m.connect(r).join(r, l.topic, &Resume{After: rapid.Int64Range(m.log.trimmed, m.log.head()).Draw(r, "after")})
}

// open are the connections that are.
func (m *model) open() (list []*modelConn) {
	for _, c := range m.conns {
		if !c.ended() {
			list = append(list, c)
		}
	}
	return list
}

// watching are the joins that have been accepted and have not ended.
func (m *model) watching() (list []*modelJoin) {
	for _, w := range m.joins {
		if w.state == accepted && !w.conn.ended() {
			list = append(list, w)
		}
	}
	return list
}

func (m *model) someWatcher(r *rapid.T) *modelJoin {
	if list := m.watching(); len(list) > 0 {
		return pick(r, list)
	}
	return nil
}

// channelCommand does something to a channel that its client, its handler or its
// socket can do.
func (m *model) channelCommand(r *rapid.T) {
	w := m.someWatcher(r)
	if w == nil {
		return
	}
	switch what := rapid.SampledFrom([]string{leave, "crash", "stop", "hello", "push", "push", "review"}).Draw(r, "what"); what {
	case "push":
		if err := w.actor.push("p", emptyObject); err != ErrClosed {
			w.others++
		}
	case "review":
		w.actor.Review()
	default:
		w.crashes = w.crashes || what == "crash"
		w.actor.Receive(Inbound{Event: what, Ref: "0"})
	}
}

// broadcast sends what is not in the log.
func (m *model) broadcast(r *rapid.T) {
	topic := rapid.SampledFrom(modelTopics).Draw(r, "topic")
	message := &Message{Topic: topic, Event: rapid.SampledFrom([]string{"b", "e"}).Draw(r, "event")}
	message.Payload = fmt.Appendf(nil, `{%q:%d}`, topic, rapid.IntRange(0, 8).Draw(r, "number"))
	message.Binary = rapid.IntRange(0, 4).Draw(r, "binary") == 0
	var except *modelJoin
	if rapid.Bool().Draw(r, "from") {
		except = m.someWatcher(r)
	}
	for _, w := range m.joins {
		lockOf(w.conn.Connection).Lock()
		if w.topic == topic && w != except && boxOf(w.actor).open && !stateOf(w.conn.Connection).refuses() {
			w.others++
		}
		lockOf(w.conn.Connection).Unlock()
	}
	var actor Subscriber
	if except != nil {
		actor = except.actor
	}
	if err := m.host.pubsub.Broadcast(message, actor); err != nil {
		m.fail("broadcast: %v", err)
	}
}

func (m *model) read(r *rapid.T) {
	if list := m.open(); len(list) > 0 {
		c := pick(r, list)
		c.read(rapid.SampledFrom([]int{1, 100, 1 << 20}).Draw(r, "bytes"), rapid.IntRange(1, 5).Draw(r, "pieces"))
	}
}

// read takes something of what is queued.
func (c *modelConn) read(bytes, pieces int) bool {
	if c.gone {
		return false
	}
	more := c.Take(&c.batch, bytes, pieces)
	c.batch.Written()
	for _, frames := range c.batch.Frames {
		for frame := range strings.SplitSeq(strings.TrimSuffix(string(frames), ";"), ";") {
			c.taken++
			c.frame(frame)
		}
	}
	c.gone = c.batch.Last
	return more
}

// progress grows whenever something comes to a client, or its channel gets further.
func (m *model) progress() (n int) {
	for _, c := range m.conns {
		n += c.taken
	}
	for _, w := range m.joins {
		lockOf(w.conn.Connection).Lock()
		n += int(boxOf(w.actor).pushed)
		lockOf(w.conn.Connection).Unlock()
	}
	return n
}

// hasMore tells whether something can be taken.
func (c *modelConn) hasMore() bool {
	lockOf(c.Connection).Lock()
	defer lockOf(c.Connection).Unlock()
	return stateOf(c.Connection).entries > 0
}

// hangUp ends a connection, in one of the ways there are.
func (m *model) hangUp(r *rapid.T) {
	list := m.open()
	if len(list) == 0 {
		return
	}
	c := pick(r, list)
	switch rapid.IntRange(0, 3).Draw(r, "how") {
	case 0:
		c.hangUp(outbound.DropClosed)
	case 1: // what it has in hand is lost
		c.Take(&c.batch, 100, 2)
		c.hangUp(outbound.DropClosed)
	case 2: // and then it is noticed
		c.Close(nil, outbound.DropTooSlow)
		c.hangUp(outbound.DropClosed)
	default: // after a farewell
		c.end()
		c.Close([]byte("bye;"), "")
		for c.read(1<<20, 10) {
		}
		c.gone = true
	}
}

// end ends all channels, as the session does.
func (c *modelConn) end() {
	for _, w := range c.byRef {
		w.actor.End(ErrDisconnected)
	}
}

func (c *modelConn) hangUp(reason outbound.DropReason) {
	c.gone = true
	c.end()
	c.Close(nil, reason)
	c.batch.Lost(outbound.DropClosed)
}

// frame takes one frame as the client does.
func (c *modelConn) frame(frame string) {
	m := c.model
	kind, rest, _ := strings.Cut(frame, " ")
	event, rest, _ := strings.Cut(rest, " ")
	switch kind {
	case "bye":
	case "reply":
		if w := c.byRef[outbound.Ref(event)]; w != nil {
			status, response, _ := strings.Cut(rest, " ")
			w.answered(status, response)
		}
	case "push":
		w := c.byRef[outbound.Ref(event)]
		if w == nil || w.state == over {
			m.fail("%q for nobody", frame)
		} else if strings.HasPrefix(rest, "phx_") {
			w.ended(rest)
		} else if said, ok := strings.CutPrefix(rest, outbound.EventPosition); ok {
			w.told(said)
		}
	default: // "0:e", which is the event
		offset, err := strconv.ParseInt(event, 10, 64)
		topic, number := parsePayload(rest)
		w := c.current[topic]
		switch {
		case err != nil || topic == "" || offset > 0 && number != offset && number != -1:
			m.fail("frame %q", frame)
		case w == nil:
			m.fail("%q for nobody", frame)
		case offset > 0:
			w.event(offset, number)
		}
	}
}

// ended takes the channel's end: it has not failed if nothing was wrong.
func (w *modelJoin) ended(message string) {
	w.state = over
	delete(w.conn.current, w.topic)
	m := w.conn.model
	m.log.mu.Lock()
	defer m.log.mu.Unlock()
	if strings.Contains(message, "missed") && m.log.trimmed <= w.at {
		m.fail("%s has missed nothing after %d and is told so", w, w.at)
	}
	if strings.Contains(message, "channel_crash") && !w.crashes && !w.looks {
		m.fail("%s has failed for no reason", w)
	}
}

// answered takes the answer to the join.
func (w *modelJoin) answered(status, response string) {
	if w.state != unanswered {
		w.conn.model.fail("%s: answered twice", w)
	}
	if w.state = over; status != "ok" {
		return
	}
	w.state = accepted
	w.conn.current[w.topic] = w
	var ok joinAnswer
	_ = json.Unmarshal([]byte(response), &ok)
	m := w.conn.model
	m.mu.Lock()
	w.from = m.began[w.ref]
	m.mu.Unlock()
	if w.resume != nil && ok.Offset != w.from {
		m.fail("%s: answered %d", w, ok.Offset)
	}
	if w.resume != nil && w.resume.After >= 0 && ok.Resumed {
		w.from = w.resume.After
	}
	w.at = w.from
}

// event takes an event of the log.
func (w *modelJoin) event(offset, number int64) {
	m := w.conn.model
	m.log.mu.Lock()
	defer m.log.mu.Unlock()
	e := m.log.at(offset)
	if number != -1 && e.erasedAt > 0 && w.joinedAt > e.erasedAt {
		m.fail("%s got %d as it was before it was erased", w, offset)
	}
	if offset <= w.at || e.Topic != w.topic || e.poisoned {
		m.fail("%s got %d after %d", w, offset, w.at)
		return
	}
	w.checkUpTo(offset - 1)
	w.at = offset
	w.got = append(w.got, offset)
}

// told takes a position: the client has been sent all up to there.
func (w *modelJoin) told(payload string) {
	var position struct{ Offset int64 }
	err := json.Unmarshal([]byte(payload), &position)
	m := w.conn.model
	m.log.mu.Lock()
	defer m.log.mu.Unlock()
	if err != nil || w.resume == nil || position.Offset <= w.at || position.Offset > m.log.head() {
		m.fail("%s is told position %s (%v) after %d", w, payload, err, w.at)
		return
	}
	w.checkUpTo(position.Offset)
	w.at = position.Offset
}

// positions has those who are quiet told how far all has been routed.
func (m *model) positions(r *rapid.T) {
	routed := m.position
	for _, l := range m.lanes {
		if len(l.segments) > 0 {
			routed = min(routed, l.segments[0].First()-1)
		} else if len(l.fetched) > 0 {
			routed = min(routed, l.fetched[0].Offset-1)
		}
	}
	before := rapid.Int64Range(0, routed).Draw(r, "before")
	for _, w := range m.joins {
		if w.actor.position(routed, before) {
			w.others++
		}
	}
}

// checkUpTo checks that nothing is missing up to an offset. Called with the log's
// lock held.
func (w *modelJoin) checkUpTo(upTo int64) {
	for offset := w.at + 1; offset <= upTo; offset++ {
		if w.owed(w.conn.model.log.at(offset)) {
			w.conn.model.fail("%s was not given %d, after %d, and is not told", w, offset, w.at)
			return
		}
	}
}

// checkComplete checks that nothing is missing of what there is.
func (w *modelJoin) checkComplete() {
	m := w.conn.model
	m.log.mu.Lock()
	defer m.log.mu.Unlock()
	w.checkUpTo(m.log.head())
}

// owed tells whether the client is to get an event.
func (w *modelJoin) owed(e *logged) bool {
	if e.Topic != w.topic || e.poisoned {
		return false
	}
	if w.resume == nil && (w.delivery.Overflow == DropOldest || w.delivery.Overflow == DropNewest || w.delivery.Overflow == Latest) {
		return false // it sheds
	}
	if w.looks && looksAt(e.Event, e.Offset) == withheld {
		return false
	}
	switch w.delivery.Dedupe {
	case DedupeKey:
		return e.Key == nil || !w.hasLike(e)
	case DedupePayload:
		return !e.erased // no two are alike before
	}
	return true
}

// hasLike tells whether the client has got an event with the same key within the
// window, or its channel has withheld one.
func (w *modelJoin) hasLike(e *logged) bool {
	for offset := e.Offset - 1; offset > max(w.from, e.Offset-20); offset-- {
		like := w.conn.model.log.at(offset)
		if like.Topic == e.Topic && string(like.Key) == string(e.Key) && (w.looks || slices.Contains(w.got, offset)) {
			return true
		}
	}
	return false
}

// begins is the offset behind which the join began, also if the client has not heard of
// it. Called when all is over.
func (w *modelJoin) begins() int64 {
	if w.state != unanswered {
		return w.from
	}
	m := w.conn.model
	at := m.began[w.ref]
	if w.resume != nil && w.resume.After >= 0 && m.resumed[w.ref] {
		return w.resume.After
	}
	return at
}

// checkAccount checks that each message that was for a channel is in one counter.
func (w *modelJoin) checkAccount() {
	m, log := boxOf(w.actor), w.conn.model.log
	routed := w.others
	for offset := w.begins() + 1; offset <= m.pushed; offset++ {
		if e := log.at(offset); e.Topic == w.topic && !e.poisoned {
			routed++
		}
	}
	if counted := tallyOf(w.conn.model.set, w.delivery.Tags).all(); counted != routed {
		w.conn.model.fail("%s: %d messages were for it, %d are accounted for", w, routed, counted)
	}
	if m.messages != 0 || m.reserved != 0 || m.toLookAt != 0 {
		w.conn.model.fail("%s: %d messages are left, %d reserved", w, m.messages, m.reserved)
	}
}

// checkLeft checks that a connection that is gone holds nothing.
func (c *modelConn) checkLeft() {
	c.Take(&c.batch, 1, 1)
	if s := stateOf(c.Connection); s.held != 0 || s.entries != 0 || s.replayed != 0 || s.collecting+s.waiting != 0 {
		c.model.fail("a connection that is gone holds %d bytes, %d entries, %d replayed", s.held, s.entries, s.replayed)
	}
}

// checkLeft checks that nothing is left of clients that are gone.
func (m *model) checkLeft() {
	synctest.Wait()
	b := &m.replayer.budget
	if bytes, holders := m.replayer.charged(); bytes != 0 || holders != 0 || b.waiting.Load() != int32(b.parked.Len()) {
		m.fail("%d bytes of %d connections are charged to replays, %d channels wait", bytes, holders, b.parked.Len())
	}
	if m.hub.Topics() != 0 || m.hub.Channels() != 0 {
		m.fail("%d topics and %d channels are left", m.hub.Topics(), m.hub.Channels())
	}
	if held := m.hub.evictions.held.Load(); held > m.hub.evictions.limit {
		m.fail("%d bytes are remembered", held)
	}
}

// checkReserved checks that room is reserved for just what stands in the line of what
// channels are going to look at, at any moment at which none is looking. Called with the
// connection's lock held.
func (c *modelConn) checkReserved() {
	if stateOf(c.Connection).seeing > 0 {
		return
	}
	for _, w := range c.byRef {
		if m := boxOf(w.actor); m.toLookAt != m.reserved {
			c.model.fail("%s: %d messages are reserved, and %d are in line", w, m.reserved, m.toLookAt)
		}
	}
}

// burst has segments routed, and connections read, all at the same time, while
// others take the locks for nothing: so that whoever takes one may have to wait there,
// and another comes between.
func (m *model) burst(r *rapid.T) {
	for range 4 {
		m.append(r)
	}
	m.fetch(60)
	size := rapid.IntRange(1, 12).Draw(r, "segment")
	for _, l := range m.lanes {
		for len(l.fetched) > 0 {
			l.encode(size)
		}
	}
	m.bursting = true
	defer func() { m.bursting = false }()
	var group sync.WaitGroup
	for _, l := range m.lanes {
		group.Go(func() {
			for len(l.segments) > 0 {
				l.route()
			}
		})
	}
	for _, c := range m.open() {
		group.Go(func() {
			for range 20 {
				c.read(1<<10, 4)
				runtime.Gosched()
			}
		})
		group.Go(func() {
			for range 50 {
				lockOf(c.Connection).Lock()
				c.checkReserved()
				runtime.Gosched()
				lockOf(c.Connection).Unlock()
				for _, w := range c.byRef {
					w.actor.mu.Lock()
					runtime.Gosched()
					w.actor.mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	synctest.Wait()
}
