package baseline

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/sluicehq/sluice/benchmarks/report"
	"github.com/sluicehq/sluice/benchmarks/swarm"
	"github.com/sluicehq/sluice/benchmarks/target"
)

// New is the least server there can be, as a process of its own: it knows
// no topics but by name, no rules and no limits, and has one thread that writes
// each event to each socket with a system call of its own. Nothing that sends
// one message at a time can cost less. program is a sluice binary.
func New(program string, pinned bool, log io.Writer) *target.Child {
	return &target.Child{
		Called:  report.BaselineName,
		Program: program,
		Args:    []string{"bench", report.BaselineName, "--target", "ws://{listen}", "--admin-url", "http://{admin}"},
		Dialect: dialect{},
		Pinned:  pinned,
		Log:     log,
	}
}

// dialect is a line with a topic, answered as it is.
type dialect struct{}

func (dialect) Path() string { return "/" }

func (dialect) Greet(say swarm.Say, topics []string) {
	say([]byte(strings.Join(topics, "\n")))
}

func (dialect) Hear(_ swarm.Say, topics []string, message []byte) (joined int, err error) {
	if string(message) != "joined" {
		return 0, fmt.Errorf("the floor said %s", message)
	}
	return len(topics), nil
}

// server is what Serve runs.
type server struct {
	mu sync.Mutex
	// Guarded by mu.
	topics  map[string][]*socket
	sockets []net.Conn
	frame   []byte // reused
}

// socket is a connection that is written to.
type socket struct{ write func(frame []byte) error }

// Serve runs it at those URLs, until ctx ends: with a database as the one
// that [Rows] starts.
func Serve(ctx context.Context, url, adminURL, database string) error {
	s := &server{topics: map[string][]*socket{}}
	if database == "" {
		return s.serve(url, adminURL, func() error {
			<-ctx.Done()
			return nil
		})
	}
	queue, err := openQueue(ctx, database)
	if err != nil {
		return err
	}
	err = s.serve(url, adminURL, func() error { return queue.run(ctx, s.hand) })
	return errors.Join(err, queue.close())
}

// serve runs it at those URLs for as long as the work takes.
func (s *server) serve(url, adminURL string, work func() error) error {
	listen, adminListen := strings.TrimPrefix(url, "ws://"), strings.TrimPrefix(adminURL, "http://")
	public, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", listen, err)
	}
	admin, err := net.Listen("tcp", adminListen)
	if err != nil {
		return errors.Join(fmt.Errorf("listen on %s: %w", adminListen, err), public.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /api/broadcast", s.broadcast)
	server := &http.Server{Handler: mux}
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(admin) }) // it ends with Close
	running.Go(func() { s.accept(public, &running) })
	err = errors.Join(work(), public.Close(), server.Close())
	s.mu.Lock()
	for _, conn := range s.sockets {
		_ = conn.Close() // the client may have done so
	}
	s.mu.Unlock()
	running.Wait()
	return err
}

// accept takes connections until the listener is closed.
func (s *server) accept(public net.Listener, running *sync.WaitGroup) {
	for {
		conn, err := public.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.sockets = append(s.sockets, conn)
		s.mu.Unlock()
		running.Go(func() { _ = s.greet(conn) }) // who is not greeted does not join
	}
}

// greet answers the handshake, and the one message that a client has.
func (s *server) greet(conn net.Conn) error {
	in := bufio.NewReaderSize(conn, 64<<10)
	request, err := http.ReadRequest(in)
	if err != nil {
		return err
	}
	sum := sha1.Sum([]byte(request.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]))
	if err != nil {
		return err
	}
	topics, err := readMasked(in)
	if err != nil {
		return err
	}
	write, err := bareWrite(conn)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic := range strings.SplitSeq(string(topics), "\n") {
		s.topics[topic] = append(s.topics[topic], &socket{write})
	}
	return write(textFrame(nil, []byte("joined")))
}

// broadcast writes each event to each socket of its topic, one after the other.
// It reads no more of a line than it needs.
func (s *server) broadcast(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(body) > 0 {
		line, rest, _ := bytes.Cut(body, []byte("\n"))
		body = rest
		_, after, _ := bytes.Cut(line, []byte(`"topic":"`))
		topic, _, found := bytes.Cut(after, []byte(`"`))
		if !found {
			continue
		}
		if err := s.write(topic, line); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	w.WriteHeader(http.StatusAccepted)
}

// hand writes each row to each socket of its topic.
func (s *server) hand(rows []row) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range rows {
		if err := s.write([]byte(rows[i].topic), rows[i].appendLine(nil)); err != nil {
			return err
		}
	}
	return nil
}

// write writes a line to each socket of its topic. s.mu is held.
func (s *server) write(topic, line []byte) error {
	s.frame = textFrame(s.frame[:0], line)
	for _, socket := range s.topics[string(topic)] {
		if err := socket.write(s.frame); err != nil {
			return err
		}
	}
	return nil
}

// textFrame is a frame from a server (RFC 6455, 5.2).
func textFrame(dst, payload []byte) []byte {
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, 0x81, byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, 0x81, 126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 0x81, 127), uint64(n))
	}
	return append(dst, payload...)
}

// readMasked reads a client's frame, which the swarm masks with zeros.
func readMasked(in io.Reader) ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return nil, err
	}
	size, extra := int64(head[1]&0x7f), [8]byte{}
	switch size {
	case 126:
		if _, err := io.ReadFull(in, extra[6:]); err != nil {
			return nil, err
		}
		size = int64(binary.BigEndian.Uint64(extra[:]))
	case 127:
		if _, err := io.ReadFull(in, extra[:]); err != nil {
			return nil, err
		}
		size = int64(binary.BigEndian.Uint64(extra[:]))
	}
	payload := make([]byte, 4+min(size, swarm.MaxPayload))
	if _, err := io.ReadFull(in, payload); err != nil {
		return nil, err
	}
	return payload[4:], nil
}
