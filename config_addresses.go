package sluice

import (
	"net"
	"strconv"
	"strings"
)

// schemeOf is as much of a URL as may be shown: there may be a password in the rest.
func schemeOf(url string) string {
	if scheme, _, found := strings.Cut(url, "://"); found {
		return scheme + "://…"
	}
	return "…"
}

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n <= 65535
}
