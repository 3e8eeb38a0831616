package sluice

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/sluicehq/sluice/socket"
)

// consoleMount is where the console page's own socket is mounted on the admin
// listener.
const consoleMount = "/console"

// healthPath is where both listeners say that the node is alive.
const healthPath = "/healthz"

// adminHandler is all that the admin listener serves.
func (s *Service) adminHandler() http.Handler {
	api := http.NewServeMux()
	api.HandleFunc("POST /api/events", s.postEvents)
	api.HandleFunc("POST /api/broadcast", s.postBroadcast)
	api.HandleFunc("POST /api/erase", s.postErase)
	api.HandleFunc("GET /api/sockets", s.getSockets)
	api.HandleFunc("DELETE /api/sockets/{id}", s.deleteSockets)
	api.HandleFunc("GET /api/topics", s.getTopics)
	api.HandleFunc("GET /api/stats", s.getStats)
	api.Handle("GET /metrics", s.metrics.Handler())
	api.HandleFunc("/", nothingHere)

	mux := http.NewServeMux()
	mux.HandleFunc("GET "+healthPath, s.getHealth)
	mux.HandleFunc("GET /readyz", s.getReadiness)
	mux.Handle("/api/", s.authorised(api))
	mux.Handle("/metrics", s.authorised(api))
	mux.Handle(consoleMount, s.console.endpoint)
	mux.Handle(consoleMount+"/", s.console.endpoint)
	if s.config.Console != nil {
		mux.Handle("/{$}", s.config.Console)
	}
	mux.HandleFunc("/", nothingHere)
	return s.sameSite(mux)
}

func (s *Service) getHealth(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]string{"status": "alive"})
}

func nothingHere(w http.ResponseWriter, r *http.Request) {
	refuse(w, http.StatusNotFound, "there is no "+r.Method+" "+r.URL.Path, "the API is described in the README")
}

// publicHandler is all that the public listener serves.
func (s *Service) publicHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+healthPath, s.getHealth)
	for _, m := range s.mounts {
		if m != s.console {
			mux.Handle(m.path, m.endpoint)
			mux.Handle(m.path+"/", m.endpoint)
		}
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, "there is nothing at "+r.URL.Path, "sockets connect to "+s.config.SocketPath+"/websocket")
	})
	return mux
}

// authorised lets pass who brings an admin token that allows the request, or
// everyone if there is none (the listener is then on loopback: Config.Validate
// sees to it).
func (s *Service) authorised(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		role, digest, err := s.admin.judge(r.Context(), r.RemoteAddr, bearer(r.Header.Get("Authorization")))
		switch {
		case err != nil:
			w.Header().Set("Retry-After", "60")
			refuse(w, http.StatusTooManyRequests, err.Error(), "try again later")
		case role == noAdmin:
			w.Header().Set("WWW-Authenticate", `Bearer realm="sluice admin"`) // RFC 6750, section 3
			refuse(w, http.StatusUnauthorized, "the admin token is missing or wrong", "send it as Authorization: Bearer …")
		case role == readAdmin && r.Method != http.MethodGet && r.Method != http.MethodHead:
			refuse(w, http.StatusForbidden, "this token may only read", "use the token of --admin-token-file")
		default:
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), whoKey{}, s.admin.who(digest))))
		}
	})
}

// bearer is the token of an Authorization header, "" if there is none. The
// scheme is told apart in any case (RFC 9110, section 11.1).
func bearer(header string) string {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// sameSite keeps other web sites, open in the operator's browser, from using
// a listener that trusts whoever reaches it: neither by a cross-origin
// request nor by a name of their own that resolves to this address (DNS
// rebinding).
func (s *Service) sameSite(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusForbidden, "another web site made this request", "the admin API is not for pages of other origins")
	}))
	next = protection.Handler(next)
	if s.admin.guarded() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !socket.IsLocalName(r.Host) {
			refuse(w, http.StatusForbidden, "the admin listener does not answer to the name "+r.Host,
				"use localhost or an IP address, or set --admin-token-file")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// answer sends a value as JSON.
func answer(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		panic(err) // a programmer's error: all values are ours
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}

// refuse answers an error: what is wrong, and what to do about it.
func refuse(w http.ResponseWriter, status int, wrong, hint string) {
	answer(w, status, struct {
		Error string `json:"error"`
		Hint  string `json:"hint"`
	}{wrong, hint})
}
