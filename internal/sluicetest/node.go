package sluicetest

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/admin"
	"github.com/sluicehq/sluice/internal/openapitest"
)

// Patience is how long something may take before it is taken for missing.
const Patience = 15 * time.Minute

// again is how often something that has to come true is looked at.
const again = 5 * time.Millisecond

// Node is a service that runs until its test ends, or Stop.
type Node struct {
	t             *testing.T
	Public, Admin string // host:port
	Stop          func() // drains the service; its clean-up does so too
}

// Run runs serve, as a program's main would, on free ports and with a store of
// its own. It returns when clients can connect.
func Run(t *testing.T, serve func(context.Context, sluice.Config) error) *Node {
	t.Helper()
	n := Start(t, serve)
	n.Eventually("ready", func() bool {
		status, _ := n.Ask("GET", "/readyz")
		return status == http.StatusOK
	})
	return n
}

// Start is Run for a service that may not become ready.
func Start(t *testing.T, serve func(context.Context, sluice.Config) error) *Node {
	t.Helper()
	n := &Node{t: t}
	listening := make(chan struct{}) // closed by the service once it listens
	config := sluice.DefaultConfig()
	config.Listen, config.AdminListen = "127.0.0.1:0", "127.0.0.1:0"
	config.DataDir = t.TempDir()
	config.Logger = slog.New(slog.DiscardHandler)
	// A client of a test says nothing while it waits, and a busy machine drains slowly.
	config.HeartbeatTimeout, config.DrainTimeout = time.Hour, Patience
	config.OnListen = func(public, admin net.Addr) {
		n.Public, n.Admin = public.String(), admin.String()
		close(listening)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1) // one send, by the goroutine that serves
	go func() { ended <- serve(ctx, config) }()
	n.Stop = sync.OnceFunc(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the service ended with %v", err)
		}
	})
	t.Cleanup(n.Stop)
	select {
	case <-listening:
	case err := <-ended:
		ended <- err
		t.Fatal("the service ended before it listened")
	}
	return n
}

// Ask makes a request to the admin listener and returns its status and body.
func (n *Node) Ask(method, path string) (status int, body string) {
	n.t.Helper()
	return n.Request(method, n.Admin, path, nil, "")
}

// Request makes a request to a listener and returns the status and body of the
// answer. A header "Host" names the host that is asked for. What the admin listener is
// asked and answers has to be as its description has it.
func (n *Node) Request(method, listener, path string, header map[string]string, body string) (status int, answer string) {
	n.t.Helper()
	request, err := http.NewRequestWithContext(n.t.Context(), method, "http://"+listener+path, strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	for key, value := range header {
		if key == "Host" {
			request.Host = value
		}
		request.Header.Set(key, value)
	}
	request.Close = true // no connection outlives the test
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		n.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	if listener == n.Admin {
		n.described(request, body, response, text)
	}
	return response.StatusCode, string(text)
}

// described holds an exchange with the admin listener to the description of its API.
func (n *Node) described(request *http.Request, body string, response *http.Response, answer []byte) {
	n.t.Helper()
	description, err := description()
	if err != nil {
		n.t.Fatalf("the description of the admin API: %v", err)
	}
	if err := description.Check(openapitest.Exchange{
		Method: request.Method, URL: request.URL, Type: request.Header.Get("Content-Type"), Body: []byte(body),
		Status: response.StatusCode, Header: response.Header, Answer: answer,
	}); err != nil {
		n.t.Errorf("not as internal/admin/openapi.yaml has it: %v", err)
	}
}

// description is read once, by whoever needs it first.
var description = sync.OnceValues(func() (*openapitest.Description, error) {
	return openapitest.Read(admin.OpenAPI, admin.ConsolePath)
})

// Eventually waits until what was expected has come true.
func (n *Node) Eventually(what string, happened func() bool) {
	n.t.Helper()
	ticker := time.NewTicker(again)
	defer ticker.Stop()
	late := time.After(Patience)
	for !happened() {
		select {
		case <-ticker.C:
		case <-late:
			n.t.Fatalf("after %v still not %s", Patience, what)
		}
	}
}
