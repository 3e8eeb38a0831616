package admin

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"mime"
	"net/http"

	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/internal/httpserver"
	"github.com/sluicehq/sluice/store"
)

// postEvents appends the events of the body to the log: all of them or none, and where the
// request has a key once, however often it is made.
func (a *api) postEvents(w http.ResponseWriter, r *http.Request) {
	key, err := idempotencyKey(r.Header)
	if err != nil {
		httpserver.Refuse(w, http.StatusBadRequest, err.Error(), "nothing was written")
		return
	}
	drafts, text, ok := a.readDrafts(w, r, nil)
	if !ok {
		return
	}
	log := a.Stream.Log()
	if log == nil {
		httpserver.Refuse(w, http.StatusServiceUnavailable, a.Readiness.Reason().Error(), "try again when /readyz answers 200")
		return
	}
	count, again := len(drafts), false
	if key == "" {
		err = log.Append(r.Context(), drafts)
	} else {
		count, again, err = log.AppendOnce(r.Context(), store.Request{Key: key, BodySHA256: sha256.Sum256(text)}, drafts)
	}
	invalid := new(store.InvalidError)
	switch {
	case err == nil && again:
		a.audit(r, "append", 0, "outcome", "was appended before", "before", count)
		httpserver.Answer(w, http.StatusAccepted, map[string]int{"count": count})
	case err == nil:
		a.audit(r, "append", count)
		httpserver.Answer(w, http.StatusAccepted, map[string]int{"count": count})
	case errors.Is(err, store.ErrOtherRequest):
		httpserver.Refuse(w, http.StatusUnprocessableEntity, "another request, with another body, had this Idempotency-Key within the last day",
			"nothing was written; give each request a key of its own, and the same one only when it is sent again")
	case errors.As(err, &invalid):
		httpserver.Refuse(w, http.StatusBadRequest, err.Error(), "nothing was written")
	case store.RetrySafe(err):
		httpserver.Refuse(w, http.StatusServiceUnavailable, err.Error(), "nothing was written; try again")
	default:
		if withheld, ok := a.throttle.Allow("append"); ok {
			a.Logger.Error("append failed", "events", len(drafts), "error", err, "failed_since", withheld)
		}
		a.audit(r, "append", len(drafts), "outcome", "unknown")
		hint := "the events may or may not have been written; with an Idempotency-Key the request could be made again"
		if key != "" {
			hint = "the events may or may not have been written: make the request again, with the same Idempotency-Key"
		}
		httpserver.Refuse(w, http.StatusInternalServerError, err.Error(), hint)
	}
}

// idempotencyKey is what tells a request from all others, "" where it has none.
func idempotencyKey(header http.Header) (string, error) {
	switch given := header.Values("Idempotency-Key"); {
	case len(given) == 0:
		return "", nil
	case len(given) > 1:
		return "", errors.New("there is more than one Idempotency-Key")
	case store.CheckRequestKey(given[0]) != nil:
		return "", fmt.Errorf("the Idempotency-Key has %d bytes; 1 to %d are allowed, of UTF-8 without control characters", len(given[0]), store.MaxRequestKeyBytes)
	default:
		return given[0], nil
	}
}

// postBroadcast sends the events of the body to whoever is joined now, on all nodes.
// Those of one topic travel together, as they do from the log.
func (a *api) postBroadcast(w http.ResponseWriter, r *http.Request) {
	drafts, _, ok := a.readDrafts(w, r, a.Node.CheckBroadcast)
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
// wrong with them. They keep text, which is the body.
func (a *api) readDrafts(w http.ResponseWriter, r *http.Request, check func(payload []byte) error) (drafts []store.Draft, text []byte, ok bool) {
	if !a.fits(w, r) {
		return nil, nil, false
	}
	body := http.MaxBytesReader(w, r.Body, a.MaxBodyBytes)
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		kind = "application/json"
	}
	text, err = readBody(body, r.ContentLength)
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
	return drafts, text, err == nil
}
