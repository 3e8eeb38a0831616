package swarm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Config says whom a swarm connects to, and what for.
type Config struct {
	// URL is the server's: ws://host:port. The path is the dialect's.
	URL     string
	Dialect Dialect
	Load    Load
	// Prefix begins the names of topics; their numbers follow. Runs against a
	// server that others use have prefixes of their own.
	Prefix string
	// Connecting bounds the clients that connect and join at the same time.
	// Zero: 64. A storm has as many as there are clients.
	Connecting int
	// JoinTimeout is how long all of them have to join. Zero: a minute.
	JoinTimeout time.Duration
	// Apart is how many of the last clients no window waits for. The system holds as
	// little for them as it can: what they do not read soon is the server's.
	Apart int
	// Tell is told a few times a second how many have joined. Nil: nobody asks.
	Tell func(joined int64)
	// Readers is how many goroutines read. Zero: one, and more on a machine
	// with cores to spare.
	Readers int
}

func (c *Config) validate() (host string, err error) {
	if err := c.Load.Validate(); err != nil {
		return "", err
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "ws" || u.Host == "" {
		return "", fmt.Errorf("swarm: the server is %q: want ws://host:port", c.URL)
	}
	if c.Dialect == nil {
		return "", errors.New("swarm: it takes a dialect")
	}
	if c.Apart < 0 || c.Apart > c.Load.Sockets {
		return "", fmt.Errorf("swarm: %d of %d clients apart", c.Apart, c.Load.Sockets)
	}
	if c.Connecting <= 0 {
		c.Connecting = 64
	}
	if c.JoinTimeout <= 0 {
		c.JoinTimeout = time.Minute
	}
	if c.Readers <= 0 {
		c.Readers = max(1, runtime.GOMAXPROCS(0)/4)
	}
	if u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), "80"), nil
	}
	return u.Host, nil
}

// Swarm is clients that have joined. Its methods are for one goroutine at a
// time, but for Arrived.
type Swarm struct {
	// Immutable after Open.
	config  Config
	blender Blender // the dialect, if it is one
	request []byte  // the handshake of all
	address *net.TCPAddr
	clients []*client
	readers []*reader
	running sync.WaitGroup // the readers
	stop    chan struct{}  // closed by Close; ends the heartbeats

	// free has an element for each client that connects or joins. Who gathers
	// sends, before it connects one and as many as fit at the end; the client's
	// reader receives, when it has joined or ended. Nobody closes it.
	free chan struct{}

	windows windows
	joins   *Latencies   // from the beginning of a connection to its last join
	joined  atomic.Int64 // clients
	alive   atomic.Int64 // clients that are connected or will be
	ending  atomic.Bool  // connections may end: it is no news

	mu      sync.Mutex
	failure error // of the first client that could not join; guarded by mu
}

// Open connects and joins all clients.
func Open(ctx context.Context, config Config) (*Swarm, error) {
	host, err := config.validate()
	if err != nil {
		return nil, err
	}
	address, err := net.ResolveTCPAddr("tcp", host)
	if err != nil {
		return nil, fmt.Errorf("swarm: find %s: %w", host, err)
	}
	s := &Swarm{
		config:  config,
		request: handshake(host, config.Dialect.Path()),
		address: address,
		stop:    make(chan struct{}),
		joins:   NewLatencies(),
		free:    make(chan struct{}, config.Connecting),
	}
	s.blender, _ = config.Dialect.(Blender)
	for i := range config.Load.Sockets {
		c := newClient(i, config.Load)
		c.apart = i >= config.Load.Sockets-config.Apart
		s.clients = append(s.clients, c)
	}
	s.alive.Store(int64(len(s.clients)))
	if err := s.read(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.gather(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("swarm: join %d sockets to %s: %w", len(s.clients), config.URL, err), s.Close())
	}
	s.beat()
	return s, nil
}

// read starts the readers.
func (s *Swarm) read() error {
	for range s.config.Readers {
		r, err := newReader(s)
		if err != nil {
			return err
		}
		s.readers = append(s.readers, r)
		s.running.Go(r.run)
	}
	return nil
}

// gather connects one client after the other, as many at a time as may be, and
// returns when all have joined.
func (s *Swarm) gather(ctx context.Context) error {
	late := time.NewTimer(s.config.JoinTimeout)
	defer late.Stop()
	look := time.NewTicker(glance)
	defer look.Stop()
	take := func() error { // a place among those that connect
		for {
			select {
			case s.free <- struct{}{}:
				return s.failed()
			case <-look.C:
				if s.config.Tell != nil {
					s.config.Tell(s.joined.Load())
				}
			case <-ctx.Done():
				return ctx.Err()
			case <-late.C:
				return fmt.Errorf("%d have joined after %v", s.joined.Load(), s.config.JoinTimeout)
			}
		}
	}
	for i, c := range s.clients {
		if err := take(); err != nil {
			return err
		}
		if err := s.readers[i%len(s.readers)].connect(c); err != nil {
			return err
		}
	}
	for range s.config.Connecting { // all places are free again when all have joined
		if err := take(); err != nil {
			return err
		}
	}
	return s.failed()
}

func (s *Swarm) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// hasJoined is told by a client's reader.
func (s *Swarm) hasJoined(c *client, now int64) {
	s.joins.Record(time.Duration(now - c.began))
	s.joined.Add(1)
	<-s.free
}

// hasEnded is told by a client's reader, with the stage that it was in.
func (s *Swarm) hasEnded(c *client, was stage, cause error) {
	if !s.ending.Load() {
		c.cause = cause
	}
	s.alive.Add(-1)
	if was == joined {
		return
	}
	s.mu.Lock()
	if s.failure == nil {
		s.failure = fmt.Errorf("client %d: %w", c.number, cause)
	}
	s.mu.Unlock()
	<-s.free
}

// names are the topics of a client as the server knows them.
func (s *Swarm) names(c *client) []string {
	names := make([]string, len(c.topics))
	for i, topic := range c.topics {
		names[i] = s.config.Prefix + strconv.Itoa(int(topic))
	}
	return names
}

// beat has the clients say what they must now and then, until Close.
func (s *Swarm) beat() {
	beater, ok := s.config.Dialect.(Beater)
	if !ok {
		return
	}
	every, message := beater.Beat()
	frame := appendFrame(nil, opText, message)
	s.running.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-s.stop:
				return
			case <-tick.C:
			}
			for i, c := range s.clients {
				s.readers[i%len(s.readers)].send(c, frame)
			}
		}
	})
}

// Arrived is how many deliveries there were. It may be called concurrently.
func (s *Swarm) Arrived() (n int64) {
	for _, r := range s.readers {
		n += r.deliveries.Load()
	}
	return n
}

// Pause has a client read nothing until Resume, whatever comes.
func (s *Swarm) Pause(client int) error {
	return s.readers[client%len(s.readers)].pause(s.clients[client])
}

// Arrivals is how many deliveries a client has had that were told of: all of
// what it has read so far. It may be called concurrently.
func (s *Swarm) Arrivals(client int) int64 { return s.clients[client].told.Load() }

// Resume has a client read on.
func (s *Swarm) Resume(client int) error {
	return s.readers[client%len(s.readers)].resume(s.clients[client])
}

// Ending tells the swarm that the server is about to end its connections: from
// now on a client that is closed is not cut.
func (s *Swarm) Ending() { s.ending.Store(true) }

// Close ends all connections, and returns when nothing of the swarm runs.
func (s *Swarm) Close() error {
	close(s.stop)
	var err error
	for _, r := range s.readers {
		err = errors.Join(err, r.end())
	}
	s.running.Wait()
	if len(s.readers) == 0 {
		return err // there was not even one, and so no connection
	}
	for i, c := range s.clients {
		s.readers[i%len(s.readers)].hangUp(c)
	}
	return err
}
