package sluice

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/sluicehq/sluice/internal/httpserver"
)

// headerTimeout bounds how long a client may take to send a request's head,
// and how long an idle connection is kept.
const headerTimeout = 10 * time.Second

// answerTimeout bounds how long a client may take to accept a piece of an answer.
const answerTimeout = 15 * time.Second

// slowAtDrain is how long requests that stall, or are slow, have to end when it is
// time to stop, if Config.DrainTimeout allows it.
const slowAtDrain = 5 * time.Second

// servers are the two HTTP servers, public and admin, with their listeners.
type servers struct {
	timeout time.Duration // for requests under way when it is time to stop
	guard   *httpserver.Guard
	each    [2]*http.Server
	on      [2]net.Listener
}

// listen opens both listeners, so that a port in use is an error at start.
func (s *Service) listen(ctx context.Context) (*servers, error) {
	public, err := listenOn(ctx, "Listen", s.config.Listen)
	if err != nil {
		return nil, err
	}
	if s.config.TLSCert != "" {
		settings, err := s.tls()
		if err != nil {
			return nil, errors.Join(err, public.Close())
		}
		public = tls.NewListener(public, settings)
	}
	admin, err := listenOn(ctx, "AdminListen", s.config.AdminListen)
	if err != nil {
		return nil, errors.Join(err, public.Close())
	}
	s.logger.Info("listening", "public", public.Addr().String(), "admin", admin.Addr().String())
	if s.config.OnListen != nil {
		s.config.OnListen(public.Addr(), admin.Addr())
	}
	return s.newServers(public, admin), nil
}

func (s *Service) newServers(public, admin net.Listener) *servers {
	guard := httpserver.New(httpserver.Deadlines{Write: answerTimeout})
	return &servers{
		timeout: s.config.DrainTimeout,
		guard:   guard,
		each:    [2]*http.Server{s.newServer(guard, s.publicHandler()), s.newServer(guard, s.adminHandler())},
		on:      [2]net.Listener{public, admin},
	}
}

func listenOn(ctx context.Context, field, addr string) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, &FieldError{field, addr, "an address that no other program uses; another sluice serve may be running"}
	}
	if err != nil {
		return nil, &FieldError{field, addr, fmt.Sprintf("an address of this machine (%v)", err)}
	}
	return listener, nil
}

// tls is the public listener's side of TLS. It offers HTTP/1.1 alone: a
// WebSocket is an upgrade of that (RFC 6455, section 4.1).
func (s *Service) tls() (*tls.Config, error) {
	certificate, err := watch(s.logger, func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(s.config.TLSCert, s.config.TLSKey)
		return &pair, err
	}, s.config.TLSCert, s.config.TLSKey)
	if err != nil {
		return nil, &FieldError{"TLSCert", s.config.TLSCert, fmt.Sprintf("a PEM file that fits --tls-key %s (%v)", s.config.TLSKey, err)}
	}
	s.inForce.certificate.Store(certificate)
	return &tls.Config{
		NextProtos:     []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate.get(), nil },
	}, nil
}

func (s *Service) newServer(guard *httpserver.Guard, handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           guard.Handler(httpserver.CleanPath(handler)),
		WriteTimeout:      answerTimeout, // of what the server answers by itself; the guard sets it anew for all else
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       6 * headerTimeout,
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
	}
}

// run serves until ctx ends, then accepts no more and lets requests finish.
func (s *servers) run(ctx context.Context) error {
	ended := make(chan error, len(s.each)) // one send by each server's goroutine
	for i, server := range s.each {
		go func() { ended <- server.Serve(s.on[i]) }()
	}
	var failed error
	left := len(s.each)
	select {
	case <-ctx.Done():
	case failed = <-ended: // Serve ends by itself only with an error
		left--
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
	defer cancel()
	s.guard.Drain(min(slowAtDrain, s.timeout/2))
	for _, server := range s.each {
		if err := server.Shutdown(limited); err != nil {
			failed = errors.Join(failed, fmt.Errorf("requests still under way after %v: %w", s.timeout, err), server.Close())
		}
	}
	for range left {
		<-ended
	}
	return failed
}
