package admin

import (
	"net/http"
	"time"

	"github.com/sluicehq/sluice/internal/httpserver"
	"github.com/sluicehq/sluice/store"
)

// Webhook is how a webhook does on this node.
type Webhook struct {
	Name         string     `json:"name"`
	State        string     `json:"state"`  // standby, sending, failing or disabled
	Offset       int64      `json:"offset"` // its position; 0 on a node that stands by
	Lag          int64      `json:"lag"`    // events of the log behind it, matching or not; likewise
	FailingSince *time.Time `json:"failing_since,omitempty"`
	Error        string     `json:"error,omitempty"` // of the last request that failed
}

// postConsumerEnable has a webhook be sent again that has answered 410.
func (a *api) postConsumerEnable(w http.ResponseWriter, r *http.Request) {
	cursor, ok := readConsumer(w, r)
	if !ok {
		return
	}
	if _, ok := a.openLog(w); !ok {
		return
	}
	name := cursor[len(store.ConsumerCursors):]
	was, err := a.Node.EnableWebhook(r.Context(), name)
	if err != nil {
		httpserver.Refuse(w, http.StatusServiceUnavailable, err.Error(), "try again")
		return
	}
	count := 0
	if was {
		count = 1
	}
	a.audit(r, "enable webhook", count, "consumer", name)
	httpserver.Answer(w, http.StatusOK, struct {
		Enabled int `json:"enabled"`
	}{count})
}
