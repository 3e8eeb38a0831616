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
)

// headerTimeout bounds how long a client may take to send a request's head,
// and how long an idle connection is kept.
const headerTimeout = 10 * time.Second

// servers are the two HTTP servers, public and admin, with their listeners.
type servers struct {
	timeout time.Duration // for requests under way when it is time to stop
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
	return &servers{
		timeout: s.config.DrainTimeout,
		each:    [2]*http.Server{s.newServer(s.publicHandler()), s.newServer(s.adminHandler())},
		on:      [2]net.Listener{public, admin},
	}, nil
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

func (s *Service) newServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
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
