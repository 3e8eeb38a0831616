package pgtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// settings make a server that is quick, small and not durable.
var settings = []string{
	"fsync=off", "full_page_writes=off", "shared_buffers=64MB", "max_connections=300", "max_wal_size=256MB",
	"wal_level=logical", "max_prepared_transactions=10", "unix_socket_directories=", "listen_addresses=127.0.0.1",
	"timezone=UTC", "log_min_messages=fatal", "log_line_prefix=%m [%p] %q%a ",
}

// startTimeout is generous: the machine may be busy with other tests.
const startTimeout = time.Minute

// Server is a PostgreSQL server that belongs to one test. Its methods are for
// one goroutine at a time.
type Server struct {
	programs string // folder of initdb and postgres
	root     string // our temporary folder, with the data directory and the server's log
	owner    *syscall.Credential
	port     int
	process  *process // nil while the server is down
}

// NewServer starts a server of the test's own, on which nothing exists. It is
// removed when the test ends.
func NewServer(t testing.TB) *Server {
	t.Helper()
	s, err := start()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		if err := s.remove(); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	return s
}

// URL connects to the server as its superuser, in a form that parameters can
// be appended to with &.
func (s *Server) URL() string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", s.port)
}

// Stop shuts the server down as an administrator does: connections are cut,
// what has been committed is kept.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.signal(t, syscall.SIGINT)
}

// Kill ends the server as a crash does. It recovers at the next Start.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.signal(t, syscall.SIGQUIT) // as SIGKILL for the data, but takes the server's children along
}

// Start starts a server that is down, on the port that it had.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
}

func (s *Server) signal(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if s.process == nil {
		t.Fatal("pgtest: the server is down already")
	}
	s.process.stop(signal)
	s.process = nil
}

// start makes a data directory and starts a server in it.
func start() (*Server, error) {
	removeAbandoned()
	programs, err := findPrograms()
	if err != nil {
		return nil, err
	}
	root, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", rootPrefix, os.Getpid()))
	if err != nil {
		return nil, err
	}
	s := &Server{programs: programs, root: root, owner: unprivileged()}
	if err := s.create(); err != nil {
		return nil, errors.Join(err, s.remove())
	}
	// A port that is free may be taken before the server has it.
	for range 5 {
		s.port = freePort()
		if err = s.start(); err == nil {
			return s, nil
		}
	}
	return nil, errors.Join(err, s.remove())
}

func (s *Server) create() error {
	if s.owner != nil {
		if err := os.Chown(s.root, int(s.owner.Uid), int(s.owner.Gid)); err != nil {
			return err
		}
	}
	initdb := s.command("initdb", "--pgdata="+s.data(), "--username=postgres", "--auth=trust",
		"--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
	if output, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, output)
	}
	return nil
}

func (s *Server) start() error {
	args := []string{"-D", s.data(), "-p", strconv.Itoa(s.port)}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	command := s.command("postgres", args...)
	command.Stdout, command.Stderr = log, log
	process, err := startProcess(command)
	if err != nil {
		return err
	}
	if err := s.await(process); err != nil {
		process.stop(syscall.SIGQUIT)
		tail, _ := os.ReadFile(s.logFile())
		return fmt.Errorf("postgres on port %d: %w\n%s", s.port, err, tail[max(0, len(tail)-2000):])
	}
	s.process = process
	return nil
}

// await returns once the server answers.
func (s *Server) await(process *process) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.URL())
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

func (s *Server) remove() error {
	if s.process != nil {
		s.process.stop(syscall.SIGINT)
		s.process = nil
	}
	return os.RemoveAll(s.root)
}

func (s *Server) data() string    { return filepath.Join(s.root, "data") }
func (s *Server) logFile() string { return filepath.Join(s.root, "log") }

func (s *Server) command(program string, args ...string) *exec.Cmd {
	command := exec.Command(filepath.Join(s.programs, program), args...)
	command.Dir = s.root
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	command.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner}
	return command
}

// freePort picks a port below those that the kernel gives to outgoing
// connections: a server that is down must find its port free again.
func freePort() int {
	for {
		port := 20000 + rand.IntN(12000)
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			listener.Close()
			return port
		}
	}
}

// findPrograms returns the folder of the newest PostgreSQL: Debian's, which is
// not in the PATH, or the one that is.
func findPrograms() (string, error) {
	newest, folder := 0, ""
	folders, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	for _, candidate := range folders {
		version, err := strconv.Atoi(filepath.Base(filepath.Dir(candidate)))
		if _, missing := os.Stat(filepath.Join(candidate, "initdb")); err == nil && missing == nil && version > newest {
			newest, folder = version, candidate
		}
	}
	if folder != "" {
		return folder, nil
	}
	if program, err := exec.LookPath("initdb"); err == nil {
		if program, err = filepath.EvalSymlinks(program); err == nil {
			return filepath.Dir(program), nil
		}
	}
	return "", errors.New("no PostgreSQL found; install it: sudo apt-get install -y postgresql")
}

const rootPrefix = "sluice-pgtest-"

// removeAbandoned removes the folders of test processes that were killed. The
// name of a folder holds the process's id.
func removeAbandoned() {
	roots, _ := filepath.Glob(filepath.Join(os.TempDir(), rootPrefix+"*"))
	for _, root := range roots {
		id, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(root), rootPrefix), "-")
		if pid, err := strconv.Atoi(id); err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			os.RemoveAll(root)
		}
	}
}
