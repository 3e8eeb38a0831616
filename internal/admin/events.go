package admin

import (
	"errors"
	"mime"
	"net/http"

	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/internal/httpserver"
	"github.com/sluicehq/sluice/store"
)

// postEvents appends the events of the body to the log: all of them or none.
func (a *api) postEvents(w http.ResponseWriter, r *http.Request) {
	drafts, ok := a.readDrafts(w, r, nil)
	if !ok {
		return
	}
	log := a.Stream.Log()
	if log == nil {
		httpserver.Refuse(w, http.StatusServiceUnavailable, a.Readiness.Reason().Error(), "try again when /readyz answers 200")
		return
	}
	err := log.Append(r.Context(), drafts)
	invalid := new(store.InvalidError)
	switch {
	case err == nil:
		a.audit(r, "append", len(drafts))
		httpserver.Answer(w, http.StatusAccepted, map[string]int{"count": len(drafts)})
	case errors.As(err, &invalid):
		httpserver.Refuse(w, http.StatusBadRequest, err.Error(), "nothing was written")
	case store.RetrySafe(err):
		httpserver.Refuse(w, http.StatusServiceUnavailable, err.Error(), "nothing was written; try again")
	default:
		if withheld, ok := a.throttle.Allow("append"); ok {
			a.Logger.Error("append failed", "events", len(drafts), "error", err, "failed_since", withheld)
		}
		a.audit(r, "append", len(drafts), "outcome", "unknown")
		httpserver.Refuse(w, http.StatusInternalServerError, err.Error(), "the events may or may not have been written")
	}
}

// postBroadcast sends the events of the body to whoever is joined now, on all nodes.
// Those of one topic travel together, as they do from the log.
func (a *api) postBroadcast(w http.ResponseWriter, r *http.Request) {
	drafts, ok := a.readDrafts(w, r, a.Node.CheckBroadcast)
	if !ok {
		return
	}
	events := make([]store.Event, len(drafts))
	for i, draft := range drafts {
		events[i] = store.Event{Topic: draft.Topic, Name: draft.Name, Key: draft.Key, Payload: draft.Payload}
	}
	unreached, err := a.Node.BroadcastEvents(r.Context(), events)
	switch {
	case errors.Is(err, cluster.ErrAway), errors.Is(err, cluster.ErrBusy):
		httpserver.Refuse(w, http.StatusServiceUnavailable, err.Error(), "nothing was sent; try again, or append to the log by POST /api/events")
		return
	case err != nil:
		httpserver.Refuse(w, http.StatusInternalServerError, err.Error(), "nothing was sent")
		return
	}
	a.audit(r, "broadcast", len(drafts), told(unreached)...)
	httpserver.Answer(w, http.StatusAccepted, struct {
		Count     int      `json:"count"`
		Unreached []string `json:"unreached,omitempty"`
	}{len(drafts), unreached})
}

// readDrafts reads a request's events, whose payloads pass check, too, or answers what is
// wrong with them.
func (a *api) readDrafts(w http.ResponseWriter, r *http.Request, check func(payload []byte) error) ([]store.Draft, bool) {
	if !a.fits(w, r) {
		return nil, false
	}
	body := http.MaxBytesReader(w, r.Body, a.MaxBodyBytes)
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		kind = "application/json"
	}
	var drafts []store.Draft
	text, err := readBody(body, r.ContentLength)
	parser := draftParser{maxPayload: a.Payload.Bytes(), check: check, maxCopies: a.MaxBodyBytes}
	switch {
	case err != nil:
	case kind == "application/x-ndjson":
		drafts, err = parseLines(text, parser)
	default:
		drafts, err = parseOne(text, parser)
	}
	if err != nil {
		a.refuseBody(w, err, `an event is {"topic":"…","event":"…","payload":{…}}, with "key" if it has one, and "topics":["…"] for several; nothing was done`)
	}
	return drafts, err == nil
}
