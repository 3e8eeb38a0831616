package e2e

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A proxy is a load balancer at work before three nodes, configured as deploy has it.
type proxy struct {
	*process
	name    string
	address string
}

// nginx runs nginx before a cluster: with one worker, so that requests go to the nodes
// strictly in turn.
func nginx(t testing.TB, c *cluster) *proxy {
	t.Helper()
	folder := t.TempDir()
	address, socket := inherited(t)
	write(t, filepath.Join(folder, "sluice.conf"), c.deployed(t, "nginx/sluice.conf", "listen 80;", "listen "+address+";"))
	user := "" // whoever runs this
	if os.Geteuid() == 0 {
		user = "user root;" // the worker's, else nobody, who has no access to the folder
	}
	write(t, filepath.Join(folder, "nginx.conf"), `
daemon off;
`+user+`
worker_processes 1;
pid nginx.pid;
error_log stderr info;
events {}
http {
	access_log off;
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;
	include sluice.conf;
}
`)
	cmd := exec.Command(balancers["nginx"], "-p", folder, "-e", "stderr", "-c", filepath.Join(folder, "nginx.conf"))
	cmd.Env = append(os.Environ(), "NGINX=3;") // the socket that it takes over, as from an older process
	return inFront(t, cmd, address, socket)
}

// haproxy runs HAProxy before a cluster. It logs when it takes a node for gone, or for back.
func haproxy(t testing.TB, c *cluster) *proxy {
	t.Helper()
	folder := t.TempDir()
	address, socket := inherited(t)
	own, global := filepath.Join(folder, "sluice.cfg"), filepath.Join(folder, "global.cfg")
	write(t, own, c.deployed(t, "haproxy/haproxy.cfg", "bind :80", "bind fd@3"))
	write(t, global, `
global
	maxconn 1000
	nbthread 1
	log stdout format raw local0 notice
`)
	return inFront(t, exec.Command(balancers["haproxy"], "-db", "-f", global, "-f", own), address, socket)
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// inherited is a socket that listens on a free port. A load balancer gets it opened, so
// that nobody else takes the port meanwhile.
func inherited(t testing.TB) (address string, socket *os.File) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	socket, err = listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	return listener.Addr().String(), socket
}

// inFront runs a load balancer that takes over a socket, its file 3.
func inFront(t testing.TB, cmd *exec.Cmd, address string, socket *os.File) *proxy {
	t.Helper()
	defer socket.Close()
	cmd.ExtraFiles = []*os.File{socket}
	p := &proxy{process: startCommand(t, cmd), name: filepath.Base(cmd.Path), address: address}
	t.Cleanup(func() { p.stop(t) })                                     // so that it ends its workers
	if err := syscall.SetNonblock(int(socket.Fd()), true); err != nil { // of the socket, whoever has it
		t.Fatal(err)
	}
	return p
}

// deployed is a file of deploy with the addresses of a cluster's nodes, and with one line of
// it replaced.
func (c *cluster) deployed(t testing.TB, file, line, by string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../../deploy", file))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	replace := func(what, by string) {
		t.Helper()
		if got := strings.Count(text, what); got != 1 {
			t.Fatalf("%s has %q %d times", file, what, got)
		}
		text = strings.Replace(text, what, by, 1)
	}
	replace(line, by)
	for i, address := range []string{"10.0.0.1:4000", "10.0.0.2:4000", "10.0.0.3:4000"} {
		replace(address, net.JoinHostPort(c.address(i), c.public))
	}
	if strings.Contains(text, "4001") {
		replace("check port 4001", "check port "+c.admin)
	}
	return text
}

// has tells whether the load balancer has written any of these.
func (p *proxy) has(texts ...string) bool {
	said := p.stdout.text() + p.stderr.text()
	for _, text := range texts {
		if strings.Contains(said, text) {
			return true
		}
	}
	return false
}

// tellsWhoAsks has a page, from an address of its own, connect by way of a load balancer:
// the nodes hear of both what is so, whatever the client itself says.
func (p *proxy) tellsWhoAsks(t testing.TB, c *cluster) {
	t.Helper()
	const from = "127.0.0.99"
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	page := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialer.DialContext}}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	ask := func(origin string) (answer polled) {
		t.Helper()
		for {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+longpoll, nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Host = "localhost" // not what the node is known by to the load balancer
			request.Header.Set("Origin", origin)
			request.Header.Set("X-Forwarded-For", "198.51.100.7")
			response, err := page.Do(request)
			if err != nil {
				t.Fatalf("%s: %v", p.name, err)
			}
			gone := response.StatusCode >= 500 // where the machine is busy a load balancer takes nodes for gone
			if !gone {
				if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
					t.Fatalf("%s answers %s: %v", p.name, response.Status, err)
				}
			}
			response.Body.Close()
			if !gone && answer.Status != 500 { // as of a node without a bus
				return answer
			}
			select {
			case <-again.C:
			case <-ctx.Done():
				t.Fatalf("%s answers %s, and %+v", p.name, response.Status, answer)
			}
		}
	}
	if answer := ask("https://other.example"); answer.Status != 403 {
		t.Errorf("%s: a page of another host is answered %+v", p.name, answer)
	}
	for { // a session that nobody polls ends soon
		if answer := ask("https://localhost"); answer.Status != 410 {
			t.Fatalf("%s: a page of the host that it connects to is answered %+v", p.name, answer)
		}
		for _, s := range c.nodes {
			if _, body := s.get(t, "/api/sockets"); strings.Contains(body, `"remote_addr":"`+from+`"`) {
				return
			}
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("%s: no node knows a socket from %s", p.name, from)
		}
	}
}
