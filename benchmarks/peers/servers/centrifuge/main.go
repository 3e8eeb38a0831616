// Command centrifuge is a broadcast server on the library of that name, as
// Sluice is measured beside it: JSON over WebSocket, the engine in memory, no
// history, any client may subscribe to any channel.
//
//	centrifuge --listen HOST:PORT --admin-listen HOST:PORT [--tuned]
//
// What to publish comes in as it does to Sluice: POST /api/broadcast on the
// admin listener, JSON lines of {"topic","event","payload"}. A publication has
// no name in this protocol, so that the event's is dropped: its frame is the
// shorter for it.
//
// Without --tuned the library's defaults hold, but for the bounds at which a
// client is ended. With it, what its documentation has for throughput and memory
// is on: see tuned.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/centrifugal/centrifuge"
	"golang.org/x/sync/errgroup"
)

// Bounds at which a client that lags is ended. The defaults, 1 MiB and a second,
// are for clients on slow lines; ours lag because a burst reaches them faster
// than one core writes it out, or because the machine has other things to do.
const (
	queueMaxSize = 256 << 20 // bytes that wait for a client
	writeTimeout = 30 * time.Second
)

// writeDelay is how long --tuned gathers a client's messages, as many as come,
// for one frame: the value that the library's own example has.
const writeDelay = 100 * time.Millisecond

// drainTimeout is how long the clients' connections may take to be closed.
const drainTimeout = 30 * time.Second

func main() {
	listen := flag.String("listen", "", "host:port of the sockets")
	adminListen := flag.String("admin-listen", "", "host:port to publish on")
	tuned := flag.Bool("tuned", false, "trade latency for throughput and memory")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, *adminListen, *tuned); err != nil {
		fmt.Fprintln(os.Stderr, "centrifuge:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, listen, adminListen string, tuned bool) (err error) {
	node, err := newNode(tuned)
	if err != nil {
		return err
	}
	defer func() {
		drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		err = errors.Join(err, node.Shutdown(drain))
	}()
	public := http.NewServeMux()
	public.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		WriteTimeout:               writeTimeout,
		UseWriteBufferPool:         tuned, // instead of a buffer for each connection
		ProcessCommandsOffReadLoop: tuned, // and a small stack for each
	}))
	admin := http.NewServeMux()
	admin.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	admin.HandleFunc("POST /api/broadcast", broadcast(node))

	sockets, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	requests, err := net.Listen("tcp", adminListen) // last: who is answered here expects the rest to be there
	if err != nil {
		return errors.Join(err, sockets.Close())
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return serve(ctx, sockets, public) })
	group.Go(func() error { return serve(ctx, requests, admin) })
	return group.Wait()
}

// serve answers until ctx ends.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler}
	stop := context.AfterFunc(ctx, func() { server.Close() }) // its sockets are the node's, which ends them
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// newNode starts a node that lets any client have any channel.
func newNode(tuned bool) (*centrifuge.Node, error) {
	node, err := centrifuge.New(centrifuge.Config{ClientQueueMaxSize: queueMaxSize})
	if err != nil {
		return nil, err
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		reply := centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{}}
		if tuned {
			reply.WriteDelay, reply.WriteWithTimer, reply.MaxMessagesInFrame = writeDelay, true, -1
		}
		return reply, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnSubscribe(func(_ centrifuge.SubscribeEvent, answer centrifuge.SubscribeCallback) {
			answer(centrifuge.SubscribeReply{}, nil)
		})
	})
	return node, node.Run()
}

// broadcast publishes the lines of a request, one after the other.
func broadcast(node *centrifuge.Node) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		count := 0
		for lines := bufio.NewReader(r.Body); ; count++ {
			line, err := lines.ReadBytes('\n')
			if errors.Is(err, io.EOF) && len(line) == 0 {
				break
			}
			if err != nil && !errors.Is(err, io.EOF) {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			var event struct {
				Topic   string          `json:"topic"`
				Payload json.RawMessage `json:"payload"`
			}
			if err := json.Unmarshal(line, &event); err != nil {
				http.Error(w, fmt.Sprintf("line %d: %v", count+1, err), http.StatusBadRequest)
				return
			}
			if _, err := node.Publish(event.Topic, event.Payload); err != nil {
				http.Error(w, fmt.Sprintf("line %d: %v", count+1, err), http.StatusInternalServerError)
				return
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, "{\"count\":%d}\n", count)
	}
}
