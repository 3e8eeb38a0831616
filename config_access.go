package sluice

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/sluicehq/sluice/internal/admin"
	"github.com/sluicehq/sluice/internal/connlimit"
	"github.com/sluicehq/sluice/socket"
	"github.com/sluicehq/sluice/socket/auth"
)

// validateAccess reports what would let nobody in, or everybody by mistake.
func (c *Config) validateAccess(f *faults) {
	if err := socket.CheckOrigins(c.Origins); err != nil {
		f.add("Origins", strings.Join(c.Origins, ","), fmt.Sprintf("a list of //host, //*.host, scheme://host:port, scheme:// (file:// for one), null or * (%v)", err))
	}
	if _, err := connlimit.ParseProxies(c.TrustedProxies); err != nil {
		f.add("TrustedProxies", strings.Join(c.TrustedProxies, ","), fmt.Sprintf("addresses and networks such as 10.0.0.0/8,fd00::/8 (%v)", err))
	}
	switch {
	case c.Hooks.Connect.URL != "" && c.Anonymous != nil && *c.Anonymous:
		f.add("Anonymous", "true", "nothing, since the hook connect says who is let in without a token")
	case c.JWTKeysURL != "" && (c.JWTSecretFile != "" || c.JWTKeysFile != ""):
		f.add("JWTKeysURL", schemeOf(c.JWTKeysURL), "nothing, since --jwt-secret-file or --jwt-keys-file is given too: choose one")
	case c.JWTSecretFile != "" && c.JWTKeysFile != "":
		f.add("JWTKeysFile", c.JWTKeysFile, "nothing, since --jwt-secret-file is given too: choose one")
	case c.hasKeys() || c.Hooks.Connect.URL != "" || c.anonymous():
	case c.Anonymous != nil:
		f.add("Anonymous", "false", "true, or false with --jwt-secret-file or --jwt-keys-file: otherwise nobody can connect")
	default:
		f.add("Listen", c.Listen, "a loopback address; anywhere else give --jwt-secret-file or --jwt-keys-file, or --anonymous to let in everybody")
	}
	c.validateTokens(f)
	for _, t := range c.certificates() {
		if (t.cert == "") != (t.key == "") {
			f.add(t.field, t.cert, "a PEM file, together with "+t.keyFlag+", or neither")
		} else if t.cert != "" && t.listen == NoListener {
			f.add(t.field, t.cert, "nothing, since nothing listens: the server that "+t.handler+" is mounted in has the certificate")
		}
	}
	c.validateHooks(f)
	c.validateAccessRole(f)
	c.validateWebhooks(f)
	c.validateTopics(f)
	if c.AdminToken != "" && c.AdminTokenFile != "" {
		f.add("AdminTokenFile", c.AdminTokenFile, "nothing, since AdminToken is given too: choose one")
	}
	if c.AdminToken != "" && len(c.AdminToken) < admin.MinToken {
		f.add("AdminToken", strings.Repeat("*", len(c.AdminToken)), fmt.Sprintf("at least %d characters", admin.MinToken))
	}
	if c.AdminToken != "" || c.AdminTokenFile != "" {
		return
	}
	if c.AdminReadTokenFile != "" {
		f.add("AdminReadTokenFile", c.AdminReadTokenFile, "nothing without --admin-token-file: everybody may write as it is")
	}
	if !loopback(c.AdminListen) && c.AdminListen != NoListener {
		f.add("AdminListen", c.AdminListen, "a loopback address, or any other with --admin-token-file")
	}
}

// hasKeys tells whether there are keys to verify tokens with.
func (c *Config) hasKeys() bool {
	return c.JWTSecretFile != "" || c.JWTKeysFile != "" || c.JWTKeysURL != ""
}

// anonymous tells whether clients may connect without a token, and nobody is asked.
func (c *Config) anonymous() bool {
	if c.Anonymous != nil {
		return *c.Anonymous
	}
	return loopback(c.Listen) && !c.hasKeys() && c.Hooks.Connect.URL == ""
}

// certificate is what a listener's is read from.
type certificate struct {
	index            int // in Config.certificates
	field, cert, key string
	keyFlag          string
	listen, handler  string
}

// Indexes in Config.certificates.
const (
	publicCertificate = iota
	adminCertificate
)

// certificates are the public listener's and the admin listener's.
func (c *Config) certificates() [2]certificate {
	return [...]certificate{
		{publicCertificate, "TLSCert", c.TLSCert, c.TLSKey, "--tls-key", c.Listen, "Service.Handler"},
		{adminCertificate, "AdminTLSCert", c.AdminTLSCert, c.AdminTLSKey, "--admin-tls-key", c.AdminListen, "Service.AdminHandler"},
	}
}

// validateTokens reports what cannot be asked of tokens.
func (c *Config) validateTokens(f *faults) {
	if err := auth.CheckKeysURL(c.JWTKeysURL); c.JWTKeysURL != "" && err != nil {
		f.add("JWTKeysURL", schemeOf(c.JWTKeysURL), fmt.Sprintf("an absolute URL of https, or of http on loopback (%v)", err))
	}
	if _, err := time.Parse(time.RFC3339, c.JWTPreviousUntil); (c.JWTPreviousUntil != "" || c.JWTPreviousSecretFile != "") && err != nil {
		f.add("JWTPreviousUntil", c.JWTPreviousUntil, "when the secret of --jwt-previous-secret-file counts no more, such as 2026-08-01T00:00:00Z")
	}
	if c.JWTPreviousSecretFile != "" && c.JWTSecretFile == "" {
		f.add("JWTPreviousSecretFile", c.JWTPreviousSecretFile, "nothing without --jwt-secret-file, the one that it comes before")
	}
	if c.JWTPreviousSecretFile == "" && c.JWTPreviousUntil != "" {
		f.add("JWTPreviousUntil", c.JWTPreviousUntil, "nothing without --jwt-previous-secret-file")
	}
	for _, each := range c.JWTAlgorithms {
		if !slices.Contains(auth.Signatures, each) {
			f.add("JWTAlgorithms", each, strings.Join(auth.Signatures, ", "))
		}
	}
	if c.hasKeys() {
		return
	}
	for _, each := range [][2]string{
		{"JWTIssuer", c.JWTIssuer},
		{"JWTAudience", strings.Join(c.JWTAudience, ",")},
		{"JWTAlgorithms", strings.Join(c.JWTAlgorithms, ",")},
	} {
		if field, given := each[0], each[1]; given != "" {
			f.add(field, given, "nothing without --jwt-secret-file or --jwt-keys-file: there are no tokens to ask it of")
		}
	}
}

// authenticator reads the keys that the configuration names. It is nil where they are
// not fit.
func (c *Config) authenticator(f *faults, revoked auth.Revocations, connect connectFunc, claims func() bool) *auth.Authenticator {
	if c.Hooks.Connect.URL == "" {
		connect = nil
	}
	until, err := time.Parse(time.RFC3339, c.JWTPreviousUntil)
	if c.JWTPreviousSecretFile != "" && err != nil {
		return nil // which has been reported
	}
	authenticator, err := auth.Open(auth.Config{
		SecretFile: c.JWTSecretFile,
		KeysFile:   c.JWTKeysFile,
		KeysURL:    c.JWTKeysURL,
		Issuer:     c.JWTIssuer,
		Audience:   c.JWTAudience,
		Algorithms: c.JWTAlgorithms,
		Leeway:     c.JWTLeeway,
		RequireExp: *c.JWTRequireExp,
		Anonymous:  c.anonymous(),
		Logger:     c.logger(),

		PreviousSecretFile: c.JWTPreviousSecretFile, PreviousUntil: until,

		Revocations: revoked,
		Connect:     connect,
		Claims:      claims,
	})
	if err != nil {
		field, path := "JWTSecretFile", c.JWTSecretFile
		if path == "" {
			field, path = "JWTKeysFile", c.JWTKeysFile
		}
		f.add(field, path, "a file with keys to verify tokens with: "+err.Error())
	}
	return authenticator
}

// adminTokens reads the admin tokens that the configuration names, nil where it names
// none.
func (c *Config) adminTokens(f *faults, logger *slog.Logger) (full, read *admin.Token) {
	for _, each := range []struct {
		field, path string
		into        **admin.Token
	}{
		{"AdminTokenFile", c.AdminTokenFile, &full},
		{"AdminReadTokenFile", c.AdminReadTokenFile, &read},
	} {
		if each.path == "" {
			continue
		}
		token, err := admin.ReadToken(each.path, logger)
		if err != nil {
			f.add(each.field, each.path, "a file with the token as its one line: "+err.Error())
			continue
		}
		*each.into = token
	}
	if c.AdminToken != "" {
		full = admin.FixedToken(c.AdminToken, logger)
	}
	if full == nil && c.AdminListen == NoListener { // whoever reaches the handler might be anybody
		full = admin.FixedToken(rand.Text(), logger)
	}
	if full != nil && read != nil && full.Get() == read.Get() {
		f.add("AdminReadTokenFile", c.AdminReadTokenFile, "another token than that of --admin-token-file")
	}
	return full, read
}
