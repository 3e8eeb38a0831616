package socket

import (
	"net/http"
	"sync/atomic"
	"time"
)

// originRejections is when a refused page was last told of, and how many there have been since.
type originRejections struct {
	last   atomic.Int64 // in Unix nanoseconds; 0 before the first
	silent atomic.Int64
}

// logEvery is how often refused pages are told of at most: they come as often as browsers try.
const logEvery = 10 * time.Second

// letsPage tells whether the page that a request comes from may connect, and logs it if not.
func (e *Endpoint) letsPage(r *http.Request) bool {
	if e.gate.allows(r) {
		return true
	}
	e.logRejected(r, "origin")
	return false
}

// logRejected logs that a page was refused for one of its headers, and what would let it in.
func (e *Endpoint) logRejected(r *http.Request, header string) {
	now := time.Now().UnixNano()
	last := e.originRejections.last.Load()
	if now-last < int64(logEvery) || !e.originRejections.last.CompareAndSwap(last, now) {
		e.originRejections.silent.Add(1)
		return
	}
	given := clip(r.Header.Get("Origin"))
	allow := given
	switch {
	case header == "host":
		host, _ := splitHost(r.Host)
		allow = "//" + clip(host)
	case e.gate.own:
		allow = "" // nothing does
	}
	attrs := []any{"origin", given, "host", clip(r.Host), "remote_addr", r.RemoteAddr, "path", e.config.Path}
	if allow != "" {
		attrs = append(attrs, "allow_by", "--origins "+allow)
	}
	if n := e.originRejections.silent.Swap(0); n > 0 {
		attrs = append(attrs, "refused_since", n)
	}
	e.config.Logger.Info(header+" refused", attrs...)
}

// clip bounds what a stranger has written into the log.
func clip(s string) string { return s[:min(len(s), 255)] }
