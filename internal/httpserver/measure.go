package httpserver

import (
	"cmp"
	"net/http"
	"time"
)

// Measure has answered be called after each request that was answered, concurrently:
// with the pattern of the mux that has routed it, "" if none has, and not for those
// whose connection was hijacked. Call it before the first request.
func (g *Guard) Measure(answered func(route string, status int, took time.Duration)) {
	g.answered = answered
}

// measure tells how a request was answered.
func (x *exchange) measure(took time.Duration) {
	if x.guard.answered == nil {
		return
	}
	x.mu.Lock()
	hijacked := x.over
	x.mu.Unlock()
	if !hijacked {
		x.guard.answered(cmp.Or(x.route, x.request.Pattern), cmp.Or(x.status, http.StatusOK), took)
	}
}

// Routed is a mux whose pattern says, for [Guard.Measure], which route a request has
// taken: for one that gets copies of requests, which another mux has routed to it.
func Routed(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mux.ServeHTTP(w, r)
		if x, ok := w.(*exchange); ok {
			x.route = r.Pattern
		}
	})
}
