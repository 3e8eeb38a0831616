package benchmarks

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

// NewFloor is the least server there can be, as a process of its own: it knows
// no topics but by name, no rules and no limits, and has one thread that writes
// each event to each socket with a system call of its own. Nothing that sends
// one message at a time can cost less. program is a sluice binary.
func NewFloor(program string, pinned bool, log io.Writer) *target.Child {
	return &target.Child{
		Called:  report.BaselineName,
		Program: program,
		Args:    []string{"bench", report.BaselineName, "--target", "ws://{listen}", "--admin-url", "http://{admin}"},
		Dialect: floorDialect{},
		Pinned:  pinned,
		Log:     log,
	}
}

// floorDialect is a line with a topic, answered as it is.
type floorDialect struct{}

func (floorDialect) Path() string { return "/" }

func (floorDialect) Greet(say swarm.Say, topics []string) {
	say([]byte(strings.Join(topics, "\n")))
}

func (floorDialect) Hear(_ swarm.Say, topics []string, message []byte) (joined int, err error) {
	if string(message) != "joined" {
		return 0, fmt.Errorf("the floor said %s", message)
	}
	return len(topics), nil
}

// floor is that server.
type floor struct {
	mu sync.Mutex
	// Guarded by mu.
	topics  map[string][]*floorSocket
	sockets []net.Conn
	frame   []byte // reused
}

// floorSocket is a connection that is written to.
type floorSocket struct{ write func(frame []byte) error }

// ServeFloor runs it at those URLs, until ctx ends: with a database as the floor
// that [RowFloor] starts.
func ServeFloor(ctx context.Context, target, adminURL, database string) error {
	f := &floor{topics: map[string][]*floorSocket{}}
	if database == "" {
		return f.serve(target, adminURL, func() error {
			<-ctx.Done()
			return nil
		})
	}
	queue, err := openQueue(ctx, database)
	if err != nil {
		return err
	}
	err = f.serve(target, adminURL, func() error { return queue.run(ctx, f.hand) })
	return errors.Join(err, queue.close())
}

// serve runs it at those URLs for as long as the work takes.
func (f *floor) serve(target, adminURL string, work func() error) error {
	listen, adminListen := strings.TrimPrefix(target, "ws://"), strings.TrimPrefix(adminURL, "http://")
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
	mux.HandleFunc("POST /api/broadcast", f.broadcast)
	server := &http.Server{Handler: mux}
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(admin) }) // it ends with Close
	running.Go(func() { f.accept(public, &running) })
	err = errors.Join(work(), public.Close(), server.Close())
	f.mu.Lock()
	for _, conn := range f.sockets {
		_ = conn.Close() // the client may have done so
	}
	f.mu.Unlock()
	running.Wait()
	return err
}

// accept takes connections until the listener is closed.
func (f *floor) accept(public net.Listener, running *sync.WaitGroup) {
	for {
		conn, err := public.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		f.sockets = append(f.sockets, conn)
		f.mu.Unlock()
		running.Go(func() { _ = f.greet(conn) }) // who is not greeted does not join
	}
}

// greet answers the handshake, and the one message that a client has.
func (f *floor) greet(conn net.Conn) error {
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
	f.mu.Lock()
	defer f.mu.Unlock()
	for topic := range strings.SplitSeq(string(topics), "\n") {
		f.topics[topic] = append(f.topics[topic], &floorSocket{write})
	}
	return write(textFrame(nil, []byte("joined")))
}

// broadcast writes each event to each socket of its topic, one after the other.
// It reads no more of a line than it needs.
func (f *floor) broadcast(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(body) > 0 {
		line, rest, _ := bytes.Cut(body, []byte("\n"))
		body = rest
		_, after, _ := bytes.Cut(line, []byte(`"topic":"`))
		topic, _, found := bytes.Cut(after, []byte(`"`))
		if !found {
			continue
		}
		if err := f.write(topic, line); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	w.WriteHeader(http.StatusAccepted)
}

// hand writes each row to each socket of its topic.
func (f *floor) hand(rows []queued) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range rows {
		if err := f.write([]byte(rows[i].topic), rows[i].appendLine(nil)); err != nil {
			return err
		}
	}
	return nil
}

// write writes a line to each socket of its topic. f.mu is held.
func (f *floor) write(topic, line []byte) error {
	f.frame = textFrame(f.frame[:0], line)
	for _, socket := range f.topics[string(topic)] {
		if err := socket.write(f.frame); err != nil {
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
