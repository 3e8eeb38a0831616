package socket

import (
	"bytes"
	"maps"
	"net"
	"net/http"
	"strings"

	"github.com/gobwas/ws"
)

// websocket accepts a WebSocket connection (RFC 6455). All that can be wrong
// with the request is found before the library takes over, because it takes the
// connection from the http.Server first and judges then.
func (e *Endpoint) websocket(w http.ResponseWriter, r *http.Request) {
	if rejected := checkUpgrade(r); rejected != nil {
		if rejected.status == http.StatusUpgradeRequired {
			w.Header().Set("Sec-WebSocket-Version", "13")
		}
		e.reject(w, r, rejected)
		return
	}
	admitted, rejected := e.admit(r, parseParams(r.URL.RawQuery), bearerToken(r.Header))
	if rejected != nil {
		if rejected.status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "1")
		}
		e.reject(w, r, rejected)
		return
	}
	upgrader := ws.HTTPUpgrader{Timeout: e.config.HandshakeTimeout, Header: make(http.Header)}
	deflate := ""
	if e.config.Compress {
		deflate = negotiateDeflate(r.Header)
	}
	r = plainUpgrade(r)
	if offersProtocol(r.Header) {
		// Not by the library's negotiation, which does not take the token
		// beside it for well-formed if that has a slash.
		upgrader.Header[protocolHeader] = []string{protocolName}
	}
	if deflate != "" {
		upgrader.Header[extensionsHeader] = []string{deflate}
	}
	netConn, rw, _, err := upgrader.Upgrade(r, w)
	if err != nil {
		if netConn != nil {
			netConn.Close()
		}
		e.metrics.rejected[rejectedHijack].Add(1)
		e.config.Logger.Debug("handshake failed", "remote_addr", r.RemoteAddr, "error", err)
		e.release(admitted.leave)
		return
	}
	// A client may send before the handshake is answered; the reader of the
	// http.Server has it then, and goes back to its pool with this request.
	early, _ := rw.Reader.Peek(rw.Reader.Buffered())
	netConn, admitted.leave = detach(netConn, admitted.leave)
	c := newConn(e, netConn, bytes.Clone(early), admitted.socket, admitted.format)
	c.session.leave = admitted.leave
	c.session.deflates, c.frames.inflates = deflate != "", deflate != ""
	if !e.register(c) {
		c.io.abandon()
		e.metrics.rejected[rejectedDrain].Add(1)
		e.release(admitted.leave)
		return
	}
	c.io.start()
	e.confirm(c)
}

// detach takes the connection itself from a listener that counts its connections, since
// what it is decides how it is served. Leave has it counted no longer.
func detach(netConn net.Conn, leave func()) (net.Conn, func()) {
	counted, ok := netConn.(interface{ Detach() (net.Conn, func()) })
	if !ok {
		return netConn, leave
	}
	inner, release := counted.Detach()
	if leave == nil {
		return inner, release
	}
	return inner, func() { leave(); release() }
}

// checkUpgrade tells what is wrong with a request as the beginning of a
// WebSocket (RFC 6455, 4.2.1), or nil.
func checkUpgrade(r *http.Request) *rejection {
	const hint = "connect with a WebSocket client"
	bad := func(text string) *rejection { return &rejection{rejectedRequest, http.StatusBadRequest, text, hint} }
	switch {
	case r.Method != http.MethodGet:
		return bad("method is not GET")
	case r.ProtoMajor != 1 || r.ProtoMinor < 1:
		return bad("not HTTP/1.1")
	case r.Host == "":
		return bad("no Host header")
	case !hasToken(r.Header["Upgrade"], "websocket") || !hasToken(r.Header["Connection"], "upgrade"):
		return bad("not a WebSocket upgrade")
	case len(r.Header.Get("Sec-WebSocket-Key")) != 24:
		return bad("bad Sec-WebSocket-Key header")
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return &rejection{rejectedRequest, http.StatusUpgradeRequired, "unsupported WebSocket version", "use version 13"}
	}
	return nil
}

// plainUpgrade is a request that checkUpgrade has passed, as the library knows
// upgrades: it takes each header's first line for all of it.
func plainUpgrade(r *http.Request) *http.Request {
	plain := *r
	plain.Header = maps.Clone(r.Header)
	plain.Header.Set("Upgrade", "websocket")
	plain.Header.Set("Connection", "Upgrade")
	return &plain
}

// hasToken tells whether a header that is a list, over several lines perhaps
// (RFC 9110, section 5.3), has a token, in any case.
func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for item := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(item), token) {
				return true
			}
		}
	}
	return false
}
