//go:build unix

package pgserver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// settings make a server that is quick, small and not durable.
var settings = []string{
	"fsync=off", "full_page_writes=off", "shared_buffers=64MB", "max_connections=300", "max_wal_size=256MB",
	"wal_level=logical", "wal_keep_size=256MB", "max_prepared_transactions=10", "unix_socket_directories=", "listen_addresses=127.0.0.1",
	"timezone=UTC", "log_min_messages=fatal", "log_line_prefix=%m [%p] %q%a ",
}

// patience is generous: the machine may be busy with other work.
const patience = 15 * time.Minute

// instance is one data directory and, while it is up, the process that serves
// it.
type instance struct {
	server  *Server
	folder  string // with the data directory and the log
	port    int
	process *process // nil while it is down
}

func (i *instance) data() string { return filepath.Join(i.folder, "data") }

func (i *instance) url() string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", i.port)
}

// launch starts it for the first time, on a port that is free.
func (i *instance) launch() (err error) {
	for range 5 { // by a program that leases none, a port may be taken before the server has it
		if err = i.lease(); err != nil {
			return err
		}
		if err = i.start(); err == nil {
			return nil
		}
	}
	return err
}

func (i *instance) start() error {
	args := []string{"-D", i.data(), "-p", strconv.Itoa(i.port)}
	for _, setting := range slices.Concat(settings, i.server.settings) {
		args = append(args, "-c", setting)
	}
	logFile := filepath.Join(i.folder, "log")
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	command := i.server.command("postgres", args...)
	command.Stdout, command.Stderr = log, log
	process, err := startProcess(command)
	if err != nil {
		return err
	}
	if err := i.await(process); err != nil {
		process.stop(syscall.SIGQUIT)
		tail, _ := os.ReadFile(logFile)
		return fmt.Errorf("postgres on port %d: %w\n%s", i.port, err, tail[max(0, len(tail)-2000):])
	}
	i.process = process
	return nil
}

// await returns once the server answers.
func (i *instance) await(process *process) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, i.url())
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ctx.Done():
			return err
		case <-process.ended:
			return errors.New("it has ended")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (i *instance) end(signal syscall.Signal) error {
	if i.process == nil {
		return errors.New("pgserver: the server is down already")
	}
	i.process.stop(signal)
	i.process = nil
	return nil
}

// lease picks a port below those that the kernel gives to outgoing connections, and
// below those that package target leases: a server that is down must find its port free
// again. While the server exists, no other of this machine is given the same port, be it up
// or down: what holds it is the UDP port of the same number, which ends with this process at
// the latest.
func (i *instance) lease() error {
	const tries = 1000
	var err error
	for range tries {
		i.port = 20_000 + rand.IntN(6000)
		address := fmt.Sprintf("127.0.0.1:%d", i.port)
		var held net.PacketConn
		if held, err = net.ListenPacket("udp", address); err != nil {
			continue
		}
		var listener net.Listener
		if listener, err = net.Listen("tcp", address); err != nil {
			held.Close()
			continue
		}
		syscall.ForkLock.RLock() // a process that is being started would keep a copy until it runs
		listener.Close()
		syscall.ForkLock.RUnlock()
		i.server.held = append(i.server.held, held)
		return nil
	}
	return fmt.Errorf("pgserver: no free port in %d tries: %w", tries, err)
}
