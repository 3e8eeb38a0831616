package sluice

import (
	"net/http"

	"github.com/sluicehq/sluice/stages"
)

// getReadiness says whether this node does its work. With ?scope=node it leaves
// out what no single node can mend: a load balancer that asked for that would take
// all nodes out, and with them those who are connected and only wait. Who does not
// bring the admin token, where there is one, is not told the names of hosts and
// users, which the store's own words have.
func (s *Service) getReadiness(w http.ResponseWriter, r *http.Request) {
	reason := s.readiness.Reason()
	switch scope := r.URL.Query().Get("scope"); scope {
	case "":
	case "node":
		reason = s.readiness.OwnReason()
	default:
		refuse(w, http.StatusBadRequest, "there is no scope "+scope, "ask with scope=node, or without scope")
		return
	}
	if reason == nil {
		answer(w, http.StatusOK, map[string]string{"status": "ready"})
		return
	}
	text := reason.Error()
	if !s.mayRead(r) {
		text = stages.Outline(reason)
	}
	refuse(w, http.StatusServiceUnavailable, text, "the log of this node says more")
}

// mayRead tells whether a request brings an admin token, or none is needed.
func (s *Service) mayRead(r *http.Request) bool {
	token := bearer(r.Header.Get("Authorization"))
	if s.admin.guarded() && token == "" {
		return false
	}
	role, _, err := s.admin.judge(r.Context(), r.RemoteAddr, token)
	return err == nil && role != noAdmin
}
