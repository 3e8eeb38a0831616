package target

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// InProcess is Sluice in this process, on a scratch of its own: for tests, and to
// have any configuration measured. What it uses cannot be told from what its
// clients use.
type InProcess struct {
	Config sluice.Config // but for its listeners and where it keeps its log
}

// Name implements [Server].
func (p *InProcess) Name() string { return "sluice, in process" }

// readyPause is how long to wait between looks whether a server is ready.
const readyPause = 5 * time.Millisecond

// Start implements [Server].
func (p *InProcess) Start(ctx context.Context) (*Endpoint, error) {
	config := p.Config
	config.Listen, config.AdminListen = "127.0.0.1:0", "127.0.0.1:0"
	config.MaxChannels = max(config.MaxChannels, enoughChannels)
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Endpoint{PID: os.Getpid(), Dialect: swarm.Phoenix{Mount: config.SocketPath}}
	listening := make(chan struct{}) // closed by OnListen
	config.OnListen = func(public, admin net.Addr) {
		e.Sockets, e.Admin = "ws://"+public.String(), "http://"+admin.String()
		close(listening)
	}
	scratch, err := NewScratch(ctx, &config)
	if err != nil {
		return nil, err
	}
	e.Database = config.DatabaseURL
	service, err := sluice.New(config)
	if err != nil {
		return nil, errors.Join(err, scratch.Remove())
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1) // sent once by the service's goroutine, its capacity
	go func() { ended <- service.Run(life) }()
	e.stop = func() error {
		cancel()
		return errors.Join(<-ended, scratch.Remove())
	}
	if err := awaitReady(ctx, listening, ended, func() string { return e.Admin }); err != nil {
		return nil, errors.Join(err, e.stop())
	}
	return e, nil
}

// enoughChannels lets a socket watch as many topics as a scenario may have.
const enoughChannels = 1 << 20

// awaitReady returns when the service says that it is ready.
func awaitReady(ctx context.Context, listening <-chan struct{}, ended chan error, admin func() string) error {
	select {
	case <-listening:
	case err := <-ended:
		ended <- err
		return errors.New("benchmarks: the service does not start")
	}
	look := time.NewTicker(readyPause)
	defer look.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, admin()+"/readyz", nil)
		if err != nil {
			return err
		}
		if answer, err := asking.Do(request); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("wait until the service is ready: %w", ctx.Err())
		case err := <-ended:
			ended <- err
			return errors.New("benchmarks: the service ended before it was ready")
		}
	}
}
