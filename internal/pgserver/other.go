//go:build !unix

package pgserver

import "errors"

var errUnsupported = errors.New("pgserver: starting PostgreSQL takes a Unix; pass the URL of a server instead")

// Server cannot be had on this system.
type Server struct{}

// New returns an error.
func New(...string) (*Server, error) { return nil, errUnsupported }

// Template cannot be had either.
type Template struct{}

// NewTemplate returns an error.
func NewTemplate() (*Template, error) { return nil, errUnsupported }

// New returns an error.
func (*Template) New(...string) (*Server, error) { return nil, errUnsupported }

// Remove returns an error.
func (*Template) Remove() error { return errUnsupported }

// Of a server that New does not return, these are never called.

func (*Server) URL() string        { return "" }
func (*Server) StandbyURL() string { return "" }
func (*Server) Stop() error        { return errUnsupported }
func (*Server) Kill() error        { return errUnsupported }
func (*Server) Start() error       { return errUnsupported }
func (*Server) Remove() error      { return errUnsupported }
func (*Server) Mirror() error      { return errUnsupported }
func (*Server) Promote() error     { return errUnsupported }
