package socket

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// origin is a pattern for the pages that may connect. Of scheme and host, an empty
// one matches anything; a host that begins with "*." matches what ends in the rest of it.
type origin struct {
	scheme, host string
	port         string // "" with anyPort not set: the origin has none, nor its scheme a default
	anyPort      bool
	opaque       bool // matches the origin "null" alone
	any          bool // matches all of them
}

// defaultPorts are those of schemes: an origin that names none has it (RFC 6454, section 4).
var defaultPorts = map[string]string{"http": "80", "https": "443", "ws": "80", "wss": "443"}

// CheckOrigins reports what is wrong with a list for Config.Origins.
func CheckOrigins(list []string) error {
	_, err := parseOrigins(list)
	return err
}

func parseOrigins(list []string) ([]origin, error) {
	var origins []origin
	for _, pattern := range list {
		o, err := parseOrigin(pattern)
		if err != nil {
			return nil, err
		}
		origins = append(origins, o)
	}
	return origins, nil
}

// parseOrigin reads "scheme://host:port", of which scheme and port may be
// missing: "//host", "//*.host". Without a scheme no port is any port. A scheme
// alone, "file://", is all origins of it; "null" is what sandboxed pages and files
// send, and "*" is everybody.
func parseOrigin(s string) (origin, error) {
	switch s {
	case "*":
		return origin{any: true}, nil
	case "null":
		return origin{opaque: true}, nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return origin{}, fmt.Errorf("origin %q: %w", s, err)
	case u.Scheme != "" && s[len(u.Scheme):] == "://":
		return origin{scheme: u.Scheme, anyPort: true}, nil
	case u.Hostname() == "" || u.Path != "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return origin{}, fmt.Errorf("origin %q: must be of the form //host, //*.host, scheme://host:port or scheme://, or null, or *", s)
	case strings.Contains(strings.TrimPrefix(u.Hostname(), "*."), "*"):
		return origin{}, fmt.Errorf("origin %q: * stands alone, or at the beginning before a dot", s)
	}
	o := origin{scheme: u.Scheme, host: strings.ToLower(u.Hostname()), port: portOf(u)}
	o.anyPort = o.port == "" && o.scheme == ""
	return o, nil
}

// portOf is a URL's port, or that of its scheme.
func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	return defaultPorts[u.Scheme]
}

// matches tells whether a page may connect: u is nil for the origin "null".
func (o origin) matches(u *url.URL) bool {
	if o.any || o.opaque || u == nil {
		return o.any || o.opaque && u == nil
	}
	return (o.scheme == "" || o.scheme == u.Scheme) && (o.anyPort || o.port == portOf(u)) && o.names(u.Hostname())
}

// names tells whether a host is among the pattern's.
func (o origin) names(host string) bool {
	if o.host == "" {
		return o.scheme != "" // a scheme's
	}
	host = strings.ToLower(host)
	suffix, anySub := strings.CutPrefix(o.host, "*")
	return o.host == host || anySub && strings.HasSuffix(host, suffix) && len(host) > len(suffix)
}

// gate decides by the headers of a browser's request whether its page may connect.
type gate struct {
	list []origin
	own  bool        // only the very origin that is connected to
	open func() bool // whoever reaches the listener may connect, and only this machine does
}

// allows tells whether the page that a request comes from may connect. Only browsers send the
// header, and they always do. With no list, it must come from the host that it connects
// to, whatever the ports.
func (g *gate) allows(r *http.Request) bool {
	lines := r.Header["Origin"]
	if len(lines) == 0 || len(lines) == 1 && lines[0] == "" {
		return true
	}
	if len(lines) > 1 {
		return false
	}
	var u *url.URL
	if lines[0] != "null" {
		var err error
		if u, err = url.Parse(lines[0]); err != nil || u.Scheme == "" {
			return false
		}
	}
	for _, o := range g.list {
		if o.matches(u) {
			return true
		}
	}
	if len(g.list) > 0 || u == nil || u.Hostname() == "" {
		return false
	}
	host, port := splitHost(r.Host)
	if g.own {
		if port == "" {
			port = defaultPorts[u.Scheme]
		}
		return strings.EqualFold(host, u.Hostname()) && port == portOf(u)
	}
	return strings.EqualFold(host, u.Hostname()) || g.open() && isLoopback(host) && isLoopback(u.Hostname())
}

// answersTo tells whether a request is for this host: where everybody may connect, a name that
// anyone's DNS may point here is not enough, for a page of that name is in some browser on this
// machine (DNS rebinding).
func (g *gate) answersTo(r *http.Request) bool {
	if !g.open() || IsLocalName(r.Host) {
		return true
	}
	host, _ := splitHost(r.Host)
	for _, o := range g.list {
		if !o.any && !o.opaque && o.host != "" && o.names(host) {
			return true
		}
	}
	return false
}

// IsLocalName tells whether a Host header is an IP address or localhost: nothing that DNS decides
// about (RFC 6761, section 6.3).
func IsLocalName(host string) bool {
	name, _ := splitHost(host)
	_, err := netip.ParseAddr(name)
	return err == nil || isLocalhost(name)
}

func isLocalhost(name string) bool {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback() || strings.EqualFold(strings.TrimSuffix(host, "."), "localhost")
}

// splitHost splits a Host header. The port may be missing.
func splitHost(header string) (host, port string) {
	host, port, err := net.SplitHostPort(header)
	if err != nil {
		host, port = header, ""
	}
	return strings.Trim(host, "[]"), port
}
