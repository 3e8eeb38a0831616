//go:build unix

package pgserver

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Server is a PostgreSQL server, with a standby perhaps. Its methods are for
// one goroutine at a time.
type Server struct {
	programs string // folder of initdb and postgres
	root     string // our temporary folder: each instance has one of its own in it
	owner    *syscall.Credential
	settings []string // besides ours

	primary   *instance
	standby   *instance // nil without one
	instances int       // made so far: they give the folders their names

	held []net.PacketConn // of instances' ports; see lease
}

// New starts a server on which nothing exists. Settings, such as "fsync=on",
// take precedence over its own.
func New(settings ...string) (*Server, error) {
	return start(settings, (*Server).initialise)
}

// start makes a server whose data directory is filled as told, and starts it.
func start(settings []string, fill func(*Server) error) (*Server, error) {
	s, err := prepare(settings)
	if err != nil {
		return nil, err
	}
	if err = fill(s); err == nil {
		err = s.primary.launch()
	}
	if err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	return s, nil
}

// prepare makes a server with a folder and no data directory.
func prepare(settings []string) (*Server, error) {
	removeAbandoned()
	programs, err := findPrograms()
	if err != nil {
		return nil, err
	}
	root, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", rootPrefix, os.Getpid()))
	if err != nil {
		return nil, err
	}
	s := &Server{programs: programs, root: root, owner: unprivileged(), settings: settings}
	s.primary = s.newInstance()
	if s.owner != nil {
		err = os.Chown(s.root, int(s.owner.Uid), int(s.owner.Gid))
	}
	if err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	return s, nil
}

func (s *Server) initialise() error {
	return s.run("initdb", "--pgdata="+s.primary.data(), "--username=postgres", "--auth=trust",
		"--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
}

// URL connects to the server as its superuser, in a form that parameters can be
// appended to with &. It changes with a promotion.
func (s *Server) URL() string { return s.primary.url() }

// Stop shuts the server down as an administrator does: connections are cut,
// what has been committed is kept.
func (s *Server) Stop() error { return s.primary.end(syscall.SIGINT) }

// Kill ends the server as a crash does. It recovers at the next Start.
func (s *Server) Kill() error {
	return s.primary.end(syscall.SIGQUIT) // as SIGKILL for the data, but takes the server's children along
}

// Start starts a server that is down, on the port that it had.
func (s *Server) Start() error { return s.primary.start() }

// Remove stops what runs, and removes all files.
func (s *Server) Remove() error {
	for _, i := range []*instance{s.standby, s.primary} {
		if i != nil && i.process != nil {
			i.process.stop(syscall.SIGINT)
		}
	}
	for _, port := range s.held {
		port.Close()
	}
	s.held = nil
	return os.RemoveAll(s.root)
}

func (s *Server) newInstance() *instance {
	s.instances++
	return &instance{server: s, folder: filepath.Join(s.root, strconv.Itoa(s.instances))}
}

// command is one of PostgreSQL's programs, or with a path another.
func (s *Server) command(program string, args ...string) *exec.Cmd {
	if !filepath.IsAbs(program) {
		program = filepath.Join(s.programs, program)
	}
	command := exec.Command(program, args...)
	command.Dir = s.root
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	command.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner}
	return command
}

// run runs a program to its end.
func (s *Server) run(program string, args ...string) error {
	if output, err := s.command(program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", program, err, output)
	}
	return nil
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

const rootPrefix = "sluice-postgres-"

// removeAbandoned removes the folders of processes that were killed. The name
// of a folder holds the process's id.
func removeAbandoned() {
	roots, _ := filepath.Glob(filepath.Join(os.TempDir(), rootPrefix+"*"))
	for _, root := range roots {
		id, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(root), rootPrefix), "-")
		if pid, err := strconv.Atoi(id); err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			os.RemoveAll(root)
		}
	}
}
