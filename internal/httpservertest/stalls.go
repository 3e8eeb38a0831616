package httpservertest

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Stall is a client that does not go on, in some phase of a request.
type Stall struct {
	Name string

	// Bound is after what time the server must have closed the connection, if it
	// waits no longer than Longest in any one phase.
	Bound time.Duration

	// Client plays the client, on a request of this method and path. It returns
	// when the connection has been closed.
	Client func(c *Conn, method, path string)
}

// Longest is how long a server may wait for the next thing that a client does:
// more than that of any of ours.
const Longest = time.Minute

// Stalls are clients that stall, in every phase, and in several ways.
var Stalls = []Stall{
	{"says nothing", Longest, func(c *Conn, _, _ string) { discard(c) }},
	{"stops in the request line", Longest, func(c *Conn, method, _ string) { send(c, method+" /"); discard(c) }},
	{"stops in a header", Longest, func(c *Conn, method, path string) { send(c, head(method, path, "X-Long: x")); discard(c) }},
	{"sends a head that trickles", Longest, func(c *Conn, method, path string) {
		go discard(c)
		send(c, head(method, path, "X-Short: x"))
		trickle(c, "X-Long: x\r\n", time.Second)
	}},
	{"sends no body", Longest, func(c *Conn, method, path string) {
		send(c, head(method, path, "Content-Length: 1000", ""))
		discard(c)
	}},
	{"sends no body and waits to be asked for it", 2 * Longest, func(c *Conn, method, path string) {
		send(c, head(method, path, "Content-Length: 1000", "Expect: 100-continue", ""))
		discard(c)
	}},
	{"stops in the body", Longest, func(c *Conn, method, path string) {
		go discard(c)
		send(c, head(method, path, "Content-Length: 1000", "")+"[")
		<-c.Ended
	}},
	{"stops in a large body", Longest, func(c *Conn, method, path string) {
		go discard(c)
		send(c, head(method, path, "Content-Length: 4000000", "")+strings.Repeat("[", 5000))
		<-c.Ended
	}},
	{"sends a body that trickles", Longest, func(c *Conn, method, path string) {
		go discard(c)
		send(c, head(method, path, "Content-Length: 1000000", "Content-Type: application/x-ndjson", ""))
		trickle(c, "\n", time.Second)
	}},
	{"sends a body of chunks that does not end", Longest, func(c *Conn, method, path string) {
		go discard(c)
		send(c, head(method, path, "Transfer-Encoding: chunked", "Content-Type: application/x-ndjson", ""))
		trickle(c, "1\r\n\n\r\n", time.Second)
	}},
	{"stops in a chunk", Longest, func(c *Conn, method, path string) {
		go discard(c)
		send(c, head(method, path, "Transfer-Encoding: chunked", "")+"f\r\n[")
		<-c.Ended
	}},
	{"stops before the last chunk's end", Longest, func(c *Conn, method, path string) {
		go discard(c)
		send(c, head(method, path, "Transfer-Encoding: chunked", "")+"0\r\nX-Trailer: x\r\n")
		<-c.Ended
	}},
	{"reads no answer", Longest, func(c *Conn, method, path string) {
		send(c, head(method, path, "Content-Length: 0", ""))
		<-c.Ended
	}},
	{"reads an answer's beginning", Longest, func(c *Conn, method, path string) {
		send(c, head(method, path, "Content-Length: 0", ""))
		_, _ = io.ReadFull(c, make([]byte, 10))
		<-c.Ended
	}},
	{"reads an answer byte by byte", 30 * Longest, func(c *Conn, method, path string) {
		send(c, head(method, path, "Content-Length: 0", ""))
		for n := 1; n > 0; time.Sleep(5 * time.Second) {
			n, _ = c.Read(make([]byte, 1))
		}
		<-c.Ended
	}},
	{"sends one request after the other and reads nothing", Longest, func(c *Conn, method, path string) {
		send(c, strings.Repeat(head(method, path, "Content-Length: 0", ""), 100))
		<-c.Ended
	}},
	{"keeps a connection that has been answered", 2 * Longest, func(c *Conn, method, path string) {
		send(c, head(method, path, "Content-Length: 0", ""))
		discard(c)
	}},
	{"begins a second head and stops", 2 * Longest, func(c *Conn, method, path string) {
		go discard(c)
		send(c, head(method, path, "Content-Length: 0", ""))
		send(c, "GET")
		<-c.Ended
	}},
	{"leaves within the head", Longest, func(c *Conn, method, path string) { send(c, head(method, path, "X-Short: x")); c.Close(); <-c.Ended }},
	{"leaves within the body", Longest, func(c *Conn, method, path string) {
		go discard(c)
		send(c, head(method, path, "Content-Length: 1000", "")+"[")
		c.Close()
		<-c.Ended
	}},
	{"leaves before the answer", Longest, func(c *Conn, method, path string) {
		send(c, head(method, path, "Content-Length: 0", ""))
		c.Close()
		<-c.Ended
	}},
}

// head is a request's head, without the empty line that ends it if the last line
// given is not "".
func head(method, path string, lines ...string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", method, path, strings.Join(lines, "\r\n"))
}

// send sends what the server takes.
func send(c *Conn, text string) { _, _ = io.WriteString(c, text) }

// discard reads to the end of what the server sends.
func discard(c *Conn) { _, _ = io.Copy(io.Discard, c) }

// trickle sends a piece now and then until the connection ends.
func trickle(c *Conn, piece string, every time.Duration) {
	for {
		if _, err := io.WriteString(c, piece); err != nil {
			<-c.Ended
			return
		}
		select {
		case <-time.After(every):
		case <-c.Ended:
			return
		}
	}
}
