//go:build unix

package pgserver

import (
	"errors"
	"os"
	"os/exec"
)

// Template is a data directory on which nothing exists. Its servers copy it, which takes
// a fraction of what making one does; they share PostgreSQL's system identifier. Its methods
// may be called concurrently.
type Template struct{ server *Server }

// NewTemplate makes a template.
func NewTemplate() (*Template, error) {
	s, err := prepare(nil)
	if err != nil {
		return nil, err
	}
	if err := s.initialise(); err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	return &Template{s}, nil
}

// New starts a server as the function New does.
func (t *Template) New(settings ...string) (*Server, error) {
	return start(settings, func(s *Server) error {
		cp, err := exec.LookPath("cp")
		if err != nil {
			return err
		}
		return s.run(cp, "-p", "-R", t.server.primary.folder, s.primary.folder) // as the owner of both
	})
}

// Remove removes the template. Its servers stay.
func (t *Template) Remove() error { return os.RemoveAll(t.server.root) }
