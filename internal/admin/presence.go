package admin

import (
	"encoding/json"
	"net/http"

	"github.com/sluicehq/sluice/internal/httpserver"
)

// presenceInfo says who is on a topic, on all nodes.
type presenceInfo struct {
	Topic   string          `json:"topic"`
	Members json.RawMessage `json:"members,omitempty"` // those that are listed, as clients are told
	Count   int             `json:"count"`             // of presences: all there are, listed or not
}

// getPresence says who is on a topic; with count=true only how many.
func (a *api) getPresence(w http.ResponseWriter, r *http.Request) {
	info := presenceInfo{Topic: r.PathValue("topic")}
	switch count := r.URL.Query().Get("count"); count {
	case "true":
		info.Count = a.Presences.Count(info.Topic)
	case "", "false":
		info.Members, info.Count = a.Presences.Members(info.Topic)
	default:
		httpserver.Refuse(w, http.StatusBadRequest, "count is neither true nor false", "with count=true the members are left out")
		return
	}
	httpserver.Answer(w, http.StatusOK, info)
}
