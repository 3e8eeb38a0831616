package sluice

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/sluicehq/sluice/internal/admin"
	"github.com/sluicehq/sluice/internal/connlimit"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/socket"
)

// validateAccess reports what would let nobody in, or everybody by mistake.
func (c *Config) validateAccess() error {
	if err := socket.CheckOrigins(c.Origins); err != nil {
		return &FieldError{"Origins", strings.Join(c.Origins, ","), fmt.Sprintf("a list of //host, //*.host, scheme://host:port, scheme:// (file:// for one), null or * (%v)", err)}
	}
	if _, err := connlimit.ParseProxies(c.TrustedProxies); err != nil {
		return &FieldError{"TrustedProxies", strings.Join(c.TrustedProxies, ","), fmt.Sprintf("addresses and networks such as 10.0.0.0/8,fd00::/8 (%v)", err)}
	}
	switch keys := c.JWTSecretFile != "" || c.JWTKeysFile != ""; {
	case c.JWTSecretFile != "" && c.JWTKeysFile != "":
		return &FieldError{"JWTKeysFile", c.JWTKeysFile, "nothing, since --jwt-secret-file is given too: choose one"}
	case keys || c.anonymous():
	case c.Anonymous != nil:
		return &FieldError{"Anonymous", "false", "true, or false with --jwt-secret-file or --jwt-keys-file: otherwise nobody can connect"}
	default:
		return &FieldError{"Listen", c.Listen, "a loopback address; anywhere else give --jwt-secret-file or --jwt-keys-file, or --anonymous to let in everybody"}
	}
	if err := c.validateTokens(); err != nil {
		return err
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return &FieldError{"TLSCert", c.TLSCert, "a PEM file, together with --tls-key, or neither"}
	}
	if err := c.validateTopics(); err != nil {
		return err
	}
	switch guarded := c.AdminToken != "" || c.AdminTokenFile != ""; {
	case c.AdminToken != "" && c.AdminTokenFile != "":
		return &FieldError{"AdminTokenFile", c.AdminTokenFile, "nothing, since AdminToken is given too: choose one"}
	case c.AdminToken != "" && len(c.AdminToken) < admin.MinToken:
		return &FieldError{"AdminToken", strings.Repeat("*", len(c.AdminToken)), fmt.Sprintf("at least %d characters", admin.MinToken)}
	case c.AdminReadTokenFile != "" && !guarded:
		return &FieldError{"AdminReadTokenFile", c.AdminReadTokenFile, "nothing without --admin-token-file: everybody may write as it is"}
	case !guarded && !loopback(c.AdminListen):
		return &FieldError{"AdminListen", c.AdminListen, "a loopback address, or any other with --admin-token-file"}
	}
	return nil
}

// adminTokens reads the admin tokens that the configuration names.
func (c *Config) adminTokens(set *metrics.Set, logger *slog.Logger) (*admin.Tokens, error) {
	var full, read *admin.Token
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
			return nil, &FieldError{each.field, each.path, "a file with the token as its one line: " + err.Error()}
		}
		*each.into = token
	}
	if c.AdminToken != "" {
		full = admin.FixedToken(c.AdminToken, logger)
	}
	tokens, err := admin.NewTokens(full, read, set, logger)
	if err != nil {
		return nil, &FieldError{"AdminReadTokenFile", c.AdminReadTokenFile, "another token than that of --admin-token-file"}
	}
	return tokens, nil
}
