package socket

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// origin is a pattern for the pages that may connect. Empty parts match
// anything; a host that begins with "*." matches what ends in the rest of it.
type origin struct {
	scheme, host, port string
}

// parseOrigin reads "scheme://host:port", of which scheme and port may be
// missing: "//host", "//*.host".
func parseOrigin(s string) (origin, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return origin{}, fmt.Errorf("origin %q: %w", s, err)
	case u.Host == "" || u.Path != "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return origin{}, fmt.Errorf("origin %q: must be of the form //host, //*.host or scheme://host:port", s)
	case strings.Contains(strings.TrimPrefix(u.Hostname(), "*."), "*"):
		return origin{}, fmt.Errorf("origin %q: * stands only at the beginning, before a dot", s)
	}
	return origin{u.Scheme, strings.ToLower(u.Hostname()), u.Port()}, nil
}

func (o origin) matches(u *url.URL) bool {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	host := strings.ToLower(u.Hostname())
	suffix, anySub := strings.CutPrefix(o.host, "*")
	return (o.scheme == "" || o.scheme == u.Scheme) &&
		(o.port == "" || o.port == port) &&
		(o.host == host || (anySub && strings.HasSuffix(host, suffix) && len(host) > len(suffix)))
}

// checkOrigin tells whether the page that a request comes from may connect.
// Only browsers send the header, and they always do. With no list, it must come
// from the host that it connects to, whatever the ports.
func checkOrigin(r *http.Request, list []origin) bool {
	header := r.Header.Get("Origin")
	if header == "" {
		return true
	}
	u, err := url.Parse(header)
	if err != nil || u.Host == "" {
		return false
	}
	if len(list) == 0 {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		return strings.EqualFold(strings.Trim(host, "[]"), u.Hostname())
	}
	for _, o := range list {
		if o.matches(u) {
			return true
		}
	}
	return false
}
