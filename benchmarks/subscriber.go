package benchmarks

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
)

// readBuffer holds the largest frame that a client expects, and is what it
// reads from its socket at a time.
const readBuffer = 16 << 10

// joinTimeout is how long a client waits for the answers to its joins.
const joinTimeout = 30 * time.Second

// subscriber is one socket with the topics that it watches. It speaks just
// enough of Phoenix v2 to be cheap: it knows what events look like, and reads
// their numbers where they stand.
type subscriber struct {
	// Immutable after subscribe.
	conn    net.Conn
	in      *bufio.Reader
	load    Load
	topics  []int
	total   []int64 // events due, for each of the topics
	latency *Latencies
	warmUp  int64 // so many events at the beginning are not recorded in latency

	arrived atomic.Int64  // events received; read by the audience while it waits
	done    chan struct{} // closed by read's goroutine when all have arrived, or it ends

	// Owned by read; the audience's when it has ended.
	ledgers     []Ledger // for each of the topics
	now         time.Time
	first, last time.Time // of the deliveries
	waiting     int       // topics of which not all has arrived
	cause       error     // why the connection ended
}

// subscribe connects and joins.
func (s *subscriber) subscribe(ctx context.Context, url string) error {
	conn, in, _, err := ws.Dial(ctx, url+"/websocket?vsn=2.0.0")
	if err != nil {
		return fmt.Errorf("dial %s: %w", url, err)
	}
	s.conn, s.in = conn, bufio.NewReaderSize(conn, readBuffer)
	if in != nil { // with bytes in it that came after the handshake
		s.in = bufio.NewReaderSize(in, readBuffer)
	}
	s.ledgers = make([]Ledger, len(s.topics))
	s.done = make(chan struct{})
	if err := s.join(); err != nil {
		return errors.Join(err, conn.Close())
	}
	return nil
}

// join asks for all topics, and then reads the answers.
func (s *subscriber) join() error {
	if err := s.conn.SetDeadline(time.Now().Add(joinTimeout)); err != nil {
		return err
	}
	var asks bytes.Buffer
	for _, topic := range s.topics {
		ask := ws.NewTextFrame(fmt.Appendf(nil, `["%d","%d",%q,"phx_join",{}]`, topic, topic, topicName(topic)))
		if err := ws.WriteFrame(&asks, ws.MaskFrameInPlace(ask)); err != nil {
			return err
		}
	}
	if _, err := s.conn.Write(asks.Bytes()); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	for range s.topics {
		answer, err := s.frame()
		if err != nil {
			return fmt.Errorf("join: %w", err)
		}
		if !bytes.Contains(answer, []byte(`"phx_reply",{"status":"ok"`)) {
			return fmt.Errorf("join: answered %s", answer)
		}
	}
	return s.conn.SetDeadline(time.Time{})
}

// read receives until the connection ends.
func (s *subscriber) read() {
	for i := range s.topics {
		if !s.hasAll(i) {
			s.waiting++
		}
	}
	if s.waiting == 0 {
		close(s.done)
	}
	s.cause = s.receive()
	if s.waiting > 0 {
		close(s.done)
	}
	_ = s.conn.Close() // reading has failed or come to its end; nothing more can
}

func (s *subscriber) receive() error {
	for {
		text, err := s.frame()
		if err != nil {
			return err
		}
		topic, number, at, ok := parseEvent(text)
		seat := s.seat(topic)
		if !ok || seat < 0 {
			return fmt.Errorf("benchmarks: a message that is not one of ours: %s", text)
		}
		if s.first.IsZero() {
			s.first = s.now
		}
		s.last = s.now
		s.arrived.Add(1) // before done says that this was the last
		s.note(seat, number)
		if s.latency != nil && number*int64(s.load.Topics)+int64(topic) >= s.warmUp {
			s.latency.Record(s.now.Sub(time.Unix(0, at)))
		}
	}
}

// note enters an event's arrival, and tells when it was the last one due.
func (s *subscriber) note(seat int, number int64) {
	before := s.hasAll(seat)
	s.ledgers[seat].Note(number)
	if !before && s.hasAll(seat) {
		s.waiting--
		if s.waiting == 0 {
			close(s.done)
		}
	}
}

// hasAll tells whether all that is due of a topic has arrived.
func (s *subscriber) hasAll(seat int) bool {
	l := &s.ledgers[seat]
	return l.next >= s.total[seat] && len(l.missing) == 0
}

// seat is a topic's place among those of this socket, -1 for one of another.
func (s *subscriber) seat(topic int) int {
	seat := (topic - s.topics[0]) / s.load.Sockets
	if seat < 0 || seat >= len(s.topics) || s.topics[seat] != topic {
		return -1
	}
	return seat
}

// check sums up the ledgers. Call it after read has returned.
func (s *subscriber) check() (c Check, arrived int64) {
	for i := range s.ledgers {
		c = c.plus(s.ledgers[i].Check(s.total[i]))
		arrived += s.ledgers[i].Arrived()
	}
	if s.waiting > 0 {
		c.Cut++
	}
	return c, arrived
}

// frame returns the payload of the next text frame (RFC 6455, 5.2), valid
// until the next call.
func (s *subscriber) frame() ([]byte, error) {
	for {
		head, err := s.peek(2)
		if err != nil {
			return nil, err
		}
		op, size, skip := ws.OpCode(head[0]&0x0f), int(head[1]&0x7f), 2
		switch size {
		case 126:
			if head, err = s.peek(4); err != nil {
				return nil, err
			}
			size, skip = int(head[2])<<8|int(head[3]), 4
		case 127:
			size, skip = readBuffer, 10
		}
		if size+skip > readBuffer {
			return nil, fmt.Errorf("benchmarks: a frame of more than %d bytes", readBuffer)
		}
		whole, err := s.peek(skip + size)
		if err != nil {
			return nil, err
		}
		if _, err := s.in.Discard(skip + size); err != nil { // the bytes stay where they are until the next read
			return nil, err
		}
		switch payload := whole[skip:]; op {
		case ws.OpText:
			return payload, nil
		case ws.OpClose:
			code, reason := ws.ParseCloseFrameData(payload)
			return nil, fmt.Errorf("closed with %d %s", code, reason)
		}
	}
}

// peek waits for n bytes. The clock is read only when the socket was: all that
// one read brought was received at the same time.
func (s *subscriber) peek(n int) ([]byte, error) {
	if s.in.Buffered() >= n {
		return s.in.Peek(n)
	}
	b, err := s.in.Peek(n)
	s.now = time.Now()
	return b, err
}

// The parts of an event's message between what varies.
var (
	beforeTopic = []byte(`[null,null,"` + topicPrefix)
	afterTopic  = []byte(`","` + eventName + `",{"n":`)
	beforeAt    = []byte(`,"at":`)
)

// parseEvent reads a message of package socket that carries one of our payloads.
func parseEvent(text []byte) (topic int, number, at int64, ok bool) {
	rest, ok := bytes.CutPrefix(text, beforeTopic)
	if !ok {
		return 0, 0, 0, false
	}
	t, rest, ok := cutInt(rest)
	if !ok {
		return 0, 0, 0, false
	}
	if rest, ok = bytes.CutPrefix(rest, afterTopic); !ok {
		return 0, 0, 0, false
	}
	if number, rest, ok = cutInt(rest); !ok {
		return 0, 0, 0, false
	}
	if rest, ok = bytes.CutPrefix(rest, beforeAt); !ok {
		return 0, 0, 0, false
	}
	at, _, ok = cutInt(rest)
	return int(t), number, at, ok
}

// cutInt reads the digits that text begins with.
func cutInt(text []byte) (n int64, rest []byte, ok bool) {
	i := 0
	for i < len(text) && text[i] >= '0' && text[i] <= '9' {
		i++
	}
	n, err := strconv.ParseInt(string(text[:i]), 10, 64) // the conversion does not allocate: it does not escape
	return n, text[i:], err == nil
}
