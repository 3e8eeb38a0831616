package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/sluicehq/sluice/internal/httpserver"
	"github.com/sluicehq/sluice/store"
)

// maxErased bounds the events that one request looks at, and so its time.
const maxErased = 50_000

// eraseRequest is the body of POST /api/erase.
type eraseRequest struct {
	Topic  string          `json:"topic"`
	After  int64           `json:"after"`  // an offset; where an answer says through, to go on
	Before json.RawMessage `json:"before"` // an offset, or a time of RFC 3339; absent: all
	Key    *string         `json:"key"`    // absent: any, and none
}

// selection is what the request chooses.
func (r *eraseRequest) selection() (which store.Selection, err error) {
	which = store.Selection{Topic: r.Topic, AfterOffset: r.After, Key: r.Key, Limit: maxErased}
	switch {
	case r.Topic == "":
		return which, errors.New("topic is missing")
	case r.After < 0:
		return which, fmt.Errorf("after is %d: want an offset from 0", r.After)
	case len(r.Before) == 0:
	case json.Unmarshal(r.Before, &which.BeforeOffset) == nil && which.BeforeOffset > 0:
	case json.Unmarshal(r.Before, &which.BeforeTime) == nil && !which.BeforeTime.IsZero():
	default:
		return which, fmt.Errorf("before is %s: want an offset from 1, or a time such as %q", r.Before, time.Now().UTC().Format(time.RFC3339))
	}
	return which, nil
}

// postErase erases payloads from the log and from this node's memory. Other nodes
// learn of it with their next look at the log.
func (a *api) postErase(w http.ResponseWriter, r *http.Request) {
	const hint = `a request is {"topic":"…"}, with "before" (an offset or a time) and "key" to choose among its events`
	var request eraseRequest
	if !a.readRequest(w, r, &request, hint) {
		return
	}
	which, err := request.selection()
	if err != nil {
		httpserver.Refuse(w, http.StatusBadRequest, err.Error(), hint)
		return
	}
	log := a.Stream.Log()
	if log == nil {
		httpserver.Refuse(w, http.StatusServiceUnavailable, a.Readiness.Reason().Error(), "try again when /readyz answers 200")
		return
	}
	count, through, more, err := log.Erase(r.Context(), which)
	if err == nil {
		var head store.Head
		if head, err = log.Head(r.Context()); err == nil {
			err = a.Erasures.Forget(r.Context(), log, head)
		}
	}
	if err != nil {
		a.audit(r, "erase", int(count), "topic", which.Topic, "outcome", "incomplete")
		httpserver.Refuse(w, http.StatusServiceUnavailable, err.Error(), "some of it may be erased: ask again")
		return
	}
	a.audit(r, "erase", int(count), "topic", which.Topic)
	httpserver.Answer(w, http.StatusOK, struct {
		Count   int64 `json:"count"`
		Through int64 `json:"through"` // this offset has been looked at, and all before it
		More    bool  `json:"more"`    // ask again, with after: through
	}{count, through, more})
}
