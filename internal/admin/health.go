package admin

import (
	"net/http"

	"github.com/sluicehq/sluice/internal/httpserver"
	"github.com/sluicehq/sluice/stages"
)

// GetHealth says that the node is alive, on either listener.
func GetHealth(w http.ResponseWriter, _ *http.Request) {
	httpserver.Answer(w, http.StatusOK, map[string]string{"status": "alive"})
}

// getReadiness says whether this node does its work. With ?scope=node it leaves
// out what no single node can mend: a load balancer that asked for that would take
// all nodes out, and with them those who are connected and only wait. Who does not
// bring the admin token, where there is one, is not told the names of nodes, hosts and
// users, which the store's own words have. A node that is ready says who leads, if it
// knows.
func (a *api) getReadiness(w http.ResponseWriter, r *http.Request) {
	reason := a.Readiness.Reason()
	switch scope := r.URL.Query().Get("scope"); scope {
	case "":
	case "node":
		reason = a.Readiness.OwnReason()
	default:
		httpserver.Refuse(w, http.StatusBadRequest, "there is no scope "+scope, "ask with scope=node, or without scope")
		return
	}
	if reason == nil {
		answer := map[string]string{"status": "ready"}
		if _, leader := a.outbox(); leader != nil && a.mayRead(r) {
			answer["leader"] = leader.Node
		}
		httpserver.Answer(w, http.StatusOK, answer)
		return
	}
	text := reason.Error()
	if !a.mayRead(r) {
		text = stages.Outline(reason)
	}
	httpserver.Refuse(w, http.StatusServiceUnavailable, text, "the log of this node says more")
}

// mayRead tells whether a request brings an admin token, or none is needed.
func (a *api) mayRead(r *http.Request) bool {
	token := bearer(r.Header.Get("Authorization"))
	if a.Tokens.guarded() && token == "" {
		return false
	}
	role, _, err := a.Tokens.judge(r.Context(), r.RemoteAddr, token)
	return err == nil && role != noAdmin
}
