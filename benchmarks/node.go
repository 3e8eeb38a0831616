package benchmarks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/sluicehq/sluice"
)

// readyPause is how long to wait between looks whether a node is ready.
const readyPause = 5 * time.Millisecond

// node is a service that runs in this process, on a place of its own, for one
// run of a scenario.
type node struct {
	// Immutable after startNode.
	config sluice.Config // as the service has it
	public string        // URL of the sockets
	admin  string        // URL of the admin listener
	place  place
	cancel context.CancelFunc
	ended  chan error // sent once by the service's goroutine, its capacity
}

// startNode runs a service with config, on listeners and a place of its own,
// and returns when it is ready. Its mailboxes hold all that is due to a
// socket: this is about the way there, and clients without end of patience.
func startNode(ctx context.Context, config sluice.Config, load Load, events int64) (*node, error) {
	config.Listen, config.AdminListen = "127.0.0.1:0", "127.0.0.1:0"
	config.MailboxSize = max(config.MailboxSize, int(min(load.share(0, events), 1<<20)))
	config.MailboxBytes = 1 << 30
	config.MaxChannels = max(config.MaxChannels, len(load.watched(0)))
	config.MaxBodyBytes = 1 << 30
	config.HeartbeatTimeout = time.Hour // clients have no heart
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	n := &node{ended: make(chan error, 1)}
	listening := make(chan struct{}) // closed by OnListen
	config.OnListen = func(public, admin net.Addr) {
		n.public = "ws://" + public.String() + config.SocketPath
		n.admin = "http://" + admin.String()
		close(listening)
	}
	var err error
	if n.place, err = newPlace(ctx, &config); err != nil {
		return nil, err
	}
	n.config = config
	service, err := sluice.New(config)
	if err != nil {
		return nil, errors.Join(err, n.place.remove())
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	n.cancel = cancel
	go func() { n.ended <- service.Run(life) }()
	if err := n.await(ctx, listening); err != nil {
		return nil, errors.Join(err, n.stop())
	}
	return n, nil
}

// await returns when the node is ready.
func (n *node) await(ctx context.Context, listening <-chan struct{}) error {
	select {
	case <-listening:
	case err := <-n.ended:
		n.ended <- err
		return errors.New("benchmarks: the service does not start")
	}
	look := time.NewTicker(readyPause)
	defer look.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, n.admin+"/readyz", nil)
		if err != nil {
			return err
		}
		if answer, err := client.Do(request); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("wait until the service is ready: %w", ctx.Err())
		case err := <-n.ended:
			n.ended <- err
			return errors.New("benchmarks: the service ended before it was ready")
		}
	}
}

// stop drains the service and removes its place.
func (n *node) stop() error {
	n.cancel()
	return errors.Join(<-n.ended, n.place.remove())
}
