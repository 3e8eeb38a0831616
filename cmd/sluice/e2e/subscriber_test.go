package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/gobwas/ws"
)

// A subscriber is a client of one topic in a few lines of its own, for the
// tests in which there are many: it writes frames and reads frames.
type subscriber struct {
	conn  net.Conn
	in    *bufio.Reader
	topic string
}

// subscribe connects and joins a topic; with numbered, for events with their
// offsets, from now on.
func subscribe(ctx context.Context, address, topic string, numbered bool) (*subscriber, error) {
	s, err := reach(ctx, address, topic)
	if err == nil {
		err = s.join(numbered)
	}
	return s, err
}

// reach connects.
func reach(ctx context.Context, address, topic string) (*subscriber, error) {
	conn, in, _, err := ws.Dial(ctx, mount(address)+"/websocket?vsn=2.0.0")
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	if in == nil {
		in = bufio.NewReader(conn)
	}
	return &subscriber{conn: conn, in: in, topic: topic}, nil
}

// join joins the topic.
func (s *subscriber) join(numbered bool) error {
	params := `{}`
	if numbered {
		params = `{"after":null}`
	}
	join := ws.NewTextFrame(fmt.Appendf(nil, `["1","1",%q,"phx_join",%s]`, s.topic, params))
	if err := ws.WriteFrame(s.conn, ws.MaskFrameInPlace(join)); err != nil {
		return fmt.Errorf("join %s: %w", s.topic, err)
	}
	event, payload, err := s.read()
	if err != nil {
		return fmt.Errorf("join %s: %w", s.topic, err)
	}
	var reply struct{ Status string }
	if err := json.Unmarshal(payload, &reply); err != nil || event != "phx_reply" || reply.Status != "ok" {
		return fmt.Errorf("join %s: answered %s %s", s.topic, event, payload)
	}
	return nil
}

// read waits for the topic's next message.
func (s *subscriber) read() (event string, payload json.RawMessage, err error) {
	if err := s.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return "", nil, err
	}
	header, err := ws.ReadHeader(s.in)
	if err == nil && (header.Length > 1<<20 || !header.Fin) {
		err = fmt.Errorf("a frame of %d bytes (final: %v)", header.Length, header.Fin)
	}
	var text []byte
	if err == nil {
		text = make([]byte, header.Length)
		_, err = io.ReadFull(s.in, text)
	}
	if err != nil {
		return "", nil, fmt.Errorf("read %s: %w", s.topic, err)
	}
	if header.OpCode == ws.OpClose {
		code, reason := ws.ParseCloseFrameData(text)
		return "", nil, fmt.Errorf("read %s: closed with %d %s", s.topic, code, reason)
	}
	var joinRef, ref *string
	var topic string
	if err := json.Unmarshal(text, &[]any{&joinRef, &ref, &topic, &event, &payload}); err != nil {
		return "", nil, fmt.Errorf("read %s: %s: %w", s.topic, text, err)
	}
	if topic != s.topic {
		return "", nil, fmt.Errorf("read %s: a message of topic %s", s.topic, topic)
	}
	return event, payload, nil
}
