package client

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

const (
	dialTimeout = 10 * time.Second
	// maxRefusal is as much as is read of an answer that refuses a connection, in bytes.
	maxRefusal = 4 << 10
	// maxRefusalBody is how much of it is kept where it is in no form of ours.
	maxRefusalBody = 300
)

// Endpoint is the URL that is dialled for a socket's.
func Endpoint(socket string) (string, error) {
	at, err := url.Parse(socket)
	if err != nil {
		return "", &URLError{socket}
	}
	scheme := map[string]string{"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}[at.Scheme]
	if scheme == "" || at.Host == "" {
		return "", &URLError{socket}
	}
	at.Scheme = scheme
	// Who copies it from a log has the path that is dialled already.
	at.Path = strings.TrimSuffix(strings.TrimRight(at.Path, "/"), "/websocket") + "/websocket"
	query := at.Query()
	query.Set("vsn", "2.0.0")
	at.RawQuery = query.Encode()
	return at.String(), nil
}

// dialer connects to a WebSocket endpoint.
func (s *settings) dialer(endpoint string) func(context.Context) (net.Conn, *bufio.Reader, error) {
	token, header, tls := s.token, s.header, s.tls
	return func(ctx context.Context) (net.Conn, *bufio.Reader, error) {
		d := ws.Dialer{Timeout: dialTimeout, TLSConfig: tls}
		if header != nil {
			d.Header = ws.HandshakeHeaderHTTP(header)
		}
		if token != nil {
			t, err := token(ctx)
			if err != nil {
				return nil, nil, fmt.Errorf("ask for a token: %w", err)
			}
			if t != "" {
				d.Protocols = []string{"phoenix", bearerProtocol(t)}
			}
		}
		refused := new(RefusedError)
		d.OnStatusError = func(_ int, _ []byte, answer io.Reader) { refused.read(answer) }
		conn, rest, _, err := d.Dial(ctx, endpoint)
		var status ws.StatusError
		switch {
		case errors.As(err, &status):
			refused.Status = int(status)
			return nil, nil, refused
		case err != nil:
			return nil, nil, &DialError{endpoint, err}
		}
		return conn, rest, nil
	}
}

// DialError says that no connection could be made.
type DialError struct {
	Endpoint string
	Err      error
}

func (e *DialError) Error() string { return fmt.Sprintf("cannot reach %s: %v", e.Endpoint, e.Err) }

// Unwrap is for [errors.As].
func (e *DialError) Unwrap() error { return e.Err }

// bearerProtocol is how a token is written as a WebSocket subprotocol, as the
// stock client writes it.
func bearerProtocol(token string) string {
	return "base64url.bearer.phx." + base64.RawURLEncoding.EncodeToString([]byte(token))
}

// read takes in why a server refuses, from a whole HTTP response: in our form, or, of another
// server or of what stands between, its first words.
func (e *RefusedError) read(answer io.Reader) {
	response, err := http.ReadResponse(bufio.NewReader(answer), nil)
	if err != nil {
		return
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxRefusal)) // what has come of it will do
	var said struct{ Error, Hint string }
	if json.Unmarshal(body, &said) == nil && said.Error != "" {
		e.Message, e.Hint = said.Error, said.Hint
		return
	}
	e.Body = strings.Join(strings.Fields(string(body)), " ")
	if len(e.Body) > maxRefusalBody {
		cut := maxRefusalBody
		for !utf8.RuneStart(e.Body[cut]) && cut > 0 {
			cut--
		}
		e.Body = e.Body[:cut]
	}
}
