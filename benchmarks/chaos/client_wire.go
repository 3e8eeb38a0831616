package chaos

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/gobwas/ws"
)

// maxFrame bounds a frame that a client reads.
const maxFrame = 4 << 20

// closedError is a close frame.
type closedError struct {
	code   int
	reason string
}

func (e closedError) Error() string {
	return fmt.Sprintf("benchmarks: closed with %d %s", e.code, e.reason)
}

// socketTransport is a WebSocket.
type socketTransport struct {
	conn net.Conn
	in   *bufio.Reader
	text []byte // of the last frame, reused
}

// openSocket connects. The kernel holds so many bytes for the client, 0 for as
// many as it likes.
func openSocket(ctx context.Context, address, version string, held int) (transport, error) {
	dialer := ws.Dialer{Timeout: patience}
	conn, in, _, err := dialer.Dial(ctx, "ws://"+address+"/socket/websocket?vsn="+version)
	if err != nil {
		return nil, err
	}
	if in == nil {
		in = bufio.NewReader(conn)
	}
	if held > 0 {
		if err := conn.(*net.TCPConn).SetReadBuffer(held); err != nil {
			_ = conn.Close() // of no use
			return nil, err
		}
	}
	return &socketTransport{conn: conn, in: in}, nil
}

func (s *socketTransport) send(text []byte) error {
	return ws.WriteFrame(s.conn, ws.MaskFrameInPlace(ws.NewTextFrame(text)))
}

func (s *socketTransport) next() ([]byte, error) {
	for {
		header, err := ws.ReadHeader(s.in)
		if err != nil {
			return nil, err
		}
		if header.Length > maxFrame || !header.Fin {
			return nil, fmt.Errorf("benchmarks: a frame of %d bytes (final: %v)", header.Length, header.Fin)
		}
		if int64(cap(s.text)) < header.Length {
			s.text = make([]byte, header.Length)
		}
		s.text = s.text[:header.Length]
		if _, err := io.ReadFull(s.in, s.text); err != nil {
			return nil, err
		}
		switch header.OpCode {
		case ws.OpText:
			return s.text, nil
		case ws.OpClose:
			code, reason := ws.ParseCloseFrameData(s.text)
			return nil, closedError{int(code), reason}
		}
	}
}

// close breaks the connection: what is on its way is lost.
func (s *socketTransport) close() {
	if tcp, ok := s.conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // it fails on a closed connection only
	}
	_ = s.conn.Close() // once more, perhaps
}

// pollTransport is a session of long-polls. Whatever goes wrong with a request ends
// it, as it does for the stock client.
type pollTransport struct {
	client *http.Client
	where  func() string // host:port that the next request goes to
	token  string
	ctx    context.Context
	cancel context.CancelFunc

	messages []json.RawMessage // of the last poll, not taken yet
}

// polled is an answer to a poll.
type polled struct {
	Status   int
	Token    *string
	Messages []json.RawMessage
}

func openPolls(ctx context.Context, where func() string) (transport, error) {
	p := &pollTransport{client: &http.Client{Transport: &http.Transport{}, Timeout: patience}, where: where}
	p.ctx, p.cancel = context.WithCancel(ctx)
	answer, err := p.request(http.MethodGet, nil)
	if err == nil && (answer.Status != http.StatusGone || answer.Token == nil) {
		err = fmt.Errorf("benchmarks: a first poll was answered %d", answer.Status)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	p.token = *answer.Token
	return p, nil
}

func (p *pollTransport) request(method string, body []byte) (answer polled, err error) {
	request, err := http.NewRequestWithContext(p.ctx, method, "http://"+p.where()+"/socket/longpoll?vsn=2.0.0", bytes.NewReader(body))
	if err != nil {
		return answer, err
	}
	if p.token != "" {
		request.Header.Set("X-Phoenix-Longpoll-Token", p.token)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/x-ndjson")
	}
	response, err := p.client.Do(request)
	if err != nil {
		return answer, err
	}
	text, err := io.ReadAll(response.Body)
	_ = response.Body.Close() // it has been read
	if err != nil {
		return answer, err
	}
	return answer, json.Unmarshal(text, &answer)
}

func (p *pollTransport) send(text []byte) error {
	answer, err := p.request(http.MethodPost, text)
	if err == nil && answer.Status != http.StatusOK {
		err = fmt.Errorf("benchmarks: a message was answered %d", answer.Status)
	}
	return err
}

func (p *pollTransport) next() ([]byte, error) {
	for len(p.messages) == 0 {
		answer, err := p.request(http.MethodGet, nil)
		switch {
		case err != nil:
			return nil, err
		case answer.Status != http.StatusOK && answer.Status != http.StatusNoContent:
			return nil, fmt.Errorf("benchmarks: a poll was answered %d", answer.Status)
		}
		p.messages = answer.Messages
	}
	var text string
	err := json.Unmarshal(p.messages[0], &text)
	p.messages = p.messages[1:]
	return []byte(text), err
}

func (p *pollTransport) close() {
	p.cancel()
	p.client.CloseIdleConnections()
}
