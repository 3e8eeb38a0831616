package socket

import (
	"net/http"
	"time"
)

// rejection says what is wrong with a request, to its client, to the metrics and to the log.
type rejection struct {
	reason rejectReason
	status int
	text   string
	hint   string
}

// logEvery is how often the log tells of clients that are refused for one reason, and of hooks
// that fail: they come as often as clients try.
const logEvery = 10 * time.Second

// What is said where a limit is reached.
const (
	tooMany         = "too many connections"
	tooManyOfClient = "too many connections from one address"
	tooManyOfUser   = "too many connections of one user"
	tooSoon         = "too many connections at once"
)

// letsIn says, to who runs the service, what would let clients in that are refused for a reason.
// Of an origin, allowsPage does.
var letsIn = map[rejectReason]string{
	rejectedRequest:            "a request as the fault asks for: of a stream (/sse) a GET, else that of a client that speaks Phoenix Channels; a proxy between has to pass on the headers Upgrade and Connection",
	rejectedVersion:            "a client with vsn 1.0.x or 2.0.x",
	rejectedDrain:              "another node, or this one once it is back",
	rejectedHook:               "the connect hook of the application, which has refused it",
	rejectedHijack:             "a client that stays until it is answered",
	rejectReason(TokenMissing): "a token, as parameter token or by subprotocol; without any: --anonymous",
	rejectReason(TokenInvalid): "a token that is signed by a key in force, with the claims that the --jwt flags ask for; sluice token --check says what is wrong with one",
	rejectReason(TokenExpired): "a token that has not expired; where clocks differ: --jwt-leeway",
	rejectReason(TokenRevoked): "a token that was issued after the revocation",
	rejectReason(Unavailable):  "what decides, once it can be asked again: the store (see /readyz), or the connect hook",
	rejectedCapacity:           "a higher --max-connections, or more nodes",
}

// allowsPage is the flag that would let in the page that a request comes from, or the host name that
// it asks for; "" if nothing does.
func (e *Endpoint) allowsPage(r *http.Request) string {
	if e.gate.answersTo(r) {
		if e.gate.own {
			return ""
		}
		return "--origins " + clip(r.Header.Get("Origin"))
	}
	host, _ := splitHost(r.Host)
	return "--origins //" + clip(host)
}

// tell counts a request that does not become a connection, and logs it, once in a while for each
// reason.
func (e *Endpoint) tell(r *http.Request, rejected *rejection) {
	e.metrics.rejected[rejected.reason].Add(1)
	withheld, ok := e.config.throttle.Allow(string(rejected.reason))
	if !ok {
		return
	}
	attrs := []any{"reason", string(rejected.reason), "fault", clip(rejected.text)}
	allow := letsIn[rejected.reason]
	switch {
	case rejected.reason == rejectedOrigin:
		allow = e.allowsPage(r)
		attrs = append(attrs, "origin", clip(r.Header.Get("Origin")), "host", clip(r.Host))
	case rejected.text == tooManyOfClient:
		allow = "a higher --max-connections-per-ip; of a proxy's clients each counts by itself with --trusted-proxies"
	case rejected.text == tooManyOfUser:
		allow = "a higher --max-connections-per-user"
	case rejected.text == tooSoon:
		allow = "a higher --max-connections-per-second"
	}
	attrs = append(attrs, "remote_addr", remoteAddr(r, e.config.Addresses.Client(r)), "path", clip(r.URL.Path))
	if allow != "" {
		attrs = append(attrs, "allow_by", allow)
	}
	if withheld > 0 {
		attrs = append(attrs, "refused_since", withheld)
	}
	e.config.Logger.Info("connection refused", attrs...)
}

// reject answers a request that does not become a connection.
func (e *Endpoint) reject(w http.ResponseWriter, r *http.Request, rejected *rejection) {
	e.tell(r, rejected)
	respond(w, rejected.status, rejected.text, rejected.hint)
}

// pageRejected is what a page is told that may not connect.
func pageRejected() *rejection {
	return &rejection{rejectedOrigin, http.StatusForbidden, "origin not allowed", "pages of this origin may not connect: see the list of origins"}
}

// clip bounds what a stranger has written into the log.
func clip(s string) string { return s[:min(len(s), 255)] }
