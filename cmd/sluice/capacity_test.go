//go:build unix

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds what tests wait for. It says nothing about speed: only what never
// happens takes so long.
const patience = 15 * time.Minute

// TestAdminAnswersWhenThePublicSideIsFull: with 200 descriptors and 260 clients that hold what
// they can get, in each of the ways they have, the admin listener answers, the store is
// written to, and who comes next is served or told.
func TestAdminAnswersWhenThePublicSideIsFull(t *testing.T) {
	t.Parallel()
	const handshake = "GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
	for name, test := range map[string]struct {
		sent string
		want string // how the next client's handshake is answered
	}{
		"nothing sent": {"", "HTTP/1.1 101"},
		"half a head":  {"GET /socket/websocket HTTP/1.1\r\nHost: %s\r\n", "HTTP/1.1 101"},
		"sockets":      {handshake, "HTTP/1.1 503"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			command := program(t, nil, append(serveFlags(t), "--heartbeat-timeout", "1h")...) // none is taken for gone
			command.Args = append([]string{"sh", "-c", `ulimit -n 200; exec "$0" "$@"`, command.Path}, command.Args[1:]...)
			command.Path = "/bin/sh"
			stderr, err := command.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			log := bufio.NewScanner(stderr)
			at := readLog(t, log, "serving")
			readLog(t, log, "log open")
			rest := make(chan struct{})
			go func() {
				defer close(rest)
				for log.Scan() {
				}
			}()
			public := strings.TrimSuffix(strings.TrimPrefix(at.Socket, "ws://"), "/socket/websocket")
			for range 260 {
				conn, err := net.Dial("tcp", public)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if test.sent != "" {
					_, _ = fmt.Fprintf(conn, test.sent, public) // it may have been closed
				}
				if test.sent == handshake { // until it is answered, or refused
					_, _ = bufio.NewReader(conn).ReadString('\n')
				}
			}
			client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			late := time.Now().Add(patience)
			for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
				for {
					resp, err := client.Get(at.Console + path)
					if err != nil {
						t.Fatal(err)
					}
					if resp.Body.Close(); resp.StatusCode == http.StatusOK {
						break
					}
					if path != "/readyz" || time.Now().After(late) { // that may have to wait for the store
						t.Fatalf("GET %s: %d", path, resp.StatusCode)
					}
					time.Sleep(20 * time.Millisecond) // in which the service runs
				}
			}
			resp, err := client.Post(at.Console+"/api/events", "application/json", strings.NewReader(`{"topic":"t","event":"e","payload":{}}`))
			if err != nil {
				t.Fatal(err)
			}
			if resp.Body.Close(); resp.StatusCode != http.StatusAccepted {
				t.Errorf("POST /api/events: %d", resp.StatusCode)
			}
			conn, err := net.Dial("tcp", public)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(patience))
			fmt.Fprintf(conn, handshake, public)
			line, err := bufio.NewReader(conn).ReadString('\n')
			// Where even those that are told are too many, it is closed without a word.
			if !strings.HasPrefix(line, test.want) && !(test.sent == handshake && line == "") {
				t.Errorf("the next client is answered %q, %v, want %s", line, err, test.want)
			}
			if err := command.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, conn)
			<-rest
			_ = command.Wait()
		})
	}
}

// TestHeadsAreBounded: a head beyond 16 KiB is refused, on both listeners, whatever it is made of.
func TestHeadsAreBounded(t *testing.T) {
	t.Parallel()
	command, log, at := startServe(t)
	readLog(t, log, "log open")
	public := strings.TrimSuffix(strings.TrimPrefix(at.Socket, "ws://"), "/socket/websocket")
	for _, on := range []string{public, strings.TrimPrefix(at.Console, "http://")} {
		for size, want := range map[int]string{8 << 10: "HTTP/1.1 200", 17 << 10: "HTTP/1.1 431", 1 << 20: "HTTP/1.1 431"} {
			for name, head := range map[string]string{
				"parameters": "GET /healthz?" + strings.Repeat("&", size) + " HTTP/1.1\r\nHost: " + on + "\r\n\r\n",
				"headers":    "GET /healthz HTTP/1.1\r\nHost: " + on + "\r\n" + strings.Repeat("X: y\r\n", size/6) + "\r\n",
				"one header": "GET /healthz HTTP/1.1\r\nHost: " + on + "\r\nX: " + strings.Repeat("y", size) + "\r\n\r\n",
			} {
				conn, err := net.Dial("tcp", on)
				if err != nil {
					t.Fatal(err)
				}
				go io.WriteString(conn, head) // fails where nobody reads all of it
				line, err := bufio.NewReader(conn).ReadString('\n')
				conn.Close()
				if !strings.HasPrefix(line, want) && (want == "HTTP/1.1 200" || err == nil) {
					t.Errorf("%s of %d bytes on %s: %q, %v", name, size, on, line, err)
				}
			}
		}
	}
	if err := command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for log.Scan() {
	}
	if err := command.Wait(); err != nil {
		t.Error(err)
	}
}
