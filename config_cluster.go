package sluice

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"

	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/internal/reload"
)

// RelayMode says whether a node reads the log through the bus between nodes.
type RelayMode string

const (
	// RelayAuto reads it so where there is a bus.
	RelayAuto RelayMode = "auto"
	// RelayOff has each node read it by itself.
	RelayOff RelayMode = "off"
)

// clustered tells whether this node is one of several that talk to each other.
func (c *Config) clustered() bool { return c.ClusterListen != "" || c.NATSURL != "" }

// validateCluster reports what nodes cannot be connected by, or whom it would let in.
func (c *Config) validateCluster(f *faults) {
	if err := cluster.CheckName(c.ClusterName); err != nil {
		f.add("ClusterName", c.ClusterName, err.Error())
	}
	c.validateIdle(f)
	if !c.clustered() {
		return
	}
	if c.DatabaseURL == "" {
		field, given := "ClusterListen", c.ClusterListen
		if given == "" {
			field, given = "NATSURL", cluster.RedactURL(c.NATSURL)
		}
		f.add(field, given, "nothing without --database-url: the embedded store is one node's alone")
	}
	if c.NATSURL != "" {
		c.validateNATS(f)
	}
	if c.ClusterListen == "" {
		return
	}
	const addresses = "host:port, such as 10.0.0.7:4002"
	if _, port, err := net.SplitHostPort(c.ClusterListen); err != nil || !validPort(port) {
		f.add("ClusterListen", c.ClusterListen, addresses)
	} else if !loopback(c.ClusterListen) && c.ClusterSecretFile == "" {
		f.add("ClusterListen", c.ClusterListen, "a loopback address, or any other with --cluster-secret-file")
	}
	for _, route := range c.ClusterRoutes {
		switch {
		case !dialable(route):
			f.add("ClusterRoutes", route, "addresses as "+addresses)
		case !loopback(route) && c.ClusterSecretFile == "":
			f.add("ClusterRoutes", route, "addresses on loopback, or any others with --cluster-secret-file: whoever answers there could speak for a node")
		}
	}
	switch {
	case c.ClusterAdvertise == "":
	case !dialable(c.ClusterAdvertise):
		f.add("ClusterAdvertise", c.ClusterAdvertise, addresses+", by which other nodes reach this one")
	case !loopback(c.ClusterAdvertise) && c.ClusterSecretFile == "":
		f.add("ClusterAdvertise", c.ClusterAdvertise, "an address on loopback, or any other with --cluster-secret-file: whoever reaches it could speak for a node")
	}
	if n := countGiven(c.ClusterTLSCert, c.ClusterTLSKey, c.ClusterTLSCA); n != 0 && n != 3 {
		f.add("ClusterTLSCert", c.ClusterTLSCert, "a PEM file, together with --cluster-tls-key and --cluster-tls-ca, or none of them")
	}
}

// validateIdle reports settings of a cluster that there is not.
func (c *Config) validateIdle(f *faults) {
	for _, each := range []struct {
		field, given string
		used         bool
		by           string
	}{
		{"NATSURL", cluster.RedactURL(c.NATSURL), c.NATSURL == "" || c.ClusterListen == "", ""},
		{"ClusterRoutes", strings.Join(c.ClusterRoutes, ","), c.ClusterListen != "", "--cluster-listen"},
		{"ClusterAdvertise", c.ClusterAdvertise, c.ClusterListen != "", "--cluster-listen"},
		{"ClusterTLSCert", c.ClusterTLSCert, c.ClusterListen != "", "--cluster-listen"},
		{"ClusterTLSKey", c.ClusterTLSKey, c.ClusterListen != "", "--cluster-listen"},
		{"ClusterTLSCA", c.ClusterTLSCA, c.ClusterListen != "", "--cluster-listen"},
		{"ClusterSecretFile", c.ClusterSecretFile, c.clustered(), "--cluster-listen or --nats-url"},
		{"NATSCredsFile", c.NATSCredsFile, c.NATSURL != "", "--nats-url"},
		{"NATSTLSCA", c.NATSTLSCA, c.NATSURL != "", "--nats-url"},
	} {
		switch {
		case each.used || each.given == "":
		case each.by == "":
			f.add(each.field, each.given, "nothing, since --cluster-listen is given too: choose one")
		default:
			f.add(each.field, each.given, "nothing without "+each.by)
		}
	}
}

func (c *Config) validateNATS(f *faults) {
	for each := range strings.SplitSeq(c.NATSURL, ",") {
		u, err := url.Parse(strings.TrimSpace(each))
		if err != nil || u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls" {
			f.add("NATSURL", cluster.RedactURL(each), "nats://host:port or tls://host:port, or several of them with commas between")
			continue
		}
		port := u.Port()
		if port == "" {
			port = "4222"
		}
		if !loopback(net.JoinHostPort(u.Hostname(), port)) && c.ClusterSecretFile == "" {
			f.add("NATSURL", cluster.RedactURL(each), "one on loopback, or any other with --cluster-secret-file: whoever may publish there could speak for a node")
		}
	}
}

// dialable tells whether an address has a host and a port to connect to.
func dialable(addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	return err == nil && host != "" && validPort(port) && port != "0" && port != ""
}

func countGiven(texts ...string) (n int) {
	for _, text := range texts {
		if text != "" {
			n++
		}
	}
	return n
}

// readCluster reads the files that a cluster needs. What it returns is for [cluster.New],
// once nothing is wrong with the configuration; nil: there is no cluster.
func (c *Config) readCluster(f *faults, logger *slog.Logger) *cluster.Config {
	if !c.clustered() {
		return nil
	}
	into := &cluster.Config{
		Self:      cluster.NewNode(c.Node, version()),
		Name:      c.ClusterName,
		Listen:    c.ClusterListen,
		Routes:    c.ClusterRoutes,
		Advertise: c.ClusterAdvertise,
		URL:       c.NATSURL,
		CredsFile: c.NATSCredsFile,
		Logger:    logger,
	}
	if c.ClusterSecretFile != "" {
		text, err := reload.ReadFile(c.ClusterSecretFile, reload.Secret, logger)
		into.Secret = bytes.TrimSpace(text)
		if err == nil && len(into.Secret) < cluster.MinSecret {
			err = errors.New("it is too short")
		}
		if err != nil {
			f.add("ClusterSecretFile", c.ClusterSecretFile, fmt.Sprintf("a file with a secret of at least %d bytes, the same on all nodes: %v", cluster.MinSecret, err))
		}
	}
	if c.NATSCredsFile != "" {
		if _, err := reload.ReadFile(c.NATSCredsFile, reload.Secret, logger); err != nil {
			f.add("NATSCredsFile", c.NATSCredsFile, "a file with credentials of NATS: "+err.Error())
		}
	}
	if c.NATSTLSCA != "" {
		into.ClientTLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: readCA(f, "NATSTLSCA", c.NATSTLSCA, logger)}
	}
	if countGiven(c.ClusterTLSCert, c.ClusterTLSKey, c.ClusterTLSCA) == 3 {
		into.TLS = c.clusterTLS(f, logger)
	}
	return into
}

// clusterEnded is what the bus has ended with, in terms of the configuration.
func (c *Config) clusterEnded(err error) error {
	if wrong := new(cluster.ListenError); errors.As(err, &wrong) {
		return &FieldError{"ClusterListen", c.ClusterListen, fmt.Sprintf("an address of this machine that no other program uses, a node of the cluster among them (%v)", wrong.Err)}
	}
	return err
}

// clusterTLS is for both sides of a connection between nodes: each asks the other for a
// certificate that the CA has signed.
func (c *Config) clusterTLS(f *faults, logger *slog.Logger) *tls.Config {
	cert, err := reload.ReadFile(c.ClusterTLSCert, reload.Public, logger)
	if err != nil {
		f.add("ClusterTLSCert", c.ClusterTLSCert, "a PEM file that can be read: "+err.Error())
		return nil
	}
	key, err := reload.ReadFile(c.ClusterTLSKey, reload.Secret, logger)
	if err != nil {
		f.add("ClusterTLSKey", c.ClusterTLSKey, "a PEM file that can be read: "+err.Error())
		return nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		f.add("ClusterTLSCert", c.ClusterTLSCert, fmt.Sprintf("a PEM file that fits --cluster-tls-key %s (%v)", c.ClusterTLSKey, err))
		return nil
	}
	ca := readCA(f, "ClusterTLSCA", c.ClusterTLSCA, logger)
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{pair},
		RootCAs:      ca,
		ClientCAs:    ca,
		ClientAuth:   tls.RequireAndVerifyClientCert,
	}
}

func readCA(f *faults, field, path string, logger *slog.Logger) *x509.CertPool {
	text, err := reload.ReadFile(path, reload.Public, logger)
	pool := x509.NewCertPool()
	if err == nil && !pool.AppendCertsFromPEM(text) {
		err = errors.New("there is no certificate in it")
	}
	if err != nil {
		f.add(field, path, "a PEM file with the certificates to trust: "+err.Error())
	}
	return pool
}
