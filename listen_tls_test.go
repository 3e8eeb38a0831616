package sluice_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/sluicetest"
)

// certificate writes a self-signed certificate and its key to two files.
func certificate(t *testing.T, cert, key string, serial int64) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: der},
		key:  {Type: "PRIVATE KEY", Bytes: pkcs8},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// speak asks for a WebSocket over TLS and returns the answer's first line and
// the serial number of the certificate that was shown.
func speak(t *testing.T, addr string) (answer string, serial int64) {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{
		InsecureSkipVerify: true,                 // it is self-signed; that it is the right one the serial tells
		NextProtos:         []string{"http/1.1"}, // as clients of WebSocket do
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request := "GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: " + addr +
		"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	if _, err := conn.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 4096)
	n, err := conn.Read(head)
	if err != nil {
		t.Fatal(err)
	}
	answer, _, _ = strings.Cut(string(head[:n]), "\r\n")
	return answer, conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certificate(t, cert, key, 1)
	n := sluicetest.Run(t, sluicetest.With(func(c *sluice.Config) { c.TLSCert, c.TLSKey = cert, key }))
	if answer, serial := speak(t, n.Public); !strings.Contains(answer, "101") || serial != 1 {
		t.Errorf("got %q, certificate %d", answer, serial)
	}
	certificate(t, cert, key, 2)
	n.Eventually("renewed", func() bool { _, serial := speak(t, n.Public); return serial == 2 })
}

// TestAdminTLS has each listener show a certificate of its own, and renew it without the
// other's.
func TestAdminTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	certificate(t, file("cert"), file("key"), 1)
	certificate(t, file("admin-cert"), file("admin-key"), 2)
	var service *sluice.Service
	n := sluicetest.Start(t, sluicetest.WithService(func(c *sluice.Config) {
		c.TLSCert, c.TLSKey = file("cert"), file("key")
		c.AdminTLSCert, c.AdminTLSKey = file("admin-cert"), file("admin-key")
	}, func(s *sluice.Service) error { service = s; return nil }))
	shown := func() [2]int64 {
		_, public := speak(t, n.Public)
		answer, admin := speak(t, n.Admin)
		if !strings.Contains(answer, "404") {
			t.Errorf("the admin listener answers %q", answer)
		}
		return [2]int64{public, admin}
	}
	if got := shown(); got != [2]int64{1, 2} {
		t.Errorf("shown at first: %d", got)
	}
	certificate(t, file("admin-cert"), file("admin-key"), 3)
	if err := service.Reload(nil); err != nil {
		t.Error(err)
	}
	if got := shown(); got != [2]int64{1, 3} {
		t.Errorf("shown once the admin's is renewed: %d", got)
	}
	certificate(t, file("cert"), file("key"), 4)
	if err := service.Reload(nil); err != nil {
		t.Error(err)
	}
	if got := shown(); got != [2]int64{4, 3} {
		t.Errorf("shown once the public one is renewed: %d", got)
	}
}

func TestTLSThatCannotBe(t *testing.T) {
	t.Parallel()
	for field, set := range map[string]func(*sluice.Config){
		"TLSCert":      func(c *sluice.Config) { c.TLSCert, c.TLSKey = "nowhere.pem", "nowhere.key" },
		"AdminTLSCert": func(c *sluice.Config) { c.AdminTLSCert, c.AdminTLSKey = "nowhere.pem", "nowhere.key" },
	} {
		config := sluice.DefaultConfig()
		config.Listen, config.AdminListen, config.DataDir = "127.0.0.1:0", "127.0.0.1:0", t.TempDir()
		set(&config)
		service, err := sluice.New(config)
		if err != nil {
			t.Fatal(err)
		}
		var refusal *sluice.FieldError
		if err := service.Run(t.Context()); !errors.As(err, &refusal) || refusal.Field != field || refusal.Given != "nowhere.pem" {
			t.Errorf("got %v", err)
		}
	}
}

// A key that everybody may write is refused, as every file is that access depends on.
func TestTLSFilesAreProtected(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("permission bits say nothing here")
	}
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for _, open := range []string{cert, key} {
		certificate(t, cert, key, 1)
		if err := os.Chmod(open, 0o666); err != nil {
			t.Fatal(err)
		}
		config := sluice.DefaultConfig()
		config.Listen, config.AdminListen, config.DataDir = "127.0.0.1:0", "127.0.0.1:0", dir
		config.TLSCert, config.TLSKey = cert, key
		config.Logger = slog.New(slog.DiscardHandler)
		service, err := sluice.New(config)
		if err != nil {
			t.Fatal(err)
		}
		var refusal *sluice.FieldError
		if err := service.Run(t.Context()); !errors.As(err, &refusal) || !strings.Contains(refusal.Allowed, "chmod o-w "+open) {
			t.Errorf("%s: %v", open, err)
		}
		if err := os.Chmod(open, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
