package admin

import (
	"net/http"

	"github.com/sluicehq/sluice/internal/httpserver"
)

// watchedInfo is a table of the application whose changes are published.
type watchedInfo struct {
	Table       string   `json:"table"` // with its schema; empty: it was dropped
	Topic       string   `json:"topic"` // a template
	Columns     []string `json:"columns,omitempty"`
	Key         string   `json:"key,omitempty"`
	Events      []string `json:"events"`
	Unpublished *int64   `json:"unpublished,omitempty"`
	Broken      []string `json:"broken"`
}

// getWatched says which tables are watched.
func (a *api) getWatched(w http.ResponseWriter, r *http.Request) {
	log := a.Stream.Log()
	if log == nil {
		httpserver.Refuse(w, http.StatusServiceUnavailable, a.Readiness.Reason().Error(), "try again when /readyz answers 200")
		return
	}
	watched, err := log.Watched(r.Context())
	if err != nil {
		httpserver.Refuse(w, http.StatusServiceUnavailable, err.Error(), "try again")
		return
	}
	tables := make([]watchedInfo, len(watched))
	for i, each := range watched {
		tables[i] = watchedInfo(each)
	}
	httpserver.Answer(w, http.StatusOK, struct {
		Tables []watchedInfo `json:"tables"`
	}{tables})
}
