package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"syscall"

	"github.com/gobwas/ws"

	"github.com/sluicehq/sluice/socket/client"
)

// inFlags says what the client could not do in the words of who has flags to turn.
func inFlags(err error) error {
	var refused *client.RefusedError
	var dial *client.DialError
	switch {
	case errors.As(err, &refused):
		return refusedInFlags(refused)
	case !errors.As(err, &dial):
		return err
	case errors.Is(err, syscall.ECONNREFUSED), errors.As(err, new(*tls.CertificateVerificationError)), errors.As(err, new(tls.RecordHeaderError)):
		return fmt.Errorf("%w; %s", err, nextStep(err, "--url"))
	case errors.Is(err, ws.ErrHandshakeBadProtocol): // HTTP/1.0, as Go's servers answer where TLS is spoken
		return fmt.Errorf("%w; if TLS is spoken there, begin --url with wss://", err)
	}
	return err
}

func refusedInFlags(e *client.RefusedError) error {
	if e.Message != "" {
		return fmt.Errorf("the server refused the connection (%d): %w", e.Status, &apiError{Message: e.Message, Hint: e.Hint})
	}
	hint := "is that a socket of sluice?"
	switch e.Status {
	case http.StatusForbidden, http.StatusUnauthorized:
		hint = "it may want a token: give one with --token"
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		hint = "it is starting, or has no room"
	}
	text := fmt.Sprintf("the server refused the connection (%d %s): %s", e.Status, http.StatusText(e.Status), hint)
	if e.Body != "" {
		text += fmt.Sprintf("; it says %q", e.Body)
	}
	return errors.New(text)
}
