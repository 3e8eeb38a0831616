package sluice

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestClusterIsValidated has each setting be of no use, contradict another, or let in
// whoever comes.
func TestClusterIsValidated(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*Config)
		field  string // empty: all is well
		words  string
	}{
		{"on loopback", func(c *Config) { c.ClusterListen = "127.0.0.1:4002" }, "", ""},
		{"with routes", func(c *Config) {
			c.ClusterListen, c.ClusterRoutes, c.ClusterAdvertise, c.ClusterSecretFile = ":4002", []string{"a:4002", "[::1]:4002"}, "b:4002", "f"
		}, "", ""},
		{"outside", func(c *Config) { c.NATSURL = "nats://localhost, nats://127.0.0.1:5222" }, "", ""},
		{"outside, afar", func(c *Config) {
			c.NATSURL, c.ClusterSecretFile, c.NATSCredsFile, c.NATSTLSCA = "tls://n:4222", "f", "f", "f"
		}, "", ""},
		{"off loopback", func(c *Config) { c.ClusterListen = "0.0.0.0:4002" }, "ClusterListen", "--cluster-secret-file"},
		{"everywhere", func(c *Config) { c.ClusterListen = ":4002" }, "ClusterListen", "--cluster-secret-file"},
		{"a route off loopback", func(c *Config) {
			c.ClusterListen, c.ClusterRoutes = "127.0.0.1:4002", []string{"localhost:4003", "10.0.0.2:4002"}
		}, "ClusterRoutes", "--cluster-secret-file"},
		{"a route by a name", func(c *Config) { c.ClusterListen, c.ClusterRoutes = "127.0.0.1:4002", []string{"a:4002"} }, "ClusterRoutes", "--cluster-secret-file"},
		{"routes on loopback", func(c *Config) {
			c.ClusterListen, c.ClusterRoutes = "127.0.0.1:4002", []string{"127.0.0.1:4003", "[::1]:4004"}
		}, "", ""},
		{"advertised off loopback", func(c *Config) { c.ClusterListen, c.ClusterAdvertise = "127.0.0.1:4002", "a:4002" }, "ClusterAdvertise", "--cluster-secret-file"},
		{"advertised on loopback", func(c *Config) { c.ClusterListen, c.ClusterAdvertise = "127.0.0.1:4002", "127.0.0.1:4003" }, "", ""},
		{"no address", func(c *Config) { c.ClusterListen = "4002" }, "ClusterListen", "host:port"},
		{"no port", func(c *Config) { c.ClusterListen = "localhost:x" }, "ClusterListen", "host:port"},
		{"both", func(c *Config) { c.ClusterListen, c.NATSURL = "127.0.0.1:4002", "nats://localhost" }, "NATSURL", "choose one"},
		{"the embedded store", func(c *Config) { c.ClusterListen, c.DatabaseURL = "127.0.0.1:4002", "" }, "ClusterListen", "--database-url"},
		{"the embedded store, outside", func(c *Config) { c.NATSURL, c.DatabaseURL = "nats://localhost", "" }, "NATSURL", "--database-url"},
		{"a route without host", func(c *Config) { c.ClusterListen, c.ClusterRoutes = "127.0.0.1:4002", []string{":4002"} }, "ClusterRoutes", "host:port"},
		{"a route to no port", func(c *Config) { c.ClusterListen, c.ClusterRoutes = "127.0.0.1:4002", []string{"a:0"} }, "ClusterRoutes", "host:port"},
		{"advertised without port", func(c *Config) { c.ClusterListen, c.ClusterAdvertise = "127.0.0.1:4002", "a" }, "ClusterAdvertise", "host:port"},
		{"routes alone", func(c *Config) { c.ClusterRoutes = []string{"a:4002"} }, "ClusterRoutes", "--cluster-listen"},
		{"advertised alone", func(c *Config) { c.ClusterAdvertise = "a:4002" }, "ClusterAdvertise", "--cluster-listen"},
		{"a secret alone", func(c *Config) { c.ClusterSecretFile = "f" }, "ClusterSecretFile", "--nats-url"},
		{"credentials alone", func(c *Config) { c.NATSCredsFile = "f" }, "NATSCredsFile", "--nats-url"},
		{"an outside CA alone", func(c *Config) { c.NATSTLSCA = "f" }, "NATSTLSCA", "--nats-url"},
		{"TLS alone", func(c *Config) { c.ClusterTLSCert, c.ClusterTLSKey, c.ClusterTLSCA = "f", "f", "f" }, "ClusterTLSCA", "--cluster-listen"},
		{"TLS in part", func(c *Config) { c.ClusterListen, c.ClusterTLSCert, c.ClusterTLSKey = "127.0.0.1:4002", "f", "f" }, "ClusterTLSCert", "--cluster-tls-ca"},
		{"afar without a secret", func(c *Config) { c.NATSURL = "nats://n:4222" }, "NATSURL", "--cluster-secret-file"},
		{"one of two afar", func(c *Config) { c.NATSURL = "nats://localhost,nats://n" }, "NATSURL", "--cluster-secret-file"},
		{"no NATS", func(c *Config) { c.NATSURL = "http://localhost" }, "NATSURL", "nats://"},
		{"a name with a dot", func(c *Config) { c.ClusterName = "a.b" }, "ClusterName", "1 to 32"},
		{"a long name", func(c *Config) { c.ClusterName = strings.Repeat("a", 33) }, "ClusterName", "1 to 32"},
	} {
		c := Config{DatabaseURL: "postgres://localhost/app", Anonymous: new(true)}
		test.change(&c)
		err := c.Validate()
		wrong := new(FieldError)
		switch errors.As(err, &wrong); {
		case test.field == "" && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.field != "" && !strings.Contains(errorText(err), "sluice: "+test.field+" is") || !strings.Contains(errorText(err), test.words):
			t.Errorf("%s: %v; want %s with %q", test.name, err, test.field, test.words)
		}
	}
	for _, url := range []string{
		"nats://user:password@n:4222", "nats://password@n:4222", "nats://a:4222,nats://user:password@n:4222",
		"nats://user:password@a:4222, nats://user:password@n:4222", "nats://n:4222?token=password", "nats://n/password",
		"nats://user:password@%zz", "http://user:password@n",
	} {
		for _, listen := range []string{"", "127.0.0.1:4002"} { // the URL is wrong by itself, or beside the other
			c := Config{DatabaseURL: "postgres://localhost/app", NATSURL: url, ClusterListen: listen}
			if text := errorText(c.Validate()); !strings.Contains(text, "NATSURL") || strings.Contains(text, "password") {
				t.Errorf("a URL is told as %s", text)
			}
			c.DatabaseURL = ""
			if text := errorText(c.Validate()); !strings.Contains(text, "NATSURL") || strings.Contains(text, "password") {
				t.Errorf("a URL is told as %s", text)
			}
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestClusterFilesAreRead has each be missing, or hold what it should not.
func TestClusterFilesAreRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, short, junk := file("good", strings.Repeat("s", 16)+"\n"), file("short", strings.Repeat("s", 15)+"\n"), file("junk", "junk")
	for _, test := range []struct {
		field  string
		change func(*Config)
	}{
		{"", func(c *Config) { c.ClusterSecretFile = good }},
		{"ClusterSecretFile", func(c *Config) { c.ClusterSecretFile = short }},
		{"ClusterSecretFile", func(c *Config) { c.ClusterSecretFile = dir + "/none" }},
		{"ClusterTLSCert", func(c *Config) { c.ClusterTLSCert, c.ClusterTLSKey, c.ClusterTLSCA = junk, junk, junk }},
		{"ClusterTLSKey", func(c *Config) { c.ClusterTLSCert, c.ClusterTLSKey, c.ClusterTLSCA = junk, dir+"/none", junk }},
		{"NATSTLSCA", func(c *Config) { c.ClusterListen, c.NATSURL, c.NATSTLSCA = "", "tls://localhost", junk }},
		{"NATSCredsFile", func(c *Config) { c.ClusterListen, c.NATSURL, c.NATSCredsFile = "", "tls://localhost", dir+"/none" }},
	} {
		c := Config{DatabaseURL: "postgres://localhost/app", ClusterListen: "127.0.0.1:4002"}
		test.change(&c)
		_, err := New(c)
		if test.field == "" && err != nil || test.field != "" && !strings.Contains(errorText(err), "sluice: "+test.field+" is") {
			t.Errorf("want %q: %v", test.field, err)
		}
	}
}

// TestListsOfPresenceAreBounded has rules list so many presences, of so many bytes.
func TestListsOfPresenceAreBounded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		rule PresenceRule
		good bool
	}{
		{PresenceRule{On: true, Max: maxListed}, true}, // what the service says is short
		{PresenceRule{On: true, Meta: PresenceMetaClient}, true},
		{PresenceRule{On: true, Meta: PresenceMetaClient, Max: maxListed}, true},
		{PresenceRule{On: true, Meta: PresenceMetaClient, MaxMeta: 64 << 10, Max: 100}, true},
		{PresenceRule{On: true, Meta: PresenceMetaClient, MaxMeta: 64 << 10}, false},
		{PresenceRule{On: true, Meta: PresenceMetaClient, MaxMeta: 2 << 10, Max: maxListed}, false},
	} {
		c := Config{Anonymous: new(true), Topics: []TopicRule{{Match: "*", Presence: test.rule}}}
		if err := c.Validate(); (err == nil) != test.good || err != nil && !strings.Contains(err.Error(), "16MiB") {
			t.Errorf("%+v: %v", test.rule, err)
		}
	}
}
